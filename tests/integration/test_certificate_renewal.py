"""A device's certificate from its request to its end, over mutual TLS at a real Mosquitto."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from slotcast_device.agent import Agent
from slotcast_device.cli import main as device_main
from slotcast_device.config import DeviceConfig
from slotcast_publisher.certificates.desk import CertificateDesk, open_desk
from slotcast_publisher.certificates.issued_record import serial_of
from slotcast_publisher.certificates.profiles import CLIENT, issue_client, make_authority
from slotcast_publisher.delivery.publish import publish
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, save
from tests.support import models
from tests.support.certified_broker import HOST, CertifiedBroker, certified_broker
from tests.support.serving import Served, serving
from tests.support.waiting import WAIT_S, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

DEVICE = "cam-1"


def at(days: float) -> datetime:
    """The time so many days from now."""
    return datetime.now(UTC) + timedelta(days=days)


class Fleet:
    """A repository, its broker, and one device that asked for a certificate.

    Args:
        broker: runs on the repository's files.
        folder: the device's.
    """

    def __init__(self, broker: CertifiedBroker, folder: Path) -> None:
        self.broker = broker
        self.repo = broker.repo
        self.desk = broker.desk
        self.config = folder / "device.toml"
        self.request = folder / "cam-1.request"
        self.certificate = folder / "device.pem"
        folder.mkdir()
        (folder / "root.json").write_bytes(self.repo.roles.root_bytes())
        ca = self.desk.authorities.certificate_path("brokers")
        self.config.write_text(
            f'format = 1\ndevice = "{DEVICE}"\nmodels = ["clf"]\nroot = "root.json"\n'
            f'[[brokers]]\nurl = "mqtts://{HOST}:{broker.devices_port}"\nca = "{ca}"\n'
            'certificate = "device.pem"\nkey = "state/identity.key"\n'
            "[timing]\nreconnect_first_s = 0.05\nreconnect_cap_s = 0.2\n"
        )
        assert self.run("enrol", "--out", self.request) == 0

    def run(self, *words: object) -> int:
        """Run a command of the device."""
        arguments = [str(word) for word in words]
        at_most = 2 if words[0] == "certificate" else 1
        return device_main(
            [*arguments[:at_most], "--config", str(self.config), *arguments[at_most:]]
        )

    def sign(self, *, age_days: float, days: float) -> x509.Certificate:
        """Give the device a certificate that was made some time ago."""
        past = CertificateDesk(self.repo.path, self.repo.ring.secret, lambda: at(-age_days))
        made, _ = past.sign(self.request.read_bytes(), "request", days=days)
        return made

    def installed(self) -> list[str]:
        """Names of what the device keeps beside what its configuration names."""
        return sorted(path.name.split(".", 1)[1] for path in self._folder.iterdir())

    @property
    def _folder(self) -> Path:
        return self.config.parent / "state" / "certificates"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    repo = Repository.init(tmp_path / "repo")
    desk = open_desk(repo.path, repo.ring)
    desk.init([HOST])
    desk.allow_renewals()
    certificate, key = desk.publisher("publisher")
    with certified_broker(repo) as broker:
        entry = Broker(
            url=f"mqtts://{HOST}:{broker.publishers_port}",
            ca=str(desk.authorities.certificate_path("brokers")),
            certificate=str(certificate),
            key=str(key),
        )
        save(repo.path, msgspec.structs.replace(repo.settings, brokers=(entry,)))
        broker.repo = Repository(repo.path)
        yield Fleet(broker, tmp_path / "device")


@contextlib.contextmanager
def running(fleet: Fleet) -> Iterator[Agent]:
    """Run the device's agent for the length of the block."""
    agent = Agent(DeviceConfig(fleet.config), random.Random(1))
    thread = threading.Thread(target=agent.run, name="agent")
    thread.start()
    try:
        yield agent
    finally:
        agent.stop()
        thread.join(WAIT_S)
    assert not thread.is_alive()


@contextlib.contextmanager
def heard(repo: Path) -> Iterator[Served]:
    """Serve, and wait until renewals are heard: who is not heard asks again after an hour."""
    with serving(repo) as served:
        served.wait_for("hears_renewals")
        yield served


def shows(agent: Agent, serial: str) -> bool:
    """Whether the agent is connected, by this certificate."""
    connection = agent.shell.connection
    return connection.is_up and connection.state.status.certificate_serial == serial


