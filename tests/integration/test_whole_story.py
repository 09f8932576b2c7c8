"""The story of the demo where nobody is believed: mutual TLS, sealed payloads, signed reports.

From an empty folder on: authorities, a broker on their files (in the container that `slotcast
certificates broker` makes, where an engine runs), two devices by their requests, four releases over
a link that is cut and an agent that is killed, a bad one, a device that is taken out, a certificate
that is revoked. At the end somebody looks for the models in all that the broker had in hand.
"""

from __future__ import annotations

import dataclasses
import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pytest

from slotcast_publisher import settings as settings_file
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.release.delta_payloads import all_builders
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve_settings import ServeSettings
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State
from tests.support import models, recipients
from tests.support.certified_broker import HOST, CertifiedBroker, shipped_broker
from tests.support.fleet import CHUNK_BYTES, Device, Observer, Publisher
from tests.support.ports import free_ports
from tests.support.proxy import Plan, Proxy
from tests.support.recipients import slotcast
from tests.support.recorder import Overheard, overhearing, shares_64_bytes
from tests.support.waiting import wait_until
from tests.support.watching import Watched, watching

pytest.importorskip("cryptography.hazmat.primitives.hpke")
pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
MODEL: Final = "clf"
OPEN: Final = "open"
"""A model with the same files, whose releases are in the clear."""
MOST_BYTES: Final = 100_000
"""Less than what goes to devices of any release."""
LABELS: Final = random.Random(1).randbytes(40_000)
SLOW: Final = Plan(down_bits_per_s=400_000)


def files(version: str) -> dict[str, bytes]:
    """Give the files of a good release; one stays, and the other differs in all of its weights."""
    model = models.classifier(hidden=1024, drift=0.001 * float(version))
    return {"model.onnx": model, "labels/names.bin": LABELS}


@dataclass
class Story:
    """A publisher, its broker, who looks on, and two devices that were let in."""

    publisher: Publisher
    broker: CertifiedBroker
    watched: Watched
    overheard: Overheard
    first: Device
    second: Device

    def release(self, version: str, *, model: str = MODEL) -> None:
        """Release for the recipients, or for all who listen, and offer it."""
        self.publisher.release(
            model, version, files(version), encrypt=model == MODEL, builders=all_builders()
        )
        self.publisher.publish(model, version)

    def payloads(self, version: str, codec: str, *, model: str = MODEL) -> dict[bytes, Path]:
        """Give the files of a release's payloads whose codec begins so, by their digests."""
        folder = self.publisher.repo.store.folder(model, version)
        made = [one.payload for one in folder.payloads()]
        return {
            each.plain_sha256 or each.sha256: folder.payload_file(each)
            for each in made
            if each.codec.startswith(codec)
        }

    def observer(self) -> Observer:
        """Give somebody who reads what the first device says."""
        url, tls = as_publisher(self.broker)
        return Observer(url, self.publisher.topics, "cam-1", tls=tls)

    def lets_in(self, device: Device) -> bool:
        """Say whether the broker lets a device in by its certificate."""
        folder = device.config_path.parent
        port = self.broker.devices_port
        return self.broker.lets_in(port, folder / "device.pem", folder / "state/identity.key")

    def wait_until_fleet_has(self, device: str, version: str, reason: str) -> None:
        """Wait until a device has told the fleet, by its signature, what serves and why."""

        def is_told() -> bool:
            return any(
                (row["device"], row["active_version"], row["reason"]) == (device, version, reason)
                for row in self.watched.rows(tables.device_models)
            )

        wait_until(is_told, f"{device} says {version}, {reason}")
        (row,) = (row for row in self.watched.rows(tables.devices) if row["id"] == device)
        assert (row["signed"], row["refused_count"], row["twins_why"]) == ("yes", 0, "")


def as_publisher(broker: CertifiedBroker) -> tuple[str, ssl.SSLContext]:
    """Give where publishers connect, and with what."""
    files_of_publisher = broker.desk.publisher("publisher")
    return f"mqtts://{HOST}:{broker.publishers_port}", broker.context(*files_of_publisher)


