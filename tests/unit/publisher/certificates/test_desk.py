"""Certificates from the first to the last, over power cuts between any two steps."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from slotcast_publisher import durable
from slotcast_publisher.certificates import authorities, broker_files, desk, issued_record
from slotcast_publisher.certificates.authorities import AuthorityName
from slotcast_publisher.certificates.broker_files import LISTENERS
from slotcast_publisher.certificates.desk import PUBLISHER_USER, CertificateDesk
from slotcast_publisher.certificates.issued_record import KEPT_S, serial_of
from slotcast_publisher.certificates.profiles import common_name
from slotcast_publisher.errors import Conflict, KeyUnavailable, NotFound
from slotcast_schemas.enrolment import Enrolment, write_enrolment
from slotcast_schemas.errors import UsageError
from tests.support.certificate_requests import PrivateKey, make_csr

START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(tmp_path: Path, clock: Clock) -> CertificateDesk:
    made = CertificateDesk(tmp_path, lambda _: None, clock)
    made.init(["broker.example", "192.0.2.7"])
    return made


def key_of() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def listed(made: CertificateDesk) -> set[int]:
    lists = made.broker.revocation_lists("devices")
    assert lists
    return {one.serial_number for found in lists for one in found}


# --- what is in a certificate ---------------------------------------------------------------------


def test_a_devices_certificate_is_a_clients_of_the_devices_authority_and_nothing_else(
    made: CertificateDesk,
) -> None:
    key = key_of()
    certificate, _ = made.sign(make_csr("cam-1", key=key, asks_for_authority=True), "cam-1.csr")
    issuer = made.authorities.open("devices").certificate
    certificate.verify_directly_issued_by(issuer)
    assert common_name(certificate.subject) == "cam-1"
    assert certificate.public_key() == key.public_key()
    found = certificate.extensions
    assert list(found.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert not found.get_extension_for_class(x509.BasicConstraints).value.ca
    names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("urn:slotcast:device:cam-1")]
    assert certificate.not_valid_after_utc - START == timedelta(days=90)


def test_each_authority_makes_one_kind_and_no_further_authority(made: CertificateDesk) -> None:
    usages: dict[AuthorityName, x509.ObjectIdentifier] = {
        "devices": ExtendedKeyUsageOID.CLIENT_AUTH,
        "publishers": ExtendedKeyUsageOID.CLIENT_AUTH,
        "brokers": ExtendedKeyUsageOID.SERVER_AUTH,
    }
    for name, usage in usages.items():
        found = made.authorities.open(name).certificate.extensions
        assert list(found.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]
        assert found.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_a_certificate_ends_with_its_authority(made: CertificateDesk, clock: Clock) -> None:
    clock.now = START + timedelta(days=3600)
    certificate, _ = made.sign(make_csr("cam-1", key=key_of()), "r", days=90)
    issuer = made.authorities.open("devices").certificate
    assert certificate.not_valid_after_utc == issuer.not_valid_after_utc


def test_a_client_that_checks_as_browsers_do_takes_the_brokers_certificate(
    made: CertificateDesk, clock: Clock
) -> None:
    builder = verification.PolicyBuilder().time(clock.now)
    store = verification.Store([made.authorities.open("brokers").certificate])
    shown = made.broker.certificate()
    assert shown is not None
    verifier = builder.store(store).build_server_verifier(x509.DNSName("broker.example"))
    assert verifier.verify(shown, [])
    with pytest.raises(verification.VerificationError):
        builder.store(store).build_server_verifier(x509.DNSName("other.example")).verify(shown, [])


# --- who gets none --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((PUBLISHER_USER,), "a device id"),
        (("@serve",), "a device id"),
        (("../cam",), "a device id"),
        (("cam-1\n",), "a device id"),
        ((), "one common name"),
        (("cam-1", PUBLISHER_USER), "one common name"),
    ],
)
def test_names_that_no_device_may_have_are_refused(
    made: CertificateDesk, names: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        made.sign(make_csr(*names, key=key_of()), "r")
    assert [one.issued.authority for one in made.entries()] == ["brokers"]


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["rsa-1024", "p-521"],
)
def test_keys_of_other_kinds_are_refused(made: CertificateDesk, key: PrivateKey) -> None:
    with pytest.raises(UsageError, match="expected a key of Ed25519"):
        made.sign(make_csr("cam-1", key=key), "r")


def test_a_request_that_its_key_did_not_sign_is_refused(made: CertificateDesk) -> None:
    pem = make_csr("cam-1", key=key_of())
    csr = x509.load_pem_x509_csr(pem)
    der = bytearray(csr.public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(UsageError, match="not signed by the key"):
        made.sign(forged, "r")


@pytest.mark.parametrize("data", [b"", b"{}", b"hello", b"-----BEGIN CERTIFICATE REQUEST-----\n"])
def test_what_is_no_request_is_refused(made: CertificateDesk, data: bytes) -> None:
    with pytest.raises(UsageError):
        made.sign(data, "r")
    with pytest.raises(UsageError, match="at most"):
        made.sign(data + bytes(40_000), "r")


def test_an_enrolment_request_must_name_one_device(made: CertificateDesk) -> None:
    csr = make_csr("cam-1", key=key_of()).decode()
    certificate, _ = made.sign(write_enrolment(Enrolment(device_id="cam-1", csr=csr)), "r")
    assert made.name_of(certificate) == "cam-1"
    with pytest.raises(UsageError, match="cam-2"):
        made.sign(write_enrolment(Enrolment(device_id="cam-2", csr=csr)), "r")


def test_a_second_device_of_one_name_is_noticed_when_it_asks(made: CertificateDesk) -> None:
    first, _ = made.sign(make_csr("cam-1", key=key_of()), "r")
    second = make_csr("cam-1", key=key_of())
    with pytest.raises(Conflict, match=serial_of(first)):
        made.sign(second, "r")
    assert not listed(made)
    _, revoked = made.sign(second, "r", replaces=True)
    assert [one.serial for one in revoked] == [serial_of(first)]
    assert listed(made) == {first.serial_number}


# --- lists ----------------------------------------------------------------------------------------


def test_a_revoked_device_is_on_the_list_with_all_its_certificates_and_only_those(
    made: CertificateDesk,
) -> None:
    key, other = key_of(), key_of()
    mine = [made.sign(make_csr("cam-1", key=key), "r")[0] for _ in range(2)]
    made.sign(make_csr("cam-2", key=other), "r")
    assert {one.serial for one in made.revoke("cam-1")} == {serial_of(one) for one in mine}
    assert listed(made) == {one.serial_number for one in mine}
    assert made.revoke("cam-1") == []


def test_one_certificate_is_revoked_by_its_number(made: CertificateDesk) -> None:
    key = key_of()
    first, second = (made.sign(make_csr("cam-1", key=key), "r")[0] for _ in range(2))
    made.revoke(serial_of(second).upper())
    assert listed(made) == {second.serial_number} != {first.serial_number}


def test_who_is_not_known_or_is_the_broker_is_said_to_be_so(made: CertificateDesk) -> None:
    with pytest.raises(NotFound, match="cam-9"):
        made.revoke("cam-9")
    broker = made.entries()[0].issued
    with pytest.raises(UsageError, match="--new-key"):
        made.revoke(broker.serial)


def test_a_list_is_dated_anew_and_stays_as_long(made: CertificateDesk, clock: Clock) -> None:
    certificate, _ = made.sign(make_csr("cam-1", key=key_of()), "r")
    made.revoke("cam-1")
    clock.now += timedelta(days=20)
    made.refresh(list_days=30)
    assert made.broker.lists_end("devices") == clock.now + timedelta(days=30)
    assert listed(made) == {certificate.serial_number}


def test_what_is_long_over_is_forgotten(made: CertificateDesk, clock: Clock) -> None:
    made.sign(make_csr("cam-1", key=key_of()), "r", days=1)
    made.revoke("cam-1")
    clock.now += timedelta(days=1.5, seconds=KEPT_S)
    made.refresh()
    assert not listed(made)
    assert [one.issued.name for one in made.entries()] == ["broker.example, 192.0.2.7"]
    assert json.loads((made.broker.folder.parent / "revoked.json").read_text())["revoked"] == []


# --- keys and files -------------------------------------------------------------------------------


def test_every_key_is_its_owners_alone_and_those_of_authorities_are_encrypted(
    tmp_path: Path, clock: Clock
) -> None:
    made = CertificateDesk(tmp_path, lambda _: b"correct horse", clock)
    made.init(["localhost"])
    made.publisher("workstation")
    keys = list(tmp_path.rglob("*.key"))
    assert len(keys) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    encrypted = {path.name for path in keys if b"ENCRYPTED" in path.read_bytes()}
    assert encrypted == {"ca.key", "publishers-ca.key", "brokers-ca.key"}
    with pytest.raises(KeyUnavailable, match="wrong passphrase"):
        CertificateDesk(tmp_path, lambda _: b"battery staple", clock).refresh()


def test_a_renewed_certificate_keeps_its_key_unless_a_new_one_is_asked_for(
    made: CertificateDesk, clock: Clock
) -> None:
    before = made.broker.key_path.read_bytes()
    clock.now += timedelta(days=300)
    assert made.renew_broker().not_valid_after_utc == clock.now + timedelta(days=365)
    assert made.broker.hosts() == ("broker.example", "192.0.2.7")
    assert made.broker.key_path.read_bytes() == before
    made.renew_broker(new_key=True)
    assert made.broker.key_path.read_bytes() != before


def test_running_init_again_changes_nothing_that_counts(made: CertificateDesk) -> None:
    before = {path: path.read_bytes() for path in made.broker.folder.parent.rglob("*.key")}
    assert made.init([]) is False
    assert {path: path.read_bytes() for path in before} == before
    assert made.init(["other.example"]) is True
    assert made.broker.hosts() == ("other.example",)


# --- power cuts -----------------------------------------------------------------------------------


class PowerCut(Exception):
    """The machine went off before a write."""


def cut_before(monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """Go off before the write of this number, from 1 on; a write is whole or not at all."""
    count = itertools.count(1)

    def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        if next(count) >= write:
            raise PowerCut(path)
        durable.write_atomic(path, data, mode=mode)

    for module in (authorities, broker_files, desk, issued_record):
        monkeypatch.setattr(module, "write_atomic", write_atomic)


def cut_everywhere(
    tmp_path: Path, clock: Clock, act: Callable[[CertificateDesk], object]
) -> list[CertificateDesk]:
    """Do one thing with a power cut before each of its writes in turn; gives what each left."""
    left = []
    for write in itertools.count(1):
        folder = tmp_path / str(write)
        before = CertificateDesk(folder, lambda _: None, clock)
        if act.__name__ != "init":
            before.init(["localhost"])
            before.sign(make_csr("cam-1", key=FIRST), "r")
        with pytest.MonkeyPatch.context() as patched:
            cut_before(patched, write)
            try:
                act(before)
            except PowerCut:
                left.append(CertificateDesk(folder, lambda _: None, clock))
            else:
                return left
    raise AssertionError


FIRST = ed25519.Ed25519PrivateKey.generate()


def test_init_is_finished_by_the_next_run_wherever_it_was_cut(tmp_path: Path, clock: Clock) -> None:
    def init(made: CertificateDesk) -> object:
        return made.init(["localhost"])

    left = cut_everywhere(tmp_path, clock, init)
    assert len(left) == 13
    for made in left:
        made.init(["localhost"])
        assert made.broker.certificate() is not None
        for listener in LISTENERS:
            assert len(made.broker.revocation_lists(listener)) == 1


def test_no_certificate_is_with_anybody_that_is_not_in_the_record(
    tmp_path: Path, clock: Clock
) -> None:
    def sign(made: CertificateDesk) -> object:
        return made.sign(make_csr("cam-2", key=FIRST), "r")

    left = cut_everywhere(tmp_path, clock, sign)
    assert len(left) == 1  # before its one write, which is the record; then it is given
    for made in left:
        certificate, _ = made.sign(make_csr("cam-2", key=FIRST), "r")
        assert made.name_of(certificate) == "cam-2"


def test_a_revocation_that_was_cut_counts_or_is_still_to_be_done_and_never_comes_undone(
    tmp_path: Path, clock: Clock
) -> None:
    def revoke(made: CertificateDesk) -> object:
        return made.revoke("cam-1")

    left = cut_everywhere(tmp_path, clock, revoke)
    assert len(left) == 5
    for made in left:
        counts = any(entry.revoked for entry in made.entries())
        untold = made.broker.untold(made.record)
        assert not listed(made) or counts
        made.refresh()
        assert bool(listed(made)) == counts
        assert not made.broker.untold(made.record)
        assert not untold or counts
    assert [any(entry.revoked for entry in made.entries()) for made in left] == [
        False, True, True, True, True,
    ]  # fmt: skip


def test_a_new_key_of_the_broker_that_was_cut_off_from_its_certificate_is_given_another(
    tmp_path: Path, clock: Clock
) -> None:
    def renew(made: CertificateDesk) -> object:
        return made.renew_broker(new_key=True)

    left = cut_everywhere(tmp_path, clock, renew)
    assert [made.broker.certificate() is None for made in left] == [False, False, True]
    for made in left:
        made.init(["localhost"])
        assert made.broker.certificate() is not None


def test_the_record_reads_what_a_later_version_adds(made: CertificateDesk) -> None:
    certificate, _ = made.sign(make_csr("cam-1", key=key_of()), "r")
    path = made.broker.folder.parent / "issued" / f"{serial_of(certificate)}.json"
    path.write_bytes(msgspec.json.encode({**json.loads(path.read_text()), "new": 1}))
    assert made.name_of(certificate) == "cam-1"