def test_enrolled_signed_connected_updated_renewed_revoked_refused(
    fleet: Fleet, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(models.classifier(hidden=8))
    repo = fleet.broker.repo
    repo.build_release(ReleaseRequest(model="clf", version="1", files=(model,)))
    publish(repo, "clf", "1")
    first = fleet.sign(age_days=80, days=90)
    fleet.certificate.write_bytes(first.public_bytes(Encoding.PEM))

    with heard(repo.path) as served, running(fleet) as agent:
        # Only one let in asks, and it has nothing but the first to show, perhaps for a moment only.
        served.wait_for("certificate_answered", device=DEVICE, reason="ok")
        wait_until(
            lambda: agent.shell.connection.is_up and not shows(agent, serial_of(first)),
            "let in by what came over the broker",
        )
        status = agent.shell.connection.state.status
        assert status.certificate_ends > at(80).timestamp()
        wait_until(lambda: agent.cores[0].state.floor == 1, "the update is committed")
        wait_until(lambda: fleet.installed() == ["pem"], "kept, since a broker took it")
        second = status.certificate_serial

        fleet.desk.revoke(DEVICE)
        fleet.broker.stop()
        fleet.broker.start()
        wait_until(lambda: "certificate verify failed" in fleet.broker.log(), "it is refused")
        assert not agent.shell.connection.is_up
    entries = {one.issued.serial: one for one in fleet.desk.entries()}
    assert {serial for serial, one in entries.items() if one.revoked} == {serial_of(first), second}


def test_a_certificate_that_a_person_brings_is_shown_at_once_and_after_a_restart(
    fleet: Fleet, tmp_path: Path
) -> None:
    first, second = fleet.sign(age_days=1, days=90), fleet.sign(age_days=0, days=90)
    fleet.certificate.write_bytes(first.public_bytes(Encoding.PEM))
    brought = tmp_path / "brought.pem"
    brought.write_bytes(second.public_bytes(Encoding.PEM))
    with running(fleet) as agent:
        wait_until(lambda: shows(agent, serial_of(first)), "let in by the first")
        assert fleet.run("certificate", "install", brought) == 0
        wait_until(lambda: shows(agent, serial_of(second)), "let in by the second")
    fleet.certificate.unlink()
    with running(fleet) as agent:
        wait_until(lambda: shows(agent, serial_of(second)), "it is kept")


def test_what_the_broker_refuses_is_set_aside_for_what_was_there_before(
    fleet: Fleet, tmp_path: Path
) -> None:
    first = fleet.sign(age_days=1, days=90)
    fleet.certificate.write_bytes(first.public_bytes(Encoding.PEM))
    key = load_pem_private_key((fleet.config.parent / "state/identity.key").read_bytes(), None)
    stranger = make_authority("Slotcast devices", CLIENT, days=9, now=at(0))
    assert isinstance(key, Ed25519PrivateKey)
    false = issue_client(stranger, DEVICE, "urn:x", key.public_key(), days=9, now=at(0))
    brought = tmp_path / "false.pem"
    brought.write_bytes(false.public_bytes(Encoding.PEM))
    with running(fleet) as agent:
        wait_until(lambda: shows(agent, serial_of(first)), "let in by the first")
        assert fleet.run("certificate", "install", brought) == 0
        wait_until(lambda: "certificate verify failed" in fleet.broker.log(), "it is refused")
        wait_until(lambda: shows(agent, serial_of(first)), "let in by the first again")
        assert fleet.installed() == ["new.pem"]


def test_after_a_theft_of_the_renewals_key_devices_come_in_by_what_they_had_first(
    fleet: Fleet,
) -> None:
    first = fleet.sign(age_days=80, days=90)
    fleet.certificate.write_bytes(first.public_bytes(Encoding.PEM))
    with heard(fleet.broker.repo.path) as served, running(fleet) as agent:
        served.wait_for("certificate_answered", device=DEVICE, reason="ok")
        wait_until(
            lambda: agent.shell.connection.is_up and not shows(agent, serial_of(first)),
            "let in by what was renewed",
        )
    fleet.desk.allow_renewals(replace=True)
    fleet.broker.reload()
    with running(fleet) as agent:
        wait_until(lambda: shows(agent, serial_of(first)), "let in by what was signed by hand")