def all_topics(broker: CertifiedBroker, prefix: str) -> tuple[str, str, ssl.SSLContext]:
    """Give what it takes to overhear all that the broker has in hand."""
    url, tls = as_publisher(broker)
    return url, f"{prefix}/#", tls


def make_repository(path: Path, ports: tuple[int, ...]) -> Publisher:
    """Make a repository with its authorities, whose fleet believes signed reports alone."""
    own = "certificates/publishers/publisher"
    slotcast(
        "init", path, "--broker", f"mqtts://{HOST}:{ports[1]}", "--no-passphrase",
        "--ca", "certificates/brokers-ca.pem", "--certificate", f"{own}.pem", "--key", f"{own}.key",
        "--chunk-size", CHUNK_BYTES,
    )  # fmt: skip
    slotcast("certificates", "init", path, "--host", HOST)
    slotcast("certificates", "publisher", path)
    settings = Repository(path).settings
    only_signed = ServeSettings(reports="signed")
    settings_file.save(path, msgspec.structs.replace(settings, serve=only_signed))
    return Publisher(path)


def let_in(publisher: Publisher, name: str, folder: Path, port: int) -> Device:
    """Make a device: it asks by its own key, and is enrolled, certified and a recipient."""
    device = publisher.provision(name, folder, f"mqtts://{HOST}:{port}", models=[MODEL])
    (folder / "device.key").unlink()
    recipients.enrol(publisher, device)
    slotcast(
        "certificates", "sign", publisher.path, folder / "enrolment.json", "--replace",
        "--out", folder / "device.pem",
    )  # fmt: skip
    device.change("device.key", "state/identity.key")
    recipients.add(publisher, device, model=MODEL)
    return device


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    ports = free_ports(2)
    publisher = make_repository(tmp_path / "repo", ports)
    first, second = (
        let_in(publisher, name, tmp_path / name, ports[0]) for name in ("cam-1", "cam-2")
    )
    with shipped_broker(publisher.repo, ports) as broker:
        everything = all_topics(broker, publisher.topics.prefix)
        with overhearing(*everything) as overheard, watching(publisher.path) as watched:
            yield Story(publisher, broker, watched, overheard, first, second)


def test_the_story_over_mutual_tls_with_sealed_payloads_and_signed_reports(story: Story) -> None:
    both_get_the_first_release(story)
    the_second_comes_as_a_delta_through_a_cut_and_a_kill(story)
    a_bad_release_does_not_stay(story)
    who_was_taken_out_gets_no_third_and_who_is_revoked_is_refused(story)
    nobody_found_a_model_at_the_broker_until_one_is_sent_in_the_clear(story)


def both_get_the_first_release(story: Story) -> None:
    story.release("1.0")
    for device in (story.first, story.second):
        assert device.run_once().state is State.COMMITTED
        assert device.current().read_bytes() == files("1.0")["model.onnx"]
    for name in ("cam-1", "cam-2"):
        story.wait_until_fleet_has(name, "1.0", Reason.COMMITTED)


