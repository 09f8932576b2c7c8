"""Who is a recipient of encrypted releases is the release key's word, and nobody else's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from slotcast_publisher.errors import Conflict, RepositoryDamaged
from slotcast_publisher.fleet.steering.delta_child import make_delta
from slotcast_publisher.fleet.web.screens.release_statements import held_to
from slotcast_publisher.inspection import inspect_notice, lines_of
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.release.delta_payloads import DeltaBuilder
from slotcast_publisher.release.payloads import PayloadCandidate, cut
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.store import PayloadRecord
from slotcast_publisher.trust.recipients import Recipient, Recipients
from slotcast_schemas.content_key import (
    ENTRY_BYTES,
    KEYS_CODEC,
    public_bytes,
)
from slotcast_schemas.errors import (
    UsageError,
)
from tests.support import messages, models
from tests.support.fleet import Publisher, model_bytes

pytestmark = pytest.mark.usefixtures("quick_probes")

pytest.importorskip("cryptography.hazmat.primitives.hpke")


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    made = Publisher.make(tmp_path / "repo")
    made.repo.change_recipients("clf", lambda now: now.with_devices((recipient(1),)))
    return made


def recipient(number: int) -> Recipient:
    secret = hashlib.sha256(number.to_bytes(32, "big")).digest()  # bits of a number are left out
    key = X25519PrivateKey.from_private_bytes(secret)
    return Recipient(device=f"cam-{number}", key=public_bytes(key))


def list_file(publisher: Publisher) -> Path:
    (path,) = (publisher.path / "models/clf/recipients").glob("*.json")
    return path


def test_a_recipient_that_was_written_into_the_file_is_not_believed(publisher: Publisher) -> None:
    path = list_file(publisher)
    found = msgspec.json.decode(path.read_bytes(), type=Recipients)
    path.write_bytes(msgspec.json.encode(found.with_devices((recipient(2),))))
    with pytest.raises(RepositoryDamaged, match="not the list of recipients that was signed"):
        publisher.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)


def test_a_list_that_is_lost_keeps_nobody_from_releasing_and_is_made_anew(
    publisher: Publisher,
) -> None:
    list_file(publisher).unlink()
    files = {"model.onnx": model_bytes(1)}
    with pytest.raises(RepositoryDamaged, match="name them anew with `slotcast recipients add`"):
        publisher.release("clf", "1", files)
    assert publisher.release("clf", "1", files, encrypt=False).encryption is None
    publisher.repo.change_recipients("clf", lambda now: now.with_devices((recipient(2),)))
    assert publisher.repo.recipients("clf").devices == (recipient(2),)


def test_a_list_that_somebody_named_in_the_metadata_without_the_key_is_not_believed(
    publisher: Publisher,
) -> None:
    folder = publisher.path / "metadata"
    newest = max(folder.rglob("*.release-clf.json"))
    said = json.loads(newest.read_bytes())
    data = msgspec.json.encode(Recipients(model="clf", devices=(recipient(2),)))
    digest = hashlib.sha256(data).hexdigest()
    list_file(publisher).with_name(f"{digest}.json").write_bytes(data)
    said["signed"]["slotcast-recipients"] = digest
    newest.write_text(json.dumps(said))
    publisher.read_anew()
    with pytest.raises(RepositoryDamaged, match="not signed by its release key"):
        publisher.repo.recipients("clf")


def test_who_was_taken_out_has_no_entry_in_the_next_list(publisher: Publisher) -> None:
    def entries(version: str) -> set[bytes]:
        folder = publisher.repo.store.folder("clf", version)
        (offered,) = (r.payload for r in folder.payloads() if r.payload.codec == KEYS_CODEC)
        data = folder.payload_file(offered).read_bytes()
        return {data[at : at + 16] for at in range(0, len(data), ENTRY_BYTES)}

    publisher.repo.change_recipients("clf", lambda now: now.with_devices((recipient(2),)))
    publisher.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)
    assert entries("1") == {recipient(1).id, recipient(2).id}
    anew = publisher.repo.change_recipients("clf", lambda now: now.without(frozenset({"cam-1"})))
    assert anew == ["1"]
    assert entries("1") == {recipient(2).id}
    publisher.release("clf", "2", {"model.onnx": model_bytes(2)}, encrypt=True)
    assert entries("2") == {recipient(2).id}
    keys = [publisher.path / f"models/clf/releases/{v}/content.key" for v in ("1", "2")]
    assert keys[0].read_bytes() != keys[1].read_bytes()
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys)


def test_inspect_and_the_page_say_that_a_release_is_encrypted(publisher: Publisher) -> None:
    release = publisher.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)
    lines = lines_of(inspect_notice(publisher.repo.offer("clf", "1"), None))
    assert any("encrypted for its recipients" in line for line in lines)
    assert any("payload encrypted+full+" in line for line in lines)
    assert dict(held_to(release))["Encrypted"] == "what travels, for the model's recipients"
    assert "Encrypted" not in dict(held_to(messages.release()))


def test_a_devices_new_key_takes_the_place_of_its_old_one(publisher: Publisher) -> None:
    anew = msgspec.structs.replace(recipient(2), device="cam-1")
    publisher.repo.change_recipients("clf", lambda now: now.with_devices((anew,)))
    assert publisher.repo.recipients("clf").devices == (anew,)
    assert len(list((publisher.path / "models/clf/recipients").iterdir())) == 1


def test_going_back_to_an_encrypted_release_does_not_send_it_in_the_clear(
    publisher: Publisher,
) -> None:
    publisher.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)
    assert publisher.release("clf", "2", same_as="1").encryption is not None
    assert publisher.release("clf", "3", same_as="1", encrypt=False).encryption is None


def test_an_encrypted_release_for_nobody_is_not_built(tmp_path: Path) -> None:
    publisher = Publisher.make(tmp_path / "repo")
    with pytest.raises(UsageError, match="clf has no recipients"):
        publisher.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)


def test_what_a_model_always_does_is_done_unless_told_otherwise(publisher: Publisher) -> None:
    publisher.repo.change_recipients("clf", lambda now: msgspec.structs.replace(now, always=True))
    files = {"model.onnx": model_bytes(1)}
    first = publisher.release("clf", "1", files)
    assert first.encryption is not None
    assert publisher.release("clf", "2", files, encrypt=False).encryption is None
    again = publisher.release("clf", "3", same_as="1")
    assert again.encryption not in {None, first.encryption}
    publisher.repo.change_recipients("clf", lambda now: msgspec.structs.replace(now, always=False))
    assert publisher.release("clf", "1", files).encryption == first.encryption


@pytest.mark.parametrize(
    ("chosen", "warned"), [(None, True), (True, False), (False, False)], ids=str
)
def test_a_model_with_recipients_is_not_released_in_the_clear_without_a_word(
    publisher: Publisher, chosen: bool | None, warned: bool
) -> None:
    path = publisher.path / "model.onnx"
    path.write_bytes(model_bytes(1))
    request = ReleaseRequest(
        model="clf", version="1", files=(path,), is_probed=False, encrypt=chosen
    )
    done = publisher.repo.build_release(request)
    assert any("this release is not encrypted" in said for said in done.warnings) is warned
    assert not any("encrypted" in said for said in publisher.repo.build_release(request).warnings)


@pytest.fixture
def two(publisher: Publisher) -> Publisher:
    """Two encrypted releases, the second near the first, both without deltas."""
    for version, drift in (("1", 0.0), ("2", 0.001)):
        model = models.classifier(1, hidden=512, drift=drift)
        publisher.release("clf", version, {"model.onnx": model}, encrypt=True)
    return publisher


def codecs(publisher: Publisher, version: str) -> set[str]:
    folder = publisher.repo.store.folder("clf", version)
    return {record.payload.codec for record in folder.payloads()}


def test_a_delta_that_is_made_later_is_encrypted_too(two: Publisher) -> None:
    make_delta(two.repo, "clf", "2", "1", workers=1)
    found = codecs(two, "2")
    assert any("delta" in codec for codec in found)
    assert all(codec.startswith("encrypted+") for codec in found - {KEYS_CODEC})


def test_a_delta_that_is_asked_for_later_is_encrypted_too(two: Publisher) -> None:
    model = models.classifier(1, hidden=512, drift=0.001)
    two.release("clf", "2", {"model.onnx": model}, builders=(DeltaBuilder(("1",)),))
    assert any(codec.startswith("encrypted+delta") for codec in codecs(two, "2"))


def test_no_payload_in_the_clear_gets_into_an_encrypted_release(two: Publisher) -> None:
    folder = two.repo.store.folder("clf", "2")
    staging = folder.staging()
    (staging / "full.bin").write_bytes(b"in the clear")
    candidate = PayloadCandidate(codec="full+none", file=staging / "full.bin")
    staged = staging / "payload"
    record = PayloadRecord(payload=cut(candidate, staged, 4096), image_size_bytes=1000, build_s=0.0)
    with pytest.raises(Conflict, match="released encrypted, and a payload of codec full"):
        folder.add_payload(staged, record)
    assert "full+none" not in codecs(two, "2")


def test_two_thousand_recipients_leave_the_notice_below_10_kb(publisher: Publisher) -> None:
    many = tuple(recipient(number) for number in range(1, 2001))
    publisher.repo.change_recipients("clf", lambda now: now.with_devices(many))
    publisher.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)
    assert len(publisher.repo.offer("clf", "1", OfferWanted())) < 10_000
