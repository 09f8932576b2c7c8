"""What the device believes, notice by notice, through the real client and a real repository."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from slotcast_device.storage.trust_store import verify_notice
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_schemas import wire
from slotcast_schemas.errors import (
    BadSignature,
    Inconsistent,
    RefusedRelease,
    Replayed,
    StorageFailed,
    WrongModel,
)
from slotcast_schemas.messages import Notice
from slotcast_schemas.trust import offer_target, release_target
from slotcast_schemas.verify import Trusted
from slotcast_schemas.verify import verify_notice as verify_directly
from tests.support.fleet import Publisher, model_bytes

pytestmark = pytest.mark.usefixtures("quick_probes")


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """Two releases of `clf` and one of `det`, none offered yet."""
    made = Publisher.make(tmp_path_factory.mktemp("trust") / "repo")
    for model, version in (("clf", "1"), ("clf", "2"), ("det", "1")):
        made.release(model, version, {"model.onnx": model_bytes(int(version), 1 << 16)})
    return made


@pytest.fixture
def repo(publisher: Publisher, tmp_path: Path) -> Repository:
    """A copy that a test may publish from."""
    return publisher.copy(tmp_path / "repo", prefix="t").repo


@pytest.fixture
def root(publisher: Publisher) -> bytes:
    """The root that devices were given."""
    return publisher.repo.roles.root_bytes()


def changed(data: bytes, **targets: bytes) -> bytes:
    """Exchange target files of a notice, signatures untouched."""
    notice = wire.decode(data, Notice)
    names = {"release": release_target("clf", "1"), "offer": offer_target("clf")}
    exchanged = {names[key]: value for key, value in targets.items()}
    return wire.encode(msgspec.structs.replace(notice, targets={**notice.targets, **exchanged}))


def test_a_good_notice_gives_release_and_offer(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    found = verify_notice(repo.offer("clf", "1"), "clf", root, tmp_path / "trust")
    assert isinstance(found, Trusted)
    assert (found.release.version, found.offer.sequence) == ("1", 1)
    assert found.offer.release_sha256 == found.release_sha256


def test_a_power_cut_while_a_notice_is_remembered_takes_nothing_of_what_was_seen(
    repo: Repository, root: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = repo.offer("clf", "1"), repo.offer("clf", "2")
    verify_notice(new, "clf", root, tmp_path / "trust")
    seen = files_in(tmp_path / "trust")

    def cut(path: Path, target: Path) -> Path:
        raise OSError(errno.EIO, f"power was cut before {path} had the name of {target}")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with pytest.raises(StorageFailed):
            verify_notice(new, "clf", root, tmp_path / "trust")
    assert files_in(tmp_path / "trust") == seen
    with pytest.raises(Replayed):
        verify_notice(old, "clf", root, tmp_path / "trust")


def files_in(folder: Path) -> dict[Path, bytes]:
    """What lies in a folder and below it."""
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_notice_again_is_fine_and_an_older_one_is_a_replay(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    old, new = repo.offer("clf", "1"), repo.offer("clf", "2")
    for notice in (old, old, new, new):
        verify_notice(notice, "clf", root, tmp_path / "trust")
    with pytest.raises(Replayed, match="the publisher must publish anew"):
        verify_notice(old, "clf", root, tmp_path / "trust")
    verify_notice(new, "clf", root, tmp_path / "trust")


def test_one_models_notices_do_not_age_anothers(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    det = repo.offer("det", "1")
    verify_notice(repo.offer("clf", "1"), "clf", root, tmp_path / "clf")
    verify_notice(repo.offer("clf", "2"), "clf", root, tmp_path / "clf")
    verify_notice(det, "det", root, tmp_path / "det")


@pytest.mark.parametrize("damage", ["gone", "empty", "torn"])
def test_a_damaged_cache_costs_nothing_but_the_versions_seen(
    repo: Repository, root: bytes, tmp_path: Path, damage: str
) -> None:
    notice = repo.offer("clf", "1")
    folder = tmp_path / "trust"
    verify_notice(notice, "clf", root, folder)
    if damage == "gone":
        shutil.rmtree(folder)
    else:
        for path in folder.rglob("*.json"):
            path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:100])
    assert verify_notice(notice, "clf", root, folder).release.version == "1"


@pytest.mark.timeout(60)
def test_pipes_among_what_was_seen_are_not_waited_at(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    notice = repo.offer("clf", "1")
    folder = tmp_path / "trust"
    verify_notice(notice, "clf", root, folder)
    for path in [path for path in folder.rglob("*.json") if not path.is_symlink()]:
        path.unlink()
        os.mkfifo(path)
    os.mkfifo(folder / "more.json")
    assert verify_notice(notice, "clf", root, folder).release.version == "1"
    assert verify_notice(notice, "clf", root, folder).release.version == "1"


def test_a_root_that_was_rotated_is_followed_from_the_pinned_one(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    repo.roles.renew_offline()
    notice = repo.offer("clf", "1")
    assert "2.root.json" in wire.decode(notice, Notice).metadata
    assert verify_notice(notice, "clf", root, tmp_path / "trust").release.version == "1"


def test_signed_parts_that_do_not_belong_together_are_refused(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    first = repo.offer("clf", "1")
    targets = wire.decode(first, Notice).targets
    other = wire.decode(repo.offer("clf", "2"), Notice).targets
    for bad in (
        changed(first, release=other[release_target("clf", "2")]),
        changed(first, offer=other[offer_target("clf")]),
        changed(first, offer=targets[offer_target("clf")] + b"\0"),
    ):
        with pytest.raises(BadSignature):
            verify_notice(bad, "clf", root, tmp_path / "trust")


def test_a_notice_that_lacks_a_part_is_refused_as_inconsistent(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    notice = wire.decode(repo.offer("clf", "1"), Notice)
    for name in notice.metadata:
        if name.endswith("root.json"):
            continue
        metadata = {key: value for key, value in notice.metadata.items() if key != name}
        bad = wire.encode(msgspec.structs.replace(notice, metadata=metadata or {"x.json": b"x"}))
        with pytest.raises(Inconsistent):
            verify_notice(bad, "clf", root, tmp_path / name)


def test_a_notice_that_calls_itself_by_another_name_is_refused(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    good = repo.offer("det", "1")
    with pytest.raises(WrongModel, match="'clf', got one for 'det'"):
        verify_notice(good, "clf", root, tmp_path / "trust")
    notice = msgspec.structs.replace(wire.decode(good, Notice), model="clf")
    with pytest.raises(RefusedRelease):
        verify_notice(wire.encode(notice), "clf", root, tmp_path / "trust")


def test_time_alone_makes_a_notice_expire(
    repo: Repository, root: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Repository(repo.path, now_s=lambda: time.time() - 61 * 86400, clock_is_right=True)
    monkeypatch.setattr("slotcast_publisher.notice.verify_notice", lambda *_: None)
    with pytest.raises(RefusedRelease) as refused:
        verify_notice(old.offer("clf", "1"), "clf", root, tmp_path / "trust")
    assert refused.value.reason == "expired"


def test_a_place_where_versions_cannot_be_kept_is_this_devices_fault(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed):
        verify_notice(repo.offer("clf", "1"), "clf", root, tmp_path / "file" / "trust")


def test_a_notice_says_when_its_first_signature_ends_and_whether_it_is_newer(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    first, second = repo.offer("clf", "1"), repo.offer("clf", "2")
    found = verify_notice(first, "clf", root, tmp_path / "trust")
    days = (found.expires_s - time.time()) / 86400
    assert 59 < days <= 60, "the online roles end first"
    assert not found.is_newer, "nothing was seen before it"
    assert not verify_notice(first, "clf", root, tmp_path / "trust").is_newer
    assert verify_notice(second, "clf", root, tmp_path / "trust").is_newer
    assert not verify_notice(second, "clf", root, tmp_path / "trust").is_newer


# --- two publishers for one model -----------------------------------------------------------------


@pytest.fixture
def behind(repo: Repository, tmp_path: Path) -> Repository:
    """A copy of the repository that does not hear what the first one says from here on."""
    repo.offer("clf", "1")
    shutil.copytree(repo.path, tmp_path / "behind")
    return Repository(tmp_path / "behind")


def test_what_two_publishers_sign_under_one_version_is_a_contradiction_not_a_forgery(
    repo: Repository, behind: Repository, root: bytes, tmp_path: Path
) -> None:
    trust_dir = tmp_path / "trust"
    verify_notice(repo.offer("clf", "2"), "clf", root, trust_dir)
    with pytest.raises(Inconsistent, match="two publishers"):
        verify_notice(behind.offer("clf", "2", OfferWanted(state="paused")), "clf", root, trust_dir)
    assert not (trust_dir / "by-itself").exists()


def test_a_publisher_that_is_behind_and_one_that_replays_are_told_apart(
    repo: Repository, behind: Repository, root: bytes, tmp_path: Path
) -> None:
    trust_dir = tmp_path / "trust"
    old = repo.offer("clf", "1", OfferWanted(again=True))
    newest = repo.offer("clf", "2", OfferWanted(again=True))
    signed = verify_notice(newest, "clf", root, trust_dir).offer.issued
    late = Repository(behind.path, now_s=lambda: signed + 3600.0)
    with pytest.raises(Inconsistent, match="two publishers"):
        verify_notice(late.offer("clf", "2"), "clf", root, trust_dir, signed)
    with pytest.raises(Replayed):
        verify_notice(old, "clf", root, trust_dir, signed)
    verify_notice(newest, "clf", root, trust_dir, signed)


def test_what_is_forged_is_called_so_whatever_was_seen(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    notice = repo.offer("clf", "1")
    verify_notice(notice, "clf", root, tmp_path / "trust")
    offer = wire.decode(notice, Notice).targets[offer_target("clf")]
    with pytest.raises(BadSignature):
        verify_notice(changed(notice, offer=offer + b"\0"), "clf", root, tmp_path / "trust")


def test_another_models_truly_signed_metadata_is_refused_and_leaves_nothing(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    """Its timestamp is signed by the same key, and has a higher version than this model's own."""
    own = repo.offer("clf", "1")
    verify_notice(own, "clf", root, tmp_path / "trust")
    other = wire.decode(renewed_often(repo, "det"), Notice)
    mixed = [
        msgspec.structs.replace(other, model="clf"),
        msgspec.structs.replace(other, model="clf", targets=wire.decode(own, Notice).targets),
        msgspec.structs.replace(
            wire.decode(own, Notice),
            metadata=wire.decode(own, Notice).metadata
            | {"timestamp.json": other.metadata["timestamp.json"]},
        ),
    ]
    before = contents(tmp_path / "trust")
    for notice in mixed:
        with pytest.raises(RefusedRelease):
            verify_notice(wire.encode(notice), "clf", root, tmp_path / "trust")
        assert contents(tmp_path / "trust") == before
    verify_notice(own, "clf", root, tmp_path / "trust")
    verify_notice(repo.offer("clf", "2"), "clf", root, tmp_path / "trust")