def the_second_comes_as_a_delta_through_a_cut_and_a_kill(story: Story) -> None:
    story.release("2.0")
    sizes = [path.stat().st_size for path in story.payloads("2.0", "encrypted+delta+").values()]
    device, port = story.first, str(story.broker.devices_port)
    with story.observer() as observer:
        plan = dataclasses.replace(SLOW, stall_at_bytes=min(sizes) * 2 // 3)
        with Proxy((HOST, story.broker.devices_port), plan) as proxy:
            device.change(port, str(proxy.port))
            process = device.spawn()
            proxy.wait_for(lambda c: c.down_bytes > min(sizes) // 3)
            proxy.sever()
            proxy.wait_for(lambda c: c.down_bytes >= min(sizes) * 2 // 3)
            device.wait_for_received(2 * CHUNK_BYTES, MODEL)
            process.kill()
            device.change(str(proxy.port), port)
        assert observer.of(MODEL)[-1].state is State.DOWNLOADING
        observer.forget()
        with device.running():
            resumed = observer.wait_for(MODEL, is_all_there).progress
            observer.wait_for_state(MODEL, State.COMMITTED, "2.0")
    assert resumed is not None
    assert resumed.codec.startswith("encrypted+delta+")
    assert resumed.size_bytes in sizes
    assert resumed.reused_bytes > CHUNK_BYTES, "it goes on with what was there"
    assert resumed.reused_bytes + resumed.received_bytes <= resumed.size_bytes
    assert story.second.run_once().state is State.COMMITTED
    for name, each in (("cam-1", story.first), ("cam-2", story.second)):
        assert each.current().read_bytes() == files("2.0")["model.onnx"]
        story.wait_until_fleet_has(name, "2.0", Reason.COMMITTED)


def is_all_there(status: ModelStatus) -> bool:
    """Whether a status says that all of a payload has come."""
    progress = status.progress
    return progress is not None and progress.verified_bytes == progress.size_bytes


def a_bad_release_does_not_stay(story: Story) -> None:
    bad = {**files("2.0"), "model.onnx": models.not_a_number()}
    story.publisher.release(MODEL, "2.1", bad, encrypt=True)
    story.publisher.publish(MODEL, "2.1")
    status = story.first.run_once()
    assert (status.state, status.reason) == (State.FAILED, Reason.NONFINITE_OUTPUT)
    assert [each.version for each in status.benched] == ["2.1"]
    assert story.first.current().read_bytes() == files("2.0")["model.onnx"]
    story.wait_until_fleet_has("cam-1", "2.0", Reason.NONFINITE_OUTPUT)


def who_was_taken_out_gets_no_third_and_who_is_revoked_is_refused(story: Story) -> None:
    recipients.remove(story.publisher, story.second, model=MODEL)
    story.release("3.0")
    assert story.first.run_once().state is State.COMMITTED
    assert story.first.current().read_bytes() == files("3.0")["model.onnx"]
    assert story.second.run_once().reason == Reason.NO_CONTENT_KEY
    assert story.second.current().read_bytes() == files("2.0")["model.onnx"]
    story.wait_until_fleet_has("cam-1", "3.0", Reason.COMMITTED)
    story.wait_until_fleet_has("cam-2", "2.0", Reason.NO_CONTENT_KEY)

    assert story.lets_in(story.second)
    slotcast("certificates", "revoke", story.publisher.path, "cam-2")
    story.broker.reload()
    assert not story.lets_in(story.second)
    assert story.lets_in(story.first)


def nobody_found_a_model_at_the_broker_until_one_is_sent_in_the_clear(story: Story) -> None:
    prefix = story.publisher.topics.prefix
    sealed = [b"".join(story.overheard.until_now(f"{prefix}/until-now"))]
    story.broker.stop()
    sealed.append(story.broker.stored())
    story.broker.start()

    with overhearing(*all_topics(story.broker, prefix)) as overheard:
        for version in ("1.0", "2.0"):
            story.release(version, model=OPEN)
        in_the_clear = [b"".join(overheard.until_now(f"{prefix}/until-now"))]
    story.broker.stop()
    in_the_clear.append(story.broker.stored())

    secrets = [data for version in ("1.0", "2.0", "3.0") for data in files(version).values()]
    for version, codec in (("1.0", "full+"), ("2.0", "delta+")):
        plain = story.payloads(version, codec, model=OPEN)
        assert plain.keys() == story.payloads(version, f"encrypted+{codec}").keys()
        secrets += [path.read_bytes() for path in plain.values()]
    assert min(map(len, sealed)) > MOST_BYTES
    assert not shares_64_bytes(secrets, sealed)
    assert all(shares_64_bytes(secrets, [dump]) for dump in in_the_clear)
