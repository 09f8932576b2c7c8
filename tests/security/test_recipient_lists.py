"""Who was taken out of a model's recipients is out, by another name, key, group or file, too."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from slotcast_device.storage.identity import DeviceIdentity
from slotcast_publisher.errors import NotFound, RepositoryDamaged
from slotcast_publisher.release.encryption import wrap_for
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.recipients import Recipient, Recipients
from slotcast_schemas.codecs.encrypted import payload_key
from slotcast_schemas.content_key import (
    ENTRY_BYTES,
    KEYS_CODEC,
    commitment_to,
    public_bytes,
    read_public_key,
    recipient_id,
    unwrap,
    wrap,
)
from slotcast_schemas.enrolment import write_enrolment
from slotcast_schemas.errors import NoContentKey, UsageError
from slotcast_schemas.messages.release import Encryption
from tests.support import messages
from tests.support.fleet import Publisher, model_bytes
from tests.support.recipients import slotcast

pytestmark = pytest.mark.usefixtures("quick_probes")

pytest.importorskip("cryptography.hazmat.primitives.hpke")

FIELD_PRIME = 2**255 - 19


def new_key() -> bytes:
    return public_bytes(X25519PrivateKey.generate())


class Fleet(Publisher):
    """A publisher, and devices that ask to be enrolled."""

    def enrol(self, device: str, key: bytes, *words: str) -> None:
        """Enrol a device, with an identity of its own, and this encryption key."""
        identity = DeviceIdentity(Ed25519PrivateKey.generate())
        request = self.path.with_name(f"{device}.request")
        request.write_bytes(write_enrolment(identity.make_request(device, key)))
        slotcast("devices", "enrol", self.path, request, *words)

    def recipients(self, *words: object) -> None:
        """Run `slotcast recipients`."""
        slotcast("recipients", words[0], self.path, "clf", *words[1:])
        self.read_anew()

    def listed(self) -> set[str]:
        """Name the recipients."""
        return {one.device for one in Repository(self.path).recipients("clf").devices}

    def wrapped_for(self, version: str) -> set[bytes]:
        """Give the ids for which a release's key is wrapped."""
        folder = Repository(self.path).store.folder("clf", version)
        (offered,) = (r.payload for r in folder.payloads() if r.payload.codec == KEYS_CODEC)
        data = folder.payload_file(offered).read_bytes()
        return {data[at : at + 16] for at in range(0, len(data), ENTRY_BYTES)}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.make(tmp_path / "repo")


# --- keys -----------------------------------------------------------------------------------------


def test_two_devices_with_one_encryption_key_are_not_two_recipients(fleet: Fleet) -> None:
    key = new_key()
    fleet.enrol("cam-1", key)
    fleet.enrol("cam-2", key)
    with pytest.raises(UsageError, match="cam-1 and cam-2 have one encryption key"):
        fleet.recipients("add", "cam-1", "cam-2")
    fleet.recipients("add", "cam-1")
    with pytest.raises(UsageError, match="cam-1 and cam-2 have one encryption key"):
        fleet.recipients("add", "cam-2")
    fleet.recipients("remove", "cam-1")
    assert fleet.listed() == set()


@pytest.mark.parametrize("again", [lambda n: n | 1 << 255, lambda n: n + FIELD_PRIME])
@pytest.mark.parametrize("number", [2, 9, 18])
def test_one_key_is_written_in_one_way(number: int, again: Callable[[int], int]) -> None:
    """All of these agree on the same with everybody: one key, with an id for each way."""
    raw = again(number).to_bytes(32, "little")
    same = number.to_bytes(32, "little")
    assert read_public_key(base64.b64encode(same).decode()) == same
    with pytest.raises(UsageError, match="32 bytes of an X25519 key"):
        read_public_key(base64.b64encode(raw).decode())


@pytest.mark.parametrize(
    "number",
    [
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        FIELD_PRIME - 1,
        FIELD_PRIME,
        FIELD_PRIME + 1,
    ],
)
def test_no_point_of_small_order_is_a_recipients_key(fleet: Fleet, number: int) -> None:
    """With them everybody agrees on zeros: what is wrapped so, everybody unwraps."""
    for high in (0, 1 << 255):
        with pytest.raises(UsageError, match="32 bytes of an X25519 key"):
            fleet.enrol("cam-1", (number | high).to_bytes(32, "little"))


