"""Encrypted releases over a real broker: who gets them, and who has them on the line or on disk."""

from __future__ import annotations

import queue
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from slotcast_publisher.delivery import publish as publishing
from slotcast_publisher.release.delta_payloads import all_builders
from slotcast_schemas.content_key import KEYS_CODEC
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State
from slotcast_schemas.topics import ChunkTopic, MapTopic, Topics
from tests.support import models, recipients
from tests.support.brokers import Broker, mosquitto
from tests.support.fleet import Device, Observer, Publisher
from tests.support.proxy import Plan, Proxy
from tests.support.recorder import Recorder, recording, shares_64_bytes
from tests.support.waiting import WAIT_S

pytest.importorskip("cryptography.hazmat.primitives.hpke")
pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
MOST_BYTES = 100_000
"""Less than any release here has, and more than what goes with one."""
LABELS = random.Random(1).randbytes(40_000)


def files(number: int) -> dict[str, bytes]:
    """Give the files of a release, one of which stays."""
    model = models.classifier(1, hidden=1024, drift=0.001 * number)
    return {"model.onnx": model, "labels/names.bin": LABELS}


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path) -> Device:
    """A device that is enrolled, and a recipient of nothing."""
    made = publisher.provision("cam-1", tmp_path / "cam-1", models=["multi"])
    recipients.enrol(publisher, made)
    return made


def test_a_recipient_installs_it_whole_then_by_a_delta_and_then_in_the_clear_again(
    publisher: Publisher, device: Device
) -> None:
    recipients.add(publisher, device, model="multi")
    for version, encrypt in (("1", True), ("2", True), ("3", False), ("4", True)):
        release = publisher.release(
            "multi", version, files(int(version)), encrypt=encrypt, builders=all_builders()
        )
        assert (release.encryption is not None) is encrypt
        publisher.publish("multi", version)
        assert device.run_once().state is State.COMMITTED
        assert device.current("multi").read_bytes() == files(int(version))["model.onnx"]
        assert device.current("multi", "labels/names.bin").read_bytes() == LABELS
        assert not (device.folder("multi") / "content.key").exists()


def test_a_device_that_is_no_recipient_keeps_its_model_and_takes_the_release_once_it_is_one(
    publisher: Publisher, broker: Broker, device: Device, tmp_path: Path
) -> None:
    other = publisher.provision("cam-2", tmp_path / "cam-2", models=["multi"])
    recipients.enrol(publisher, other)
    publisher.release("multi", "1", files(1))
    publisher.publish("multi", "1")
    assert device.run_once().state is State.COMMITTED
    recipients.add(publisher, other, model="multi")
    publisher.release("multi", "2", files(2), encrypt=True)
    publisher.publish("multi", "2")
    with (
        Observer(broker.url, publisher.topics, "cam-1") as observer,
        device.running(),
    ):
        refused = observer.wait_for_reason("multi", Reason.NO_CONTENT_KEY)
        assert refused.active is not None
        assert refused.active.version == "1"
        assert not refused.benched
        recipients.add(publisher, device, model="multi")
        publisher.publish("multi", "2")
        observer.wait_for_state("multi", State.COMMITTED, "2")
    assert device.current("multi").read_bytes() == files(2)["model.onnx"]


def test_a_device_that_was_taken_out_gets_no_later_release(
    publisher: Publisher, device: Device, tmp_path: Path
) -> None:
    other = publisher.provision("cam-2", tmp_path / "cam-2", models=["multi"])
    recipients.enrol(publisher, other)
    recipients.add(publisher, device, model="multi", group="outside")
    recipients.add(publisher, other, model="multi")
    publisher.release("multi", "1", files(1), encrypt=True)
    publisher.publish("multi", "1")
    assert device.run_once().state is State.COMMITTED
    recipients.remove(publisher, model="multi", group="outside")
    publisher.release("multi", "2", files(2), encrypt=True)
    publisher.publish("multi", "2")
    assert device.run_once().reason == Reason.NO_CONTENT_KEY
    assert device.current("multi").read_bytes() == files(1)["model.onnx"]
    assert other.run_once().state is State.COMMITTED
    assert other.current("multi").read_bytes() == files(2)["model.onnx"]


def test_a_transfer_that_is_cut_and_an_agent_that_is_killed_go_on_with_what_is_there(
    publisher: Publisher, broker: Broker, device: Device
) -> None:
    recipients.add(publisher, device, model="multi")
    release = publisher.release("multi", "1", files(1), encrypt=True)
    publisher.publish("multi", "1")
    with Proxy((broker.host, broker.port), Plan(stall_at_bytes=60_000)) as proxy:
        device.change(broker.url, f"mqtt://127.0.0.1:{proxy.port}")
        process = device.spawn()
        device.wait_for_received(40_000, "multi")
        process.kill()
        proxy.resume()
        assert (device.folder("multi") / "content.key").exists()
        before = proxy.counters.down_bytes
        with (
            Observer(broker.url, publisher.topics, "cam-1") as observer,
            device.running(),
        ):
            observer.wait_for_state("multi", State.COMMITTED, "1")
        fetched = proxy.counters.down_bytes - before
    assert device.current("multi").read_bytes() == files(1)["model.onnx"]
    assert fetched < release.image_size_bytes


