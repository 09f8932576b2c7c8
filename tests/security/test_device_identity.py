"""A device's own key stays on it, and only who has it can be enrolled as that device."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from slotcast_device import cli
from slotcast_device.config import DeviceConfig
from slotcast_device.runtime.importing import has_hpke
from slotcast_device.self_check import Finding, check
from slotcast_device.shell import DeviceShell
from slotcast_device.storage import encryption_key
from slotcast_device.storage.encryption_key import make_encryption_key
from slotcast_device.storage.identity import (
    KEY_FILE,
    DeviceIdentity,
    load_identity,
    load_or_make_identity,
    make_identity,
)
from slotcast_device.storage.lock import locked
from slotcast_device.storage.os_disk import OsDisk
from slotcast_publisher.enrolment.registry import EnrolledDevice, Registry
from slotcast_publisher.enrolment.request import read_request
from slotcast_publisher.errors import Conflict, NotFound, RepositoryDamaged
from slotcast_schemas import identity, wire
from slotcast_schemas.content_key import require_hpke
from slotcast_schemas.enrolment import REQUEST_MAX_BYTES, write_enrolment
from slotcast_schemas.errors import SoftwareBroken, StorageFailed, UsageError
from slotcast_schemas.messages import Status
from tests.support import messages as given
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.usefixtures("quick_probes")

DEVICE = "cam-1"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A device's folder, as it was provisioned."""
    (tmp_path / "root.json").write_text("{}")
    path = tmp_path / "device.toml"
    path.write_text(
        f'format = 1\ndevice = "{DEVICE}"\nmodels = ["clf"]\n'
        '[[brokers]]\nurl = "mqtt://127.0.0.1:1"\n'
    )
    return path


def key() -> DeviceIdentity:
    return DeviceIdentity(Ed25519PrivateKey.generate())


def request_of(device: str = DEVICE, by: DeviceIdentity | None = None, **more: Any) -> bytes:
    fields = json.loads(write_enrolment((by or key()).make_request(device)))
    return json.dumps(fields | more).encode()


def csr_of(private: Any, names: dict[Any, str], algorithm: Any = None) -> str:
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names.items()])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(private, algorithm).public_bytes(Encoding.PEM).decode()


# --- on the device --------------------------------------------------------------------------------


def test_the_key_is_made_once_for_its_user_alone_and_no_command_shows_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.umask(0)
    try:
        assert cli.main(["enrol", "--config", str(config)]) == 0
    finally:
        os.umask(before)
    path = config.parent / "state" / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    printed = capsys.readouterr().out
    out = config.parent / "cam-1.request"
    assert cli.main(["enrol", "--config", str(config), "--out", str(out)]) == 0
    assert out.read_text() == printed, "the same key asks again, and Ed25519 signs it alike"
    secret = path.read_text().splitlines()[1]
    assert secret not in out.read_text() + capsys.readouterr().out
    made = read_request(out.read_bytes(), "request")
    known = load_identity(OsDisk(), path.parent)
    assert known is not None
    assert (made.device, made.key_id) == (DEVICE, known.key_id)


def test_a_new_key_is_made_only_on_purpose_and_while_no_agent_runs(config: Path) -> None:
    state, new = config.parent / "state", ["enrol", "--new-key", "--config", str(config)]
    first = load_or_make_identity(OsDisk(), state).key_id
    with locked(state):
        assert cli.main(["enrol", "--config", str(config)]) == 0, "reading needs no lock"
        assert cli.main(new) == 4
    assert load_or_make_identity(OsDisk(), state).key_id == first
    assert cli.main(new) == 0
    assert load_or_make_identity(OsDisk(), state).key_id != first


