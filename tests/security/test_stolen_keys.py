"""What to do when an authority's key is stolen (docs/security.md), done at a real Mosquitto."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.desk import PUBLISHER_USER, open_desk
from slotcast_publisher.certificates.profiles import Authority, issue_client
from slotcast_publisher.repository import Repository
from tests.support.certificate_requests import key_pem, make_csr
from tests.support.certified_broker import HOST, CertifiedBroker, certified_broker

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

Files = tuple[Path, Path]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[CertifiedBroker]:
    repo = Repository.init(tmp_path / "repo")
    open_desk(repo.path, repo.ring).init([HOST])
    with certified_broker(repo) as broker:
        yield broker


def thief(authority: Authority, name: str, folder: Path) -> Files:
    """Give what whoever has an authority's key can make."""
    key = Ed25519PrivateKey.generate()
    made = issue_client(authority, name, "urn:x", key.public_key(), days=9, now=datetime.now(UTC))
    files = folder / "thief.pem", folder / "thief.key"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key_pem(key))
    return files


def test_a_new_authority_of_devices_shuts_out_who_has_the_old_ones_key_and_the_devices_keep_theirs(
    broker: CertifiedBroker, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    device = tmp_path / "device.pem", tmp_path / "device.key"
    device[1].write_bytes(key_pem(key))
    request = make_csr("cam-1", key=key)
    device[0].write_bytes(broker.desk.sign(request, "r")[0].public_bytes(Encoding.PEM))
    stolen = thief(broker.desk.authorities.open("devices"), "cam-1", tmp_path)
    assert broker.lets_in(broker.devices_port, *stolen)
    broker.desk.init([], replace=["devices"])
    broker.reload()
    assert not broker.lets_in(broker.devices_port, *stolen)
    device[0].write_bytes(broker.desk.sign(request, "r")[0].public_bytes(Encoding.PEM))
    assert broker.lets_in(broker.devices_port, *device)


def test_a_new_authority_of_publishers_shuts_out_who_has_the_old_ones_key(
    broker: CertifiedBroker, tmp_path: Path
) -> None:
    stolen = thief(broker.desk.authorities.open("publishers"), PUBLISHER_USER, tmp_path)
    assert broker.lets_in(broker.publishers_port, *stolen)
    broker.desk.init([], replace=["publishers"])
    broker.reload()
    assert not broker.lets_in(broker.publishers_port, *stolen)
    assert broker.lets_in(broker.publishers_port, *broker.desk.publisher("publisher"))


def test_whoever_has_the_new_authority_of_brokers_believes_no_broker_of_the_old_one(
    broker: CertifiedBroker, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    device = tmp_path / "device.pem", tmp_path / "device.key"
    made, _ = broker.desk.sign(make_csr("cam-1", key=key), "r")
    device[0].write_bytes(made.public_bytes(Encoding.PEM))
    device[1].write_bytes(key_pem(key))
    broker.desk.init([], replace=["brokers"])  # the broker has not read it: it stands for a thief
    with pytest.raises(ssl.SSLCertVerificationError):
        broker.lets_in(broker.devices_port, *device)
    broker.reload()
    assert broker.lets_in(broker.devices_port, *device)
    assert broker.desk.broker.hosts() == (HOST,)