def test_a_list_of_keys_that_was_replaced_is_taken_off_the_broker(
    publisher: Publisher, broker: Broker, device: Device, tmp_path: Path
) -> None:
    def lists() -> set[bytes]:
        folder = publisher.repo.store.folder("multi", "1")
        made = [record.payload for record in folder.payloads()]
        kept = retained(broker, publisher.topics)
        return kept - {each.sha256 for each in made if each.codec != KEYS_CODEC}

    other = publisher.provision("cam-2", tmp_path / "cam-2", models=["multi"])
    recipients.enrol(publisher, other)
    recipients.add(publisher, device, model="multi")
    publisher.release("multi", "1", files(1), encrypt=True)
    publisher.publish("multi", "1")
    (before,) = lists()
    recipients.add(publisher, other, model="multi")
    publishing.publish(publisher.repo, "multi", "1", how=publishing.How(purge=True)).all_done()
    (after,) = lists()
    assert after != before
    assert other.run_once().state is State.COMMITTED


def retained(broker: Broker, topics: Topics) -> set[bytes]:
    """Name the payloads of which a broker keeps anything."""
    client = Client(CallbackAPIVersion.VERSION2)
    came = queue.SimpleQueue[str]()
    client.on_message = lambda _client, _data, message: came.put(message.topic)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.subscribe(f"{topics.prefix}/#", qos=1)
    # What is retained comes in order, and before what is published after the subscription.
    client.publish(f"{topics.prefix}/end", b"end", qos=1)
    found = set()
    while (topic := came.get(timeout=WAIT_S)) != f"{topics.prefix}/end":
        named = topics.parse(topic)
        if isinstance(named, ChunkTopic | MapTopic):
            found.add(named.payload)
    client.disconnect()
    client.loop_stop()
    return found


# --- on the line and in the broker's store --------------------------------------------------------


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[Broker, Recorder]]:
    """A broker that keeps what it has, and somebody on the line to it."""
    extra = ("autosave_interval 1", "autosave_on_changes true")
    with (
        mosquitto("development", is_persistent=True, extra=extra) as broker,
        recording((broker.host, broker.port)) as recorder,
    ):
        yield broker, recorder


@pytest.mark.parametrize("encrypt", [False, True], ids=["in the clear", "encrypted"])
def test_of_an_encrypted_release_no_64_bytes_are_on_the_line_or_in_the_brokers_store(
    line: tuple[Broker, Recorder], tmp_path: Path, encrypt: bool
) -> None:
    broker, recorder = line
    publisher = Publisher.make(tmp_path / "repo", f"mqtt://127.0.0.1:{recorder.port}")
    device = publisher.provision("cam-1", tmp_path / "cam-1", models=["multi"])
    recipients.enrol(publisher, device)
    recipients.add(publisher, device, model="multi")
    for version in ("1", "2"):
        publisher.release(
            "multi", version, files(int(version)), encrypt=encrypt, builders=all_builders()
        )
        publisher.publish("multi", version)
        assert device.run_once().state is State.COMMITTED
    broker.stop()
    dumps = [*recorder.streams(), broker.stored()]
    assert sum(map(len, dumps)) > MOST_BYTES
    secrets = [*files(1).values(), *files(2).values(), *plain_payloads(tmp_path)]
    assert shares_64_bytes(secrets, dumps) is not encrypt


def test_over_mutual_tls_too_a_device_reads_it_and_the_broker_does_not(tmp_path: Path) -> None:
    with mosquitto("production") as broker:
        certificates = broker.certificates
        assert certificates is not None
        address = certificates.publisher_settings(broker.publisher_url)
        publisher = Publisher.make(tmp_path / "repo", prefix=Topics().prefix)
        publisher = publisher.copy(tmp_path / "copy", address, prefix=Topics().prefix)
        certificates.give_devices_authority(publisher.path)
        device = publisher.provision("cam-1", tmp_path / "cam-1", broker.url, models=["multi"])
        recipients.enrol(publisher, device)
        recipients.add(publisher, device, model="multi")
        for version in ("1", "2"):
            publisher.release(
                "multi", version, files(int(version)), encrypt=True, builders=all_builders()
            )
            publisher.publish("multi", version)
            assert device.run_once().state is State.COMMITTED
        broker.stop()
        stored = broker.stored()
    assert device.current("multi").read_bytes() == files(2)["model.onnx"]
    assert len(stored) > MOST_BYTES
    secrets = [*files(1).values(), *files(2).values(), *plain_payloads(tmp_path)]
    assert not shares_64_bytes(secrets, [stored])


def plain_payloads(folder: Path) -> list[bytes]:
    """Give what payloads of the same files hold, from a repository that encrypts nothing."""
    publisher = Publisher.make(folder / "in the clear")
    for version in ("1", "2"):
        publisher.release("multi", version, files(int(version)), builders=all_builders())
    found = (publisher.path / "models/multi/releases").glob("*/payloads/*/payload.bin")
    return [path.read_bytes() for path in found]