def test_nothing_more_is_wrapped_for_a_key_that_was_replaced(fleet: Fleet) -> None:
    """Whoever stole it reads no later release, also where nobody thought of the recipients."""
    stolen, anew, other = new_key(), new_key(), new_key()
    fleet.enrol("cam-1", stolen)
    fleet.enrol("cam-2", other)
    fleet.recipients("add", "cam-1", "cam-2")
    fleet.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)
    assert fleet.wrapped_for("1") == {recipient_id(stolen), recipient_id(other)}
    fleet.enrol("cam-1", anew, "--replace")
    fleet.release("clf", "2", {"model.onnx": model_bytes(2)}, encrypt=True)
    assert fleet.wrapped_for("2") == {recipient_id(other)}
    fleet.recipients("always")
    assert fleet.wrapped_for("1") == {recipient_id(other)}
    fleet.recipients("add", "cam-1")
    assert fleet.wrapped_for("2") == {recipient_id(anew), recipient_id(other)}


def test_whoever_replaced_a_key_is_told_that_it_is_no_recipients_yet(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.enrol("cam-1", new_key())
    fleet.enrol("cam-2", new_key())
    fleet.recipients("add", "cam-1", "cam-2")
    fleet.enrol("cam-1", new_key(), "--replace")
    (tmp_path / "model.onnx").write_bytes(model_bytes(1))
    slotcast("release", fleet.path, "clf", "1", tmp_path / "model.onnx", "--encrypt")
    said = capsys.readouterr()
    assert "cam-1 is enrolled with another encryption key" in said.out + said.err


# --- lists ----------------------------------------------------------------------------------------


def test_a_group_that_is_misspelt_beside_others_is_said(fleet: Fleet) -> None:
    for number in (1, 2):
        fleet.enrol(f"cam-{number}", new_key())
    fleet.recipients("add", "cam-1", "--group", "lost")
    fleet.recipients("add", "cam-2", "--group", "stolen")
    for words in (("--group", "lost", "--group", "stolne"), ("cam-1", "--group", "stolne")):
        with pytest.raises(NotFound, match="stolne"):
            fleet.recipients("remove", *words)
    assert fleet.listed() == {"cam-1", "cam-2"}
    fleet.recipients("remove", "--group", "lost", "--group", "stolen")
    assert fleet.listed() == set()


def test_who_is_made_a_recipient_again_stays_in_its_groups(fleet: Fleet) -> None:
    for number in (1, 2):
        fleet.enrol(f"cam-{number}", new_key())
    fleet.recipients("add", "cam-1", "--group", "hall")
    fleet.recipients("add", "--all-enrolled")
    fleet.recipients("remove", "--group", "hall")
    assert fleet.listed() == {"cam-2"}


def test_a_list_of_before_is_not_believed_once_a_newer_one_was_published(
    fleet: Fleet, tmp_path: Path
) -> None:
    """Who may write a repository's files puts back the list that he was in, and its signature."""
    for number in (1, 2):
        fleet.enrol(f"cam-{number}", new_key())
    fleet.recipients("add", "cam-1", "cam-2")
    fleet.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)
    shutil.copytree(fleet.path, tmp_path / "before")
    fleet.recipients("remove", "cam-1")
    fleet.repo.offer("clf", "1")
    newest = {path.name for path in fleet.path.rglob("*.release-clf.json")}
    for path in (tmp_path / "before").rglob("*.release-clf.json"):
        newest.discard(path.name)
        shutil.copy(path, fleet.path / path.relative_to(tmp_path / "before"))
    for name in newest:
        next(fleet.path.rglob(name)).unlink()
    lists = Path("models/clf/recipients")
    shutil.copytree(tmp_path / "before" / lists, fleet.path / lists, dirs_exist_ok=True)
    fleet.read_anew()
    with pytest.raises(RepositoryDamaged, match="set back the repository's files"):
        fleet.release("clf", "2", {"model.onnx": model_bytes(2)}, encrypt=True)