def test_a_new_root_is_remembered_even_of_a_notice_that_is_refused(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    """Who stole the old online key must not win time by spoiling the notice that revokes it."""
    old = repo.offer("clf", "1")
    rotate_keys(repo.roles, "online", lambda name: repo.ring.generate(name, encrypted=False))
    new = wire.decode(repo.refresh()["clf"], Notice)
    spoilt = wire.encode(msgspec.structs.replace(new, targets={"offers/clf.offer": b"junk"}))
    with pytest.raises(RefusedRelease):
        verify_notice(spoilt, "clf", root, tmp_path / "trust")
    with pytest.raises(RefusedRelease, match="timestamp was signed by 0/1 keys"):
        verify_notice(old, "clf", root, tmp_path / "trust")


def test_what_another_models_timestamp_did_to_an_old_device_ends_with_the_online_key(
    repo: Repository, root: bytes, tmp_path: Path
) -> None:
    """Devices of before verify in their cache itself, with the same client."""
    store = tmp_path / "old"
    store.mkdir()
    verify_directly(repo.offer("clf", "1"), "clf", root, store)
    other = wire.decode(renewed_often(repo, "det"), Notice)
    with pytest.raises(RefusedRelease):
        verify_directly(
            wire.encode(msgspec.structs.replace(other, model="clf")), "clf", root, store
        )
    with pytest.raises(RefusedRelease):
        verify_directly(repo.offer("clf", "2"), "clf", root, store)
    rotate_keys(repo.roles, "online", lambda name: repo.ring.generate(name, encrypted=False))
    found = verify_directly(repo.refresh()["clf"], "clf", root, store)
    assert found.release.version == "2"


def renewed_often(repo: Repository, model: str) -> bytes:
    """Give a notice whose versions are far above those of other models."""
    repo.offer(model, "1")
    for _ in range(9):
        repo.roles.of(model).renew(force=True)
    return repo.build_notice(model)


def contents(folder: Path) -> dict[str, bytes]:
    """Give every file of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
