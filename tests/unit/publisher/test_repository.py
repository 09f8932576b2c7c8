"""Releases are immutable, interrupted work is done again, and offers say what was asked."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from slotcast_publisher.durable import write_atomic
from slotcast_publisher.errors import Conflict, KeyUnavailable, NotFound
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.release.payloads import FullBuilder, PayloadCandidate, Progress
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.store import ReleaseFolder
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_schemas import wire
from slotcast_schemas.errors import (
    Expired,
    ModelUnloadable,
    PayloadCorrupt,
    StateLocked,
    UsageError,
)
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Group
from tests.support import models

Paths = dict[str, bytes]
M = TypeVar("M", bound=wire.Message)


def everything(repo: Repository) -> Paths:
    """Every durable file but locks, with its content."""
    return {
        str(path.relative_to(repo.path)): path.read_bytes()
        for path in repo.path.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def request(version: str, *files: Path, **more: object) -> ReleaseRequest:
    return ReleaseRequest(model="clf", version=version, files=files, **more)  # type: ignore[arg-type]


def test_a_release_describes_the_model_that_was_given(repo: Repository, model_file: Path) -> None:
    release = repo.store.folder("clf", "1.0").load()
    assert release.image_sha256 == hashlib.sha256(model_file.read_bytes()).digest()
    assert [(t.name, t.dtype) for t in release.inputs] == [("x", "tensor(float)")]
    assert release.outputs[0].shape[1:] == (models.CLASSES,)
    assert release.runtime.opsets[""] == models.OPSET
    assert [file.role for file in release.files] == ["model"]


def test_the_same_release_again_changes_not_one_byte(repo: Repository, model_file: Path) -> None:
    before = everything(repo)
    done = repo.build_release(request("1.0", model_file))
    assert not done.is_new
    assert everything(repo) == before


def test_a_version_never_gets_other_content(repo: Repository, tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(models.classifier(2))
    before = everything(repo)
    with pytest.raises(Conflict, match="differs in files: give it a new version"):
        repo.build_release(request("1.0", other))
    assert everything(repo) == before


def test_versions_that_mean_the_same_to_people_are_refused(
    repo: Repository, model_file: Path
) -> None:
    with pytest.raises(Conflict, match=r"this is 1\.0"):
        repo.build_release(request("1.0.0", model_file))


@pytest.mark.parametrize("version", ["", "one", "1.0/../..", "v 1"])
def test_a_version_that_is_none_is_refused(
    repo: Repository, model_file: Path, version: str
) -> None:
    with pytest.raises(UsageError, match="expected PEP 440"):
        repo.build_release(request(version, model_file))


def test_a_downgrade_is_a_new_sequence_with_the_old_payload(repo: Repository) -> None:
    done = repo.build_release(request("1.0.post1", same_as="1.0"))
    old = repo.store.folder("clf", "1.0")
    assert done.release.sequence == 2
    assert done.release.image_sha256 == old.load().image_sha256
    assert [r.payload for r in done.payloads] == [r.payload for r in old.payloads()]


def test_a_release_that_was_stopped_before_it_was_packed_is_finished(
    repo: Repository, model_file: Path
) -> None:
    folder = repo.store.folder("clf", "1.0")
    expected = [record.payload for record in folder.payloads()]
    shutil.rmtree(folder.path / "payloads")
    (folder.path / "payloads.json").unlink()
    (folder.path / ".staging").mkdir()
    (repo.path / "models/clf/releases/.staging").mkdir()
    done = repo.build_release(request("1.0", model_file))
    assert [record.payload for record in done.payloads] == expected
    assert not list(repo.path.rglob(".staging"))


def test_every_chunk_is_in_the_map_that_the_offer_pins(repo: Repository) -> None:
    folder = repo.store.folder("clf", "1.0")
    payload = folder.payloads()[0].payload
    data = folder.payload_file(payload).read_bytes()
    parts = [folder.map_file(payload, n).read_bytes() for n in range(len(payload.map_parts))]
    assert tuple(hashlib.sha256(part).digest() for part in parts) == payload.map_parts
    digests = b"".join(wire.decode(part, MapPart).digests for part in parts)
    size = payload.chunk_size_bytes
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert digests == b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    assert payload.sha256 == hashlib.sha256(data).digest()


def test_a_payload_that_does_not_rebuild_the_image_is_not_kept(
    repo: Repository, tmp_path: Path
) -> None:
    class WrongBuilder(FullBuilder):
        def build(
            self,
            release: ReleaseFolder,
            earlier: Sequence[ReleaseFolder],
            out: Path,
            progress: Progress,
        ) -> Sequence[PayloadCandidate]:
            image = bytearray(release.images()[0][1].read_bytes())
            image[1000] ^= 1
            (out / "wrong.bin").write_bytes(image)
            return [PayloadCandidate(codec="full+none", file=out / "wrong.bin")]

    other = tmp_path / "model.onnx"
    other.write_bytes(models.classifier(3))
    with pytest.raises(PayloadCorrupt, match="expected image"):
        repo.build_release(request("2.0", other), builders=(WrongBuilder(),))
    assert repo.store.folder("clf", "2.0").payloads() == []
    with pytest.raises(NotFound, match="not signed"):
        repo.offer("clf", "2.0")


def test_external_data_belongs_to_the_model_and_must_be_given(
    repo: Repository, model_file: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(model_file))
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    folder = tmp_path / "split"
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "labels.txt").write_text("cat\ndog\n")
    done = repo.build_release(request("2.0", folder))
    roles = {file.path: file.role for file in done.release.files}
    assert roles == {"model.onnx": "model", "weights.bin": "model", "labels.txt": "data"}
    assert next(f.path for f in done.release.files) == done.release.entry == "model.onnx"
    with pytest.raises((UsageError, ModelUnloadable), match=r"'weights\.bin'.*give that file, too"):
        repo.build_release(request("3.0", folder / "model.onnx"))


def test_a_model_that_does_not_load_is_refused_and_leaves_nothing(
    repo: Repository, tmp_path: Path
) -> None:
    bad = tmp_path / "model.onnx"
    bad.write_bytes(models.classifier()[:-50])
    before = everything(repo)
    with pytest.raises(ModelUnloadable, match=r"model\.onnx"):
        repo.build_release(request("2.0", bad))
    assert everything(repo) == before


def test_samples_from_a_seed_are_part_of_the_release(repo: Repository, model_file: Path) -> None:
    done = repo.build_release(request("2.0", model_file, seed=7))
    assert done.release.probe.samples == "samples.npz"
    assert {file.path: file.role for file in done.release.files}["samples.npz"] == "samples"
    assert not repo.build_release(request("2.0", model_file, seed=7)).is_new


def test_an_offer_says_whom_it_is_for_and_keeps_it_until_told_otherwise(repo: Repository) -> None:
    root = repo.roles.root_bytes()
    canary = Group(name="canary", ids=("cam-1",))
    first = verify_notice(repo.offer("clf", "1.0", OfferWanted(groups=(canary,))), root).offer
    assert first.groups == (canary,)
    paused = verify_notice(repo.offer("clf", "1.0", OfferWanted(state="paused")), root).offer
    assert (paused.groups, paused.state) == ((canary,), "paused")
    assert paused.deployment == first.deployment
    again = verify_notice(repo.offer("clf", "1.0", OfferWanted(again=True)), root).offer
    assert (again.state, again.attempt) == ("active", first.attempt + 1)


def test_offering_the_same_twice_gives_the_same_notice(repo: Repository) -> None:
    assert repo.offer("clf", "1.0") == repo.offer("clf", "1.0")


def test_an_older_release_is_not_offered_after_a_newer_one(
    repo: Repository, tmp_path: Path
) -> None:
    repo.build_release(request("1.1", same_as="1.0"))
    repo.offer("clf", "1.1")
    with pytest.raises(Conflict, match=r"--same-as 1\.0"):
        repo.offer("clf", "1.0")


def test_withdrawing_cancels_the_offer(repo: Repository) -> None:
    with pytest.raises(NotFound, match="nothing is offered"):
        repo.withdraw("clf")
    repo.offer("clf", "1.0")
    verified = verify_notice(repo.withdraw("clf"), repo.roles.root_bytes())
    assert verified.offer.state == "canceled"


def test_signatures_are_renewed_at_half_their_life_and_not_before(repo: Repository) -> None:
    repo.offer("clf", "1.0")
    now_s = repo.roles.first_expiry().timestamp() - 60 * 86400

    def notice_after(days: float) -> bytes:
        return Repository(repo.path, now_s=lambda: now_s + days * 86400).offer("clf", "1.0")

    first = notice_after(0.0)
    assert notice_after(29) == first
    renewed = notice_after(31)
    assert renewed != first
    later = Repository(repo.path, now_s=lambda: now_s + 31 * 86400)
    assert later.roles.first_expiry().timestamp() > now_s + 90 * 86400


def test_roles_are_due_at_half_of_the_shortest_life_by_the_clock_of_the_repository(
    repo: Repository,
) -> None:
    repo.offer("clf", "1.0")
    now_s = repo.roles.first_expiry().timestamp() - 60 * 86400

    def is_due(days: float) -> bool:
        return repo.roles.of("clf").renewal_due().timestamp() < now_s + days * 86400

    assert not is_due(29)
    assert is_due(31)
    Repository(repo.path, now_s=lambda: now_s + 31 * 86400).roles.renew()
    assert not is_due(60)
    assert is_due(62)


def test_a_role_that_is_missing_is_due(repo: Repository) -> None:
    repo.offer("clf", "1.0")
    roles = repo.roles.of("clf")
    roles.timestamp_file.unlink()
    assert roles.renewal_due() <= datetime.now(UTC)
    repo.roles.renew()
    assert roles.renewal_due() > datetime.now(UTC)


def test_what_is_expired_is_not_handed_out(repo: Repository) -> None:
    long_ago_s = datetime(2025, 6, 1, tzinfo=UTC).timestamp()
    short = Repository(repo.path, now_s=lambda: long_ago_s, clock_is_right=True)
    short.roles.renew(force=True)
    short.roles.renew_offline()
    with pytest.raises(Expired, match="expired"):
        short.offer("clf", "1.0")


def test_two_commands_do_not_work_on_one_repository(repo: Repository) -> None:
    other = Repository(repo.path)
    with repo.locked(), pytest.raises(StateLocked, match="another slotcast command"):
        other.offer("clf", "1.0")


def test_publishing_needs_only_the_online_key(repo: Repository) -> None:
    for path in (repo.path / "keys").glob("*.pem"):
        if not path.name.startswith("online"):
            path.unlink()
    online = Repository(repo.path)
    verify_notice(online.offer("clf", "1.0"), online.roles.root_bytes())
    with pytest.raises(KeyUnavailable, match="release-clf"):
        online.build_release(request("1.1", same_as="1.0"))


def test_encrypted_keys_need_their_passphrase(tmp_path: Path) -> None:
    made = Repository.init(tmp_path / "r", encrypted=True, passphrase=lambda _: "correct horse")
    pem = next((made.path / "keys").glob("online-*.pem")).read_bytes()
    assert b"ENCRYPTED PRIVATE KEY" in pem
    wrong = Repository(made.path, passphrase=lambda _: "battery staple")
    with pytest.raises(KeyUnavailable, match="wrong passphrase"):
        wrong.refresh()
    Repository(made.path, passphrase=lambda _: "correct horse").refresh()
    with pytest.raises(UsageError, match="passphrase is needed"):
        Repository.init(tmp_path / "s", encrypted=True)


def test_a_command_decodes_each_release_once(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minor in range(1, 4):
        repo.build_release(request(f"1.{minor}", same_as="1.0"))
    here = [folder.signed_bytes() for folder in repo.store.releases("clf")]
    decoded: Counter[bytes] = Counter()

    def counting(data: bytes, kind: type[M]) -> M:
        decoded[data] += 1
        return decode(data, kind)

    decode = wire.decode
    monkeypatch.setattr(wire, "decode", counting)
    Repository(repo.path).build_release(request("1.9", same_as="1.0"))
    assert [decoded[data] for data in here] == [1, 1, 1, 1]


def test_a_release_that_was_written_anew_is_read_anew(repo: Repository) -> None:
    folder = repo.store.folder("clf", "1.0")
    before = folder.load()
    assert folder.load() is before
    changed = msgspec.structs.replace(before, notes="another")
    write_atomic(folder.path / "release.msgpack", wire.encode(changed))
    assert folder.load().notes == "another"


def test_a_release_whose_folder_is_gone_is_no_longer_named(repo: Repository) -> None:
    repo.build_release(request("1.1", same_as="1.0"))
    assert repo.store.versions("clf") == ["1.0", "1.1"]
    shutil.rmtree(repo.store.folder("clf", "1.1").path)
    assert repo.store.versions("clf") == ["1.0"]
    with pytest.raises(NotFound, match=r"there are: 1\.0"):
        repo.store.folder("clf", "1.1")


def test_a_misspelt_model_is_answered_with_the_models_that_there_are(repo: Repository) -> None:
    with pytest.raises(NotFound, match=r"no release of 'clv'; there are releases of: clf"):
        repo.store.folder("clv", "1.0")
