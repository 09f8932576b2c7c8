"""What a device keeps of the certificates that are brought to it, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_device.config import BrokerConfig, DeviceConfig
from slotcast_device.storage.client_certificates import ClientCertificates
from slotcast_device.storage.os_disk import OsDisk
from slotcast_publisher.certificates.profiles import (
    CLIENT,
    SERVER,
    Authority,
    issue_client,
    issue_server,
    make_authority,
)
from slotcast_schemas.errors import UsageError
from tests.support.certificate_requests import key_pem

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOW_S = NOW.timestamp()
AUTHORITY = make_authority("Slotcast devices", CLIENT, days=3650, now=NOW - timedelta(days=900))
KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def made(
    name: str = "cam-1",
    key: Ed25519PrivateKey = KEY,
    *,
    age_days: float = 1,
    days: float = 90,
    authority: Authority = AUTHORITY,
) -> bytes:
    """Give a certificate in PEM."""
    since = NOW - timedelta(days=age_days)
    found = issue_client(authority, name, "urn:x", key.public_key(), days=days, now=since)
    return found.public_bytes(Encoding.PEM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "device.key").write_bytes(key_pem(KEY))
    (tmp_path / "device.pem").write_bytes(made(age_days=60))
    (tmp_path / "device.toml").write_text(
        'format = 1\ndevice = "cam-1"\nmodels = ["m"]\n'
        '[[brokers]]\nurl = "mqtts://b"\ncertificate = "device.pem"\nkey = "device.key"\n'
        '[[brokers]]\nurl = "mqtt://plain"\n'
    )
    return tmp_path


@pytest.fixture
def certificates(folder: Path) -> ClientCertificates:
    return ClientCertificates(DeviceConfig(folder / "device.toml"), OsDisk())


def broker(folder: Path, number: int = 0) -> BrokerConfig:
    return DeviceConfig(folder / "device.toml").values.brokers[number]


def shown(certificates: ClientCertificates, folder: Path) -> Path:
    found = certificates.chosen(broker(folder), NOW_S, 0).certificate
    assert found is not None
    return folder / found


def files(folder: Path) -> list[str]:
    kept = folder / "state" / "certificates"
    return sorted(p.name.split(".", 1)[1] for p in kept.iterdir()) if kept.exists() else []


def test_what_came_is_new_until_a_broker_took_it(
    certificates: ClientCertificates, folder: Path
) -> None:
    assert shown(certificates, folder) == folder / "device.pem"
    certificates.install(made(), "brought", NOW_S)
    assert files(folder) == ["new.pem"]
    assert shown(certificates, folder).read_bytes() == made_before(folder, "new.pem")
    certificates.accepted(broker(folder))
    assert files(folder) == ["pem"]
    assert certificates.in_use is not None
    assert not certificates.in_use.is_new
    assert not certificates.has_newer(broker(folder), NOW_S, 0)


def made_before(folder: Path, suffix: str) -> bytes:
    [path] = (folder / "state" / "certificates").glob(f"*{suffix}")
    return path.read_bytes()


def test_a_false_one_costs_no_device_the_one_that_works(
    certificates: ClientCertificates, folder: Path
) -> None:
    certificates.install(made(age_days=2), "good", NOW_S)
    shown(certificates, folder)
    certificates.accepted(broker(folder))
    stranger = make_authority("Slotcast devices", CLIENT, days=99, now=NOW)
    for _ in range(3):
        certificates.install(made(age_days=0, authority=stranger), "false", NOW_S)
    assert files(folder) == ["new.pem", "pem"]
    assert shown(certificates, folder).name.endswith(".new.pem")
    certificates.refused(broker(folder), 1.0)
    found = certificates.chosen(broker(folder), NOW_S, 2.0).certificate
    assert found is not None
    assert found.endswith(".pem")
    assert not found.endswith(".new.pem")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (made("cam-2"), "expected the name cam-1"),
        (made(key=OTHER_KEY), "of a key that device.toml names"),
        (made(age_days=91), "it ended"),
        (made(age_days=70), "was made before"),
        (b"hello", "in PEM or DER"),
        (made() + made(key=OTHER_KEY), "did not sign the first"),
        (made() * 5, "at most 4"),
    ],
)
def test_what_cannot_be_of_use_is_refused_and_nothing_changes(
    certificates: ClientCertificates, folder: Path, data: bytes, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        certificates.install(data, "brought", NOW_S)
    assert files(folder) == []


def test_a_servers_certificate_is_no_devices(
    certificates: ClientCertificates, folder: Path
) -> None:
    servers = make_authority("Slotcast brokers", SERVER, days=99, now=NOW)
    found = issue_server(servers, ["h"], KEY.public_key(), days=9, now=NOW)
    assert not isinstance(found, bytes)
    with pytest.raises(UsageError, match="expected the name"):
        certificates.install(found.public_bytes(Encoding.PEM), "brought", NOW_S)
    assert files(folder) == []


def test_the_one_that_is_there_is_not_installed_again(
    certificates: ClientCertificates, folder: Path
) -> None:
    with pytest.raises(UsageError, match="has already"):
        certificates.install((folder / "device.pem").read_bytes(), "brought", NOW_S)


def test_one_that_the_owner_put_there_later_is_shown_before_ours(
    certificates: ClientCertificates, folder: Path
) -> None:
    certificates.install(made(age_days=2), "brought", NOW_S)
    shown(certificates, folder)
    certificates.accepted(broker(folder))
    (folder / "device.pem").write_bytes(made(age_days=1))
    assert shown(certificates, folder) == folder / "device.pem"


def test_a_device_with_a_new_key_looks_at_nothing_of_the_old_one(
    certificates: ClientCertificates, folder: Path
) -> None:
    certificates.install(made(), "brought", NOW_S)
    (folder / "device.key").write_bytes(key_pem(OTHER_KEY))
    (folder / "device.pem").write_bytes(made(key=OTHER_KEY, age_days=9))
    assert shown(certificates, folder) == folder / "device.pem"


def test_a_broker_without_tls_and_a_key_that_is_not_there_are_left_as_they_are(
    certificates: ClientCertificates, folder: Path
) -> None:
    assert certificates.chosen(broker(folder, 1), NOW_S, 0) == broker(folder, 1)
    (folder / "device.key").unlink()
    assert certificates.chosen(broker(folder), NOW_S, 0) == broker(folder)


def test_what_is_asked_is_of_the_key_and_name_that_the_certificate_has(
    certificates: ClientCertificates, folder: Path
) -> None:
    assert certificates.request(broker(folder)) is None, "no broker took any"
    shown(certificates, folder)
    certificates.accepted(broker(folder))
    found = certificates.request(broker(folder))
    assert found is not None
    csr, present = x509.load_der_x509_csr(found[0]), x509.load_der_x509_certificate(found[1])
    assert csr.is_signature_valid
    assert csr.public_key() == present.public_key() == KEY.public_key()
    assert csr.subject == present.subject
    by_hand = x509.load_pem_x509_csr(certificates.request_by_hand())
    assert by_hand.public_key() == KEY.public_key()