def test_a_model_whose_list_is_lost_is_not_released_in_the_clear_by_the_next_one(
    fleet: Fleet,
) -> None:
    fleet.enrol("cam-1", new_key())
    fleet.recipients("add", "cam-1")
    fleet.recipients("always")
    for path in (fleet.path / "models/clf/recipients").iterdir():
        path.unlink()
    fleet.recipients("add", "cam-1")
    assert fleet.release("clf", "1", {"model.onnx": model_bytes(1)}).encryption is not None


# --- the same key and nonce -----------------------------------------------------------------------


def test_no_two_payloads_share_a_key_whatever_they_have_in_common() -> None:
    """A nonce is a chunk's number: one key for two payloads would open both."""
    release = messages.release(encryption=Encryption(key_commitment=commitment_to(bytes(32))))
    usual: dict[str, Any] = {
        "codec": "encrypted+full+none",
        "base_sha256": b"",
        "plain_sha256": messages.sha("plain"),
        "plain_bytes": 1000,
        "chunk_size_bytes": 4096,
    }
    others: list[dict[str, Any]] = [
        {"codec": "encrypted+full+zstd"},
        {"base_sha256": messages.sha("base")},
        {"plain_sha256": messages.sha("another")},
        {"plain_bytes": 1001},
        {"chunk_size_bytes": 8192},
    ]
    keys = [payload_key(bytes(32), release, **(usual | one)) for one in ({}, *others)]
    keys.append(payload_key(bytes(31) + b"\1", release, **usual))
    assert len(set(keys)) == len(keys)


def test_a_release_that_was_stopped_and_is_made_again_has_another_key(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sealed before the stop is of a key that seals nothing more."""
    fleet.enrol("cam-1", new_key())
    fleet.recipients("add", "cam-1")
    seen: list[bytes] = []

    def stop(*_: object, **__: object) -> None:
        seen.extend(path.read_bytes() for path in fleet.path.rglob("content.key"))
        raise KeyboardInterrupt

    files = {"model.onnx": model_bytes(1)}
    with monkeypatch.context() as patch:
        patch.setattr("slotcast_publisher.release.build.changes_of_names", stop)
        with pytest.raises(KeyboardInterrupt):
            fleet.release("clf", "1", files, encrypt=True)
    fleet.read_anew()
    fleet.release("clf", "1", files, encrypt=True)
    (key,) = (path.read_bytes() for path in fleet.path.rglob("content.key"))
    assert len(seen) == 1
    assert key not in seen


def test_payloads_of_a_release_that_is_made_again_are_the_same_bytes(fleet: Fleet) -> None:
    """Under the same key nothing else is sealed: the same request changes nothing."""
    fleet.enrol("cam-1", new_key())
    fleet.recipients("add", "cam-1")
    files = {"model.onnx": model_bytes(1)}
    fleet.release("clf", "1", files, encrypt=True)
    folder = fleet.repo.store.folder("clf", "1")
    before = {record.payload.sha256 for record in folder.payloads()}
    fleet.release("clf", "1", files, encrypt=True)
    assert {record.payload.sha256 for record in folder.payloads()} == before


def test_entries_of_two_recipients_that_changed_places_open_for_neither() -> None:
    content_key = bytes(range(32))
    release = messages.release(encryption=Encryption(key_commitment=commitment_to(content_key)))
    first, second = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    for mine, other in ((first, second), (second, first)):
        wrapped = wrap(content_key, public_bytes(other), release)
        with pytest.raises(NoContentKey):
            unwrap(wrapped, mine, release)


def test_a_list_for_nobody_is_no_list(fleet: Fleet) -> None:
    fleet.enrol("cam-1", new_key())
    fleet.recipients("add", "cam-1")
    fleet.release("clf", "1", {"model.onnx": model_bytes(1)}, encrypt=True)
    folder = fleet.repo.store.folder("clf", "1")
    assert wrap_for(folder, Recipients(model="clf"))
    assert all(record.payload.codec != KEYS_CODEC for record in folder.payloads())
    assert wrap_for(
        folder, Recipients(model="clf", devices=(Recipient(device="d", key=new_key()),))
    )
    assert len(fleet.wrapped_for("1")) == 1