def test_no_key_is_replaced_whose_request_could_not_be_written(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, nowhere = config.parent / "state", config.parent / "none" / "cam-1.request"
    first = load_or_make_identity(OsDisk(), state).key_id
    command = ["enrol", "--new-key", "--config", str(config), "--out", str(nowhere)]
    assert cli.main(command) == 2
    assert "--out: expected a file in a folder that can be written" in capsys.readouterr().err
    assert load_or_make_identity(OsDisk(), state).key_id == first, "brokers know it by that key"


def test_a_damaged_key_is_said_and_not_replaced_by_itself(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_identity(OsDisk(), config.parent / "state")
    path = config.parent / "state" / KEY_FILE
    path.write_text(path.read_text()[:60])
    assert cli.main(["enrol", "--config", str(config)]) == 4
    assert "--new-key" in capsys.readouterr().err
    with pytest.raises(StorageFailed, match="Ed25519"):
        load_or_make_identity(OsDisk(), path.parent)


def test_a_device_whose_key_is_damaged_goes_on_and_reports_unsigned(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = config.parent / "state"
    make_identity(OsDisk(), state)
    (state / KEY_FILE).write_text("no key")
    with ThreadPoolExecutor(1) as workers:
        shell = DeviceShell(DeviceConfig(config), random.Random(1), OsDisk(), workers, lambda: None)
    assert "not signed" in caplog.text
    assert shell.cores
    assert (state / KEY_FILE).read_text() == "no key"


def test_a_device_whose_token_is_pulled_out_reports_unsigned(
    config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[bytes] = []

    class Gone:
        def sign(self, context: bytes, data: bytes) -> bytes:
            asked.append(data)
            raise StorageFailed("no token")

    monkeypatch.setattr("slotcast_device.shell.load_own_identity", lambda *_: Gone())
    with ThreadPoolExecutor(1) as workers:
        shell = DeviceShell(DeviceConfig(config), random.Random(1), OsDisk(), workers, lambda: None)
    said = [shell.reports._encode(given.status(counter=number)) for number in (1, 2)]
    assert [wire.decode(data, Status).signature for data in said] == [None, None]
    assert (len(asked), caplog.text.count("no token")) == (1, 1)


def test_an_encryption_key_is_made_at_the_start_where_there_is_a_use_for_it(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older `cryptography` has no HPKE: `check` would only complain of a key made for it."""
    for is_there in (False, True):
        monkeypatch.setattr("slotcast_device.shell.has_hpke", lambda found=is_there: found)
        with ThreadPoolExecutor(1) as workers:
            DeviceShell(DeviceConfig(config), random.Random(1), OsDisk(), workers, lambda: None)
        assert (config.parent / "state" / "encryption.key").exists() is is_there


def test_hpke_is_found_where_it_can_be_imported() -> None:
    try:
        require_hpke()
    except SoftwareBroken:
        assert not has_hpke()
    else:
        assert has_hpke()


def test_check_says_who_else_may_read_the_key_of_encrypted_releases(config: Path) -> None:
    def found() -> list[Finding]:
        return [one for one in check(DeviceConfig(config)) if one.name == "encryption"]

    if not has_hpke():
        pytest.skip("this cryptography has no HPKE")
    assert found() == []
    make_encryption_key(OsDisk(), config.parent / "state")
    [closed] = found()
    assert closed.passed
    path = config.parent / "state" / encryption_key.KEY_FILE
    path.chmod(0o644)
    [opened] = found()
    assert (opened.passed, f"chmod 600 {path}" in opened.detail) == (False, True)


def test_check_says_which_key_signs_and_who_else_may_read_it(config: Path) -> None:
    def found() -> Finding:
        return next(one for one in check(DeviceConfig(config)) if one.name == "identity")

    assert (found().passed, "when the agent starts" in found().detail) == (True, True)
    made = make_identity(OsDisk(), config.parent / "state")
    assert (found().passed, made.key_id[:16] in found().detail) == (True, True)
    path = config.parent / "state" / KEY_FILE
    path.chmod(0o640)
    assert (found().passed, "chmod 600" in found().detail) == (False, True)
    path.chmod(0o600)
    path.write_text("no key")
    assert (found().passed, "not signed" in found().detail) == (False, True)


def test_a_key_that_was_planted_as_a_link_is_neither_read_nor_written_through(
    config: Path,
) -> None:
    state, elsewhere = config.parent / "state", config.parent / "elsewhere"
    make_identity(OsDisk(), elsewhere)
    state.mkdir()
    (state / KEY_FILE).symlink_to(elsewhere / KEY_FILE)
    kept = (elsewhere / KEY_FILE).read_bytes()
    with pytest.raises(StorageFailed):
        load_identity(OsDisk(), state)
    make_identity(OsDisk(), state)
    assert (elsewhere / KEY_FILE).read_bytes() == kept
    assert not (state / KEY_FILE).is_symlink()


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    for private in (Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        public = private.public_key()
        made = identity.sign(private, b"a\0", b"data")
        assert len(made) == identity.SIGNATURE_BYTES
        assert identity.is_signed_by(public, b"a\0", b"data", made)
        assert not identity.is_signed_by(public, b"b\0", b"data", made)
        assert not identity.is_signed_by(public, b"a\0", b"date", made)
        assert not identity.is_signed_by(public, b"a\0", b"data", made[:-1])
        assert not identity.is_signed_by(public, b"a\0", b"data", bytes(64))


# --- at the publisher -----------------------------------------------------------------------------


FOREIGN = Ed25519PrivateKey.generate()
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"csr": csr_of(FOREIGN, {NameOID.COMMON_NAME: "cam-2"})}, "cam-1 and no"),
    "a second name": (
        {
            "csr": csr_of(
                FOREIGN, {NameOID.COMMON_NAME: DEVICE, NameOID.ORGANIZATIONAL_UNIT_NAME: "x"}
            )
        },
        "no other name",
    ),
    "no name": ({"csr": csr_of(FOREIGN, {})}, "common name"),
    "a key of RSA": (
        {
            "csr": csr_of(
                rsa.generate_private_key(public_exponent=65537, key_size=2048),
                {NameOID.COMMON_NAME: DEVICE},
                hashes.SHA256(),
            )
        },
        "Ed25519 or a P-256 key",
    ),
    "no certificate request": ({"csr": "hello"}, "not a PKCS#10 request"),
    "two certificate requests": (
        {"csr": csr_of(FOREIGN, {NameOID.COMMON_NAME: DEVICE}) * 2},
        "nothing beside it",
    ),
    "another format": ({"format": "slotcast-enrolment/2"}, "format"),
    "an id that is a path": ({"device_id": "../root"}, "device_id"),
    "no text": ({"csr": 7}, "csr"),
    "too large": ({"note": "x" * REQUEST_MAX_BYTES}, "at most"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_does_not_hold_is_refused_by_name(case: str) -> None:
    changes, said = BAD[case]
    with pytest.raises(UsageError, match=said):
        read_request(request_of(**changes), "request")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{}", b"[" * 10_000, b'{"format": 1e999}'])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"^file"):
        read_request(data, "file")


def test_a_key_that_is_named_twice_is_refused() -> None:
    doubled = request_of().replace(b"{", b'{"device_id": "cam-2", ', 1)
    with pytest.raises(UsageError, match="there twice"):
        read_request(doubled, "request")


def test_who_has_not_the_key_cannot_ask_for_it() -> None:
    """The thief puts a device's public key into a request and signs with his own."""
    honest, thief = (
        x509.load_pem_x509_csr(json.loads(request_of())["csr"].encode()) for _ in range(2)
    )
    stolen = bytearray(honest.public_bytes(Encoding.DER))
    stolen[-identity.SIGNATURE_BYTES :] = thief.signature
    pem = x509.load_der_x509_csr(bytes(stolen)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(UsageError, match="not signed by the key"):
        read_request(request_of(csr=pem), "request")


def test_fields_of_a_newer_device_are_ignored_and_kept(tmp_path: Path) -> None:
    data = request_of(later={"a": [1, 2]})
    Registry(tmp_path).enrol(data, "request", now_s=5.0)
    kept = json.loads((Registry(tmp_path).folder / f"{DEVICE}.json").read_text())
    assert kept["request"]["later"] == {"a": [1, 2]}


def test_a_device_is_enrolled_once_and_another_key_takes_its_place_only_on_purpose(
    tmp_path: Path,
) -> None:
    registry, first, second = Registry(tmp_path), key(), key()
    data = request_of(by=first)
    found, is_new = registry.enrol(data, "request", now_s=5.0)
    assert (found.device, found.key_id, found.enrolled_s, is_new) == (DEVICE, first.key_id, 5, True)
    assert registry.enrol(data, "request", now_s=6.0)[1] is False
    with pytest.raises(Conflict, match="--replace"):
        registry.enrol(request_of(by=second), "request", now_s=7.0)
    known = registry.find(DEVICE)
    assert known is not None
    assert (known.key_id, known.enrolled_s) == (first.key_id, 5)
    registry.enrol(request_of(by=second), "request", now_s=8.0, replaces=True)
    known = Registry(tmp_path).find(DEVICE)
    assert known is not None
    assert known.key_id == second.key_id


def test_one_key_is_not_two_devices(tmp_path: Path) -> None:
    registry, shared = Registry(tmp_path), key()
    with registry.changing():
        registry.enrol(request_of(by=shared), "request", now_s=5.0)
        with pytest.raises(Conflict, match="copy of the other"):
            registry.enrol(request_of("cam-2", by=shared), "request", now_s=5.0)
    with registry.changing(), pytest.raises(Conflict, match="copy of the other"):
        registry.enrol(request_of("cam-2", by=shared), "request", now_s=5.0)
    assert registry.names() == [DEVICE]


class CountingRegistry(Registry):
    """Counts the files that are read."""

    reads = 0

    def find(self, device: str) -> EnrolledDevice | None:
        self.reads += 1
        return super().find(device)


def test_a_device_more_costs_as_much_among_many_as_among_few(tmp_path: Path) -> None:
    many, shared, first = [f"old-{number}" for number in range(20)], key(), Registry(tmp_path)
    with first.changing():
        for device in many:
            first.enrol(request_of(device), "request", now_s=5.0)
    Registry(tmp_path).enrol(request_of(by=shared), "request", now_s=5.0)
    registry = CountingRegistry(tmp_path)
    with registry.changing():
        registry.remove(many[0])
        registry.enrol(request_of("new-1"), "request", now_s=5.0)
        with pytest.raises(Conflict, match="copy of the other"):
            registry.enrol(request_of("new-2", by=shared), "request", now_s=5.0)
    assert registry.reads == 3  # each new one's own, and the one with the same key


@pytest.mark.parametrize("event", ["put there by hand", "index damaged", "index deleted"])
def test_one_key_is_not_two_devices_whatever_became_of_the_index(
    tmp_path: Path, event: str
) -> None:
    shared = key()
    Registry(tmp_path / "other").enrol(request_of(by=shared), "request", now_s=5.0)
    registry = Registry(tmp_path)
    registry.enrol(request_of("cam-0"), "request", now_s=5.0)
    [index] = registry.folder.parent.glob(".*.db")
    theirs, ours = Registry(tmp_path / "other").folder, registry.folder
    shutil.copy(theirs / f"{DEVICE}.json", ours)
    later_ns = ours.stat().st_mtime_ns + 10**9
    os.utime(ours, ns=(later_ns, later_ns))  # a file system's clock may not have ticked yet
    if event == "index damaged":
        index.write_bytes(b"no table" * 1000)
    elif event == "index deleted":
        index.unlink()
    with pytest.raises(Conflict, match="copy of the other"):
        registry.enrol(request_of("cam-2", by=shared), "request", now_s=5.0)
    registry.remove(DEVICE)
    registry.enrol(request_of("cam-2", by=shared), "request", now_s=5.0)


def test_a_device_that_was_removed_is_not_known_any_more(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.enrol(request_of(), "request", now_s=5.0)
    registry.remove(DEVICE)
    assert registry.find(DEVICE) is None
    with pytest.raises(NotFound):
        registry.remove(DEVICE)


@pytest.mark.parametrize("damage", ["cut", "other device", "other key"])
def test_a_registry_that_was_changed_is_said_to_be_damaged(tmp_path: Path, damage: str) -> None:
    registry = Registry(tmp_path)
    registry.enrol(request_of(), "request", now_s=5.0)
    path = registry.folder / f"{DEVICE}.json"
    fields = json.loads(path.read_text())
    if damage == "cut":
        path.write_text(path.read_text()[:100])
    elif damage == "other device":
        path.rename(registry.folder / "cam-2.json")
    else:
        path.write_text(json.dumps(fields | {"request": json.loads(request_of())}))
    with pytest.raises(RepositoryDamaged):
        registry.find("cam-2" if damage == "other device" else DEVICE)


def test_commands_that_enrol_at_once_wait_for_each_other(tmp_path: Path) -> None:
    holds, goes = threading.Event(), threading.Event()

    def hold() -> None:
        with Registry(tmp_path).changing():
            holds.set()
            goes.wait(WAIT_S)
            Registry(tmp_path).enrol(request_of(), "request", now_s=5.0)

    other = threading.Thread(target=hold)
    other.start()
    assert holds.wait(WAIT_S)
    goes.set()
    with Registry(tmp_path).changing():
        assert Registry(tmp_path).names() == [DEVICE]
    other.join()
