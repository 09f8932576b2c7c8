"""Certificates from the first to the last at a real Mosquitto, on the files made for it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.authorities import FOLDER
from slotcast_publisher.certificates.desk import PUBLISHER_USER, CertificateDesk, open_desk
from slotcast_publisher.certificates.profiles import (
    CLIENT,
    Authority,
    issue_client,
    issue_server,
    make_authority,
)
from slotcast_publisher.repository import Repository
from tests.support.certificate_requests import key_pem, make_csr
from tests.support.certified_broker import HOST, CertifiedBroker, certified_broker, greet

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


def at(days: float) -> datetime:
    """The time so many days from now."""
    return datetime.now(UTC) + timedelta(days=days)


class Client:
    """A key with a certificate, in files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.private = ed25519.Ed25519PrivateKey.generate()
        self.name = name
        self.files = folder / f"{name}.pem", folder / f"{name}.key"
        self.files[1].write_bytes(key_pem(self.private))

    def signed_by(self, desk: CertificateDesk) -> Client:
        """Ask for a certificate as a device does."""
        certificate, _ = desk.sign(make_csr(self.name, key=self.private), "request")
        self.files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        return self

    def made_by(self, authority: Authority, name: str, *, since: float, days: float) -> Client:
        """Have an authority make what the desk would refuse to."""
        certificate = issue_client(
            authority, name, "urn:x", self.private.public_key(), days=days, now=at(since)
        )
        self.files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        return self


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = Repository.init(tmp_path_factory.mktemp("certified") / "repo")
    open_desk(made.path, made.ring).init([HOST, "localhost"])
    return made


@pytest.fixture(scope="module")
def broker(repo: Repository) -> Iterator[CertifiedBroker]:
    with certified_broker(repo) as broker:
        yield broker


def test_devices_and_publishers_are_let_in_each_at_their_own_port(
    broker: CertifiedBroker, tmp_path: Path
) -> None:
    device = Client(tmp_path, "cam-1").signed_by(broker.desk).files
    publisher = broker.desk.publisher("workstation")
    assert broker.lets_in(broker.devices_port, *device)
    assert broker.lets_in(broker.publishers_port, *publisher)
    assert not broker.lets_in(broker.publishers_port, *device)
    assert not broker.lets_in(broker.devices_port, *publisher)


def test_a_revoked_device_is_refused_at_its_next_connection_and_no_other_is(
    broker: CertifiedBroker, tmp_path: Path
) -> None:
    stolen = Client(tmp_path, "cam-stolen").signed_by(broker.desk).files
    honest = Client(tmp_path, "cam-honest").signed_by(broker.desk).files
    assert broker.lets_in(broker.devices_port, *stolen)
    broker.desk.revoke("cam-stolen")
    broker.reload()
    assert not broker.lets_in(broker.devices_port, *stolen)
    assert broker.lets_in(broker.devices_port, *honest)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_revoked_device_does_not_come_in_by_an_old_tls_session(
    broker: CertifiedBroker, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    stolen = Client(tmp_path, f"cam-old-{version.value}").signed_by(broker.desk)
    context = broker.context(*stolen.files)
    context.maximum_version = version
    first = greet(context, broker.devices_port)
    assert first is not None
    second = greet(context, broker.devices_port, first[0])
    assert second is not None
    assert second[1], "the broker takes up old sessions, so there is something to show"
    broker.desk.revoke(stolen.name)
    broker.reload()
    assert greet(context, broker.devices_port, second[0]) is None


def test_a_revoked_publisher_is_refused_and_another_is_not(broker: CertifiedBroker) -> None:
    stolen, other = (broker.desk.publisher(name) for name in ("laptop", "server"))
    broker.desk.revoke("laptop")
    broker.reload()
    assert not broker.lets_in(broker.publishers_port, *stolen)
    assert broker.lets_in(broker.publishers_port, *other)
    broker.desk.publisher("laptop", new_key=True)
    assert broker.lets_in(broker.publishers_port, *stolen), "the same files, made anew"


def test_expired_ones_are_refused_and_so_are_those_that_do_not_count_yet(
    broker: CertifiedBroker, tmp_path: Path
) -> None:
    devices = broker.desk.authorities.open("devices")
    for name, since, days in (("cam-late", -3.0, 1.0), ("cam-early", 1.0, 1.0)):
        client = Client(tmp_path, name).made_by(devices, name, since=since, days=days)
        assert not broker.lets_in(broker.devices_port, *client.files)


def test_another_authority_of_the_same_name_is_not_believed(
    broker: CertifiedBroker, tmp_path: Path
) -> None:
    known = broker.desk.authorities.open("devices").certificate
    stranger = make_authority("Slotcast devices", CLIENT, days=1, now=at(0))
    assert stranger.certificate.subject == known.subject
    client = Client(tmp_path, "cam-x").made_by(stranger, "cam-x", since=0, days=1)
    assert not broker.lets_in(broker.devices_port, *client.files)


def test_a_brokers_certificate_is_no_clients(broker: CertifiedBroker, tmp_path: Path) -> None:
    devices = broker.desk.authorities.open("devices")
    server = Client(tmp_path, "cam-server")
    made = issue_server(devices, ["h"], server.private.public_key(), days=1, now=at(0))
    server.files[0].write_bytes(made.public_bytes(Encoding.PEM))
    assert not broker.lets_in(broker.devices_port, *server.files)
    own = broker.desk.broker
    assert not broker.lets_in(broker.devices_port, own.certificate_path, own.key_path)


def test_the_publishers_name_by_the_devices_authority_opens_nothing_of_the_publishers(
    broker: CertifiedBroker, tmp_path: Path
) -> None:
    devices = broker.desk.authorities.open("devices")
    thief = Client(tmp_path, "thief").made_by(devices, PUBLISHER_USER, since=0, days=1)
    assert not broker.lets_in(broker.publishers_port, *thief.files)


def test_a_list_that_is_too_old_shuts_everybody_out_until_it_is_dated_anew(
    tmp_path: Path,
) -> None:
    repo = Repository.init(tmp_path / "repo")
    past = CertificateDesk(repo.path, repo.ring.secret, lambda: at(-10))
    past.init([HOST], list_days=5)
    device = Client(tmp_path, "cam-1").signed_by(past).files
    with certified_broker(repo) as broker:
        assert not broker.lets_in(broker.devices_port, *device)
        broker.desk.refresh()
        broker.reload()
        assert broker.lets_in(broker.devices_port, *device)


def test_a_new_certificate_and_key_of_the_broker_are_shown_after_a_signal(
    tmp_path: Path,
) -> None:
    repo = Repository.init(tmp_path / "repo")
    open_desk(repo.path, repo.ring).init([HOST])
    with certified_broker(repo) as broker:
        device = Client(tmp_path, "cam-1").signed_by(broker.desk).files
        before = broker.shown(*device)
        broker.desk.renew_broker(new_key=True)
        broker.reload()
        assert broker.shown(*device) != before
        assert broker.lets_in(broker.devices_port, *device)


def test_keys_are_where_only_their_owner_reads_them(repo: Repository) -> None:
    keys = list((repo.path / FOLDER).rglob("*.key"))
    assert keys
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)
