"""Somebody has the disk of a device whose slots are encrypted: to read it, or to change it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from slotcast_device.at_rest.encrypted_file import FileEncryptor, SlotsKey
from slotcast_device.at_rest.file_format import BLOCK_BYTES, HEADER_BYTES, TAG_BYTES
from slotcast_device.at_rest.slots_key import KeyPlace, TokenPlace, open_slots_key
from slotcast_device.config import DeviceConfig
from slotcast_device.hotmodel import HotModel
from slotcast_device.self_check import check
from slotcast_device.storage.encryption_key import (
    KEY_FILE,
    load_encryption_key,
    make_encryption_key,
    protect_encryption_key,
)
from slotcast_device.storage.memory_copies import MemoryCopies
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slot_files import SlotsKeyring
from slotcast_schemas.content_key import public_bytes
from slotcast_schemas.errors import ModelUnloadable, SlotsKeyMissing, StorageFailed, UsageError
from slotcast_schemas.messages.release import File, Probe
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from slotcast_schemas.samples import write_samples
from slotcast_schemas.states import State
from tests.support import models
from tests.support.at_rest import KEY, key_file, slot_files, turn_on
from tests.support.fleet import Device, Publisher, model_bytes
from tests.support.probing import golden_samples
from tests.support.softhsm import LABEL, MODULE, PIN, needs_softhsm, token_with_key
from tests.support.warm_children import warm_children

BLOCK = BLOCK_BYTES + TAG_BYTES
SIZE_BYTES = 4 * BLOCK_BYTES


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return key_file(tmp_path / "slots.key")


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path, key: Path) -> Iterator[Device]:
    """A device that runs the second of two releases, each in a slot that is encrypted."""
    made = publisher.provision("cam-1", tmp_path / "cam-1", models=["rest"])
    turn_on(made, key)
    with warm_children():
        for version in ("1", "2"):
            publisher.release("rest", version, {"model.onnx": model_of(version)})
            publisher.publish("rest", version)
            assert made.run_once().state is State.COMMITTED
        yield made


def model_of(version: str) -> bytes:
    return model_bytes(int(version), SIZE_BYTES)


def swap_blocks(data: bytes, other: bytes) -> bytes:
    del other
    first, second, end = HEADER_BYTES, HEADER_BYTES + BLOCK, HEADER_BYTES + 2 * BLOCK
    return data[:first] + data[second:end] + data[first:second] + data[end:]


def encrypt_anew(data: bytes, other: bytes) -> bytes:
    del data, other
    plain = model_of("2")
    lying, digest = bytearray(), hashlib.sha256(plain).digest()
    thief = FileEncryptor(SlotsKey(bytes(32)), len(plain), digest, lying.extend)
    thief.add(plain)
    thief.finish()
    return bytes(lying)


CHANGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "blocks swapped": swap_blocks,
    "cut off": lambda data, other: data[: -BLOCK // 2],
    "another file": lambda data, other: other,
    "another key": encrypt_anew,
}


def change(device: Device, how: str) -> None:
    """Change the file of the active slot on the disk."""
    folder = device.folder("rest")
    active = (folder / "current").resolve() / "model.onnx"
    other = folder / "slots" / ("b" if active.parent.name == "a" else "a") / "model.onnx"
    data = CHANGES[how](active.read_bytes(), other.read_bytes())
    active.chmod(0o644)
    active.write_bytes(data)


@pytest.mark.broker
@pytest.mark.parametrize("how", CHANGES)
def test_a_slot_that_was_changed_gives_way_to_the_other_one(
    device: Device, publisher: Publisher, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.withdraw("rest")
    change(device, how)
    status = device.run_once()
    assert status.active is not None
    assert status.active.version == "1"
    assert "damaged" in caplog.text
    with HotModel(device.folder("rest") / "current", report_s=0) as model:
        assert model.release is not None
        assert model.release.version == "1"
    publisher.publish("rest", "2")
    mended = device.run_once().active
    assert mended is not None
    assert mended.version == "2"


@pytest.mark.broker
@pytest.mark.parametrize("how", ["blocks swapped", "another file"])
def test_an_application_serves_no_file_that_was_changed(device: Device, how: str) -> None:
    change(device, how)
    with pytest.raises(ModelUnloadable, match=r"is another file|is not what was written there"):
        HotModel(device.folder("rest") / "current", report_s=0, start_timeout_s=5.0, poll_s=0.02)


@pytest.mark.broker
def test_an_application_without_the_key_is_told_and_blames_no_model(
    device: Device, key: Path
) -> None:
    key.rename(key.with_name("elsewhere"))
    current = device.folder("rest") / "current"
    with pytest.raises(ModelUnloadable, match="is encrypted: the slots' key cannot be had"):
        HotModel(current, report_s=0, start_timeout_s=2.0, poll_s=0.02)
    assert not list((device.folder("rest") / "app").iterdir())
    with HotModel(current, report_s=0, slots_key=key.with_name("elsewhere")) as model:
        assert model.release is not None


@pytest.mark.broker
def test_without_the_configuration_an_encrypted_slot_is_named_by_check(device: Device) -> None:
    (found,) = [each for each in check(device.config) if each.name == "at_rest"]
    assert "the same file system" in found.detail
    text = device.config_path.read_text()
    device.config_path.write_text(text.partition("[at_rest]")[0])
    (found,) = [each for each in check(device.config) if each.name == "at_rest"]
    assert not found.passed
    assert "names no key" in found.detail


def test_a_command_beside_encrypted_slots_is_refused_by_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text("{}")
    path = tmp_path / "device.toml"
    path.write_text(
        'format = 1\ndevice = "cam-1"\nmodels = ["m"]\n[[brokers]]\nurl = "mqtt://127.0.0.1:1"\n'
        '[at_rest]\nkey_file = "slots.key"\n[formats.gguf]\ncommand = ["run"]\n'
    )
    with pytest.raises(UsageError, match=r"either at_rest or formats\.gguf"):
        DeviceConfig(path)


# --- the probe ------------------------------------------------------------------------------------


@pytest.fixture
def encrypted_slot(tmp_path: Path, key: Path) -> Iterator[SlotModel]:
    """A slot with an encrypted model and samples, as the probe is handed it."""
    files, folder = slot_files(key), tmp_path / "slots" / "b"
    folder.mkdir(parents=True)
    write_samples(tmp_path / "samples.npz", golden_samples())
    held = []
    for name, data in (
        ("model.onnx", models.classifier()),
        ("samples.npz", (tmp_path / "samples.npz").read_bytes()),
    ):
        file = File(path=name, size_bytes=len(data), sha256=hashlib.sha256(data).digest())
        writer = files.create(folder / name, file)
        writer.write(data)
        writer.close_synced()
        held.append(file)
    with MemoryCopies(files).hold(folder, held) as memory:
        yield SlotModel(str(folder), "model.onnx", memory=dict(memory))


def test_the_probe_reads_no_folder_of_an_encrypted_slot(encrypted_slot: SlotModel) -> None:
    """It finds the model sound, by its golden samples, though the slot itself is gone."""
    assert encrypted_slot.folders == ()
    for path in Path(encrypted_slot.slot).iterdir():
        path.unlink()
    probe = Probe(samples="samples.npz", runs=5)
    result = run_probe(ProbeRequest(candidate=encrypted_slot, probe=probe))
    assert result.passed, result.detail
    assert "golden" in {each.name for each in result.checks}


# --- the device's other keys ----------------------------------------------------------------------


def keyring(key: Path) -> SlotsKeyring:
    return SlotsKeyring(KeyPlace(key_file=str(key)), encrypts=True)


def test_with_the_disk_alone_nobody_has_the_encryption_key(tmp_path: Path, key: Path) -> None:
    disk, state = OsDisk(), tmp_path / "state"
    private = make_encryption_key(disk, state)
    protect_encryption_key(disk, state, keyring(key))
    data = (state / KEY_FILE).read_bytes()
    assert private.private_bytes_raw() not in data
    assert b"PRIVATE KEY" not in data
    with pytest.raises(SlotsKeyMissing):
        load_encryption_key(disk, state)
    opened = load_encryption_key(disk, state, keyring(key))
    assert opened is not None
    assert public_bytes(opened) == public_bytes(private)
    with pytest.raises(StorageFailed, match="another key"):
        load_encryption_key(disk, state, keyring(key_file(tmp_path / "other", bytes(32))))


# --- a token --------------------------------------------------------------------------------------


@needs_softhsm
def test_a_token_unwraps_the_slots_key(tmp_path: Path) -> None:
    import pkcs11

    with token_with_key(tmp_path):
        token = pkcs11.lib(str(MODULE)).get_token(token_label=LABEL)
        with token.open(rw=True, user_pin=PIN) as session:
            public, _ = session.generate_keypair(
                pkcs11.KeyType.RSA, 2048, store=True, label="slots", id=bytes([3])
            )
            from pkcs11.util.rsa import encode_rsa_public_key

            der = encode_rsa_public_key(public)
        number = rsa_public(der)
        sha1 = hashes.SHA1()
        oaep = padding.OAEP(padding.MGF1(sha1), sha1, None)
        wrapped = tmp_path / "slots.key.wrapped"
        wrapped.write_bytes(number.encrypt(KEY.secret, oaep))
        pin = key_file(tmp_path / "pin", PIN.encode())
        place = TokenPlace(uri=f"hsm:3?label={LABEL}", module=str(MODULE), pin_file=str(pin))
        assert open_slots_key(KeyPlace(key_file=str(wrapped), token=place)) == KEY
        wrapped.write_bytes(bytes(256))
        with pytest.raises(SlotsKeyMissing, match="does not unwrap it"):
            open_slots_key(KeyPlace(key_file=str(wrapped), token=place))


def rsa_public(der: bytes) -> rsa.RSAPublicKey:
    """Read PKCS#1, as tokens give it."""
    done = subprocess.run(
        ["openssl", "rsa", "-RSAPublicKey_in", "-inform", "DER", "-pubout", "-outform", "DER"],
        input=der,
        check=True,
        capture_output=True,
    )
    found = load_der_public_key(done.stdout)
    assert isinstance(found, rsa.RSAPublicKey)
    return found
