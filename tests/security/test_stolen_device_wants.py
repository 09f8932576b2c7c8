"""A stolen device that asks for everything, at a real Mosquitto with the rules that we ship.

What it tries: to have payloads sent again without end, to take the turns of an honest device by
asking more, by invented names and by that device's own name, to fill the broker with wants that it
has kept, and to put false chunks where others look for true ones.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from slotcast_device.core.transfer.transfer import Transfer
from slotcast_device.core.waits import Waits
from slotcast_publisher import settings as settings_file
from slotcast_publisher.serve.wants import WantBounds
from slotcast_publisher.serve_settings import ServeSettings
from slotcast_schemas import wire
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.want import WantedBlock
from slotcast_schemas.states import State
from slotcast_schemas.topics import DEFAULT_PREFIX
from tests.support import mqtt_client
from tests.support.brokers import Broker, mosquitto
from tests.support.certificates import Certificates, Identity
from tests.support.engine import REPOSITORY
from tests.support.fleet import CHUNK_BYTES, Publisher, model_bytes
from tests.support.fleet_fixtures import payload_of
from tests.support.serving import Served, serving
from tests.support.waiting import WAIT_S, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("quick_probes"),
]

MODEL_BYTES: Final = 200_000
OLD_TOPIC: Final = "pattern write slotcast/v1/payloads/+/want"
_BETWEEN_S: Final = 0.01
"""A thief's wants would be worth a hundred times its budget all the same."""
FAILURE: Final = 0x80
"""The least reason code of a PUBACK that says no."""


@pytest.fixture
def guarded() -> Iterator[Broker]:
    """A broker of the test's own: what a thief leaves there is nobody else's matter."""
    with mosquitto("production") as running:
        yield running


@pytest.fixture
def publisher(guarded: Broker, tmp_path: Path) -> Publisher:
    """A repository with one release, signed and offered; none of its chunks is at the broker."""
    known = certificates_of(guarded)
    there = known.publisher_settings(guarded.publisher_url)
    budgets = ServeSettings(device_day_payloads=3, claimed_day_payloads=5, day_min_bytes=0)
    chosen = settings_file.Settings(chunk_size_bytes=CHUNK_BYTES, serve=budgets)
    made = Publisher.make(tmp_path / "repo", prefix=DEFAULT_PREFIX, settings=chosen)
    settings_file.save(made.path, msgspec.structs.replace(made.repo.settings, brokers=(there,)))
    known.give_devices_authority(made.path)
    again = Publisher(made.path)
    again.release("clf", "1", {"model.onnx": model_bytes(os.getpid(), MODEL_BYTES)})
    again.repo.offer("clf", "1")
    return again


def certificates_of(broker: Broker) -> Certificates:
    assert broker.certificates is not None
    return broker.certificates


def want(payload: Payload, device: str) -> bytes:
    """Ask for all of a payload, and its map."""
    blocks = tuple(WantedBlock(block=b, missing=0xFF) for b in range(payload.block_count))
    return wire.encode(Want(device=device, payload=payload.sha256, map_parts=(0,), blocks=blocks))


class Client:
    """An MQTT client with a certificate; each publish waits for the broker's word."""

    def __init__(self, broker: Broker, identity: Identity, port: int) -> None:
        self.kept: list[str] = []
        self.chunks: dict[str, bytes] = {}
        self._codes: dict[int, int] = {}
        self._is_up = threading.Event()
        self._looked = threading.Event()
        self._mqtt = mqtt_client.Client(
            CallbackAPIVersion.VERSION2, f"test-{uuid.uuid4().hex}", protocol=paho.MQTTv5
        )
        self._mqtt.tls_set_context(certificates_of(broker).context(identity))
        self._mqtt.on_connect = lambda *_: self._is_up.set()
        self._mqtt.on_publish = self._answered
        self._mqtt.on_message = self._came
        self._mqtt.connect(broker.host, port)
        self._mqtt.loop_start()
        assert self._is_up.wait(WAIT_S)

    def _answered(
        self, client: paho.Client, userdata: object, mid: int, code: ReasonCode, more: object
    ) -> None:
        self._codes[mid] = code.value

    def _came(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        if message.retain:
            self.kept.append(message.topic)
            self.chunks[message.topic] = bytes(message.payload)
        elif message.topic == "slotcast/v1/looked":
            self._looked.set()

    def publish(self, topic: str, data: bytes, *, retain: bool = False) -> bool:
        """Publish; says whether the broker took it."""
        sent = self._mqtt.publish(topic, data, qos=1, retain=retain)
        sent.wait_for_publish(WAIT_S)
        wait_until(lambda: sent.mid in self._codes, "the broker answered")
        return self._codes[sent.mid] < FAILURE

    def look(self, *filters: str) -> list[str]:
        """Give the topics of all that the broker keeps below filters; of a publisher."""
        self.kept.clear()
        self._looked.clear()
        self._mqtt.subscribe([(name, 1) for name in (*filters, "slotcast/v1/looked")])
        self.publish("slotcast/v1/looked", b"x")
        assert self._looked.wait(WAIT_S)
        self._mqtt.unsubscribe(list(filters))
        return list(self.kept)

    def close(self) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()


@contextlib.contextmanager
def connected(broker: Broker, name: str | None = None) -> Iterator[Client]:
    """Connect a device by its name, or the publisher."""
    known = certificates_of(broker)
    identity = known.publisher() if name is None else known.device(name)
    client = Client(broker, identity, broker.publisher_port if name is None else broker.port)
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def without_end(work: Callable[[int], None]) -> Iterator[None]:
    """Do something again and again in a thread, for the length of the block."""
    stop = threading.Event()

    def run() -> None:
        number = 0
        while not stop.wait(_BETWEEN_S):
            work(number)
            number += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_thief_starves_no_honest_device_and_costs_no_more_than_its_budget(
    publisher: Publisher, guarded: Broker, tmp_path: Path
) -> None:
    publisher.waits = Waits(first_wait_s=0.5)  # until it learns that chunks come for wants
    payload = payload_of(publisher)
    topics, all_of_it = publisher.topics, payload.size_bytes
    honest = publisher.provision("honest", tmp_path / "honest", guarded.url)
    tries: list[Callable[[int], tuple[str, str]]] = [
        lambda n: (topics.device("thief", "want"), "thief"),
        lambda n: (topics.device("thief", "want"), "honest"),
        lambda n: (topics.device("honest", "want"), "honest"),
        lambda n: (topics.want(payload.sha256), f"invented-{n}"),
        lambda n: (topics.want(payload.sha256), "honest"),
    ]
    with (
        connected(guarded, "thief") as thief,
        serving(publisher.path, bounds=WantBounds(rate_bytes_per_s=400_000, again_s=0.1)) as served,
    ):
        served.wait_for("announced", model="clf")

        def steal(number: int) -> None:
            topic, device = tries[number % len(tries)](number)
            is_taken = thief.publish(topic, want(payload, device))
            assert is_taken or topic == topics.device("honest", "want")

        with without_end(steal):
            assert honest.run_once().state is State.COMMITTED
            served.wait_for("over_budget", device="thief")
            no_device = [line for line in served.of("over_budget") if "device" not in line]
        count = served.of("answered")[-1]
    assert count["sent_bytes"] <= (3 + 3 + 5) * all_of_it * 1.05 + 64 * 1024
    assert count["refused_wants"] > 0  # below the thief's name, in another's
    assert len(no_device) <= 1
    assert not [line for line in served.of("over_budget") if line.get("device") == "honest"]


def test_a_thief_cannot_fill_the_broker_with_wants_that_it_keeps(
    publisher: Publisher, guarded: Broker
) -> None:
    topics = publisher.topics
    data = want(payload_of(publisher), "thief")
    places = [topics.want(os.urandom(32)) for _ in range(40)]
    places += [f"{topics.prefix}/payloads/anything-{n}/want" for n in range(10)]
    places += [topics.device("thief", "want")]
    filters = (topics.wants(), topics.device_wants())
    with connected(guarded, "thief") as thief, connected(guarded) as owner:
        with serving(publisher.path) as served:
            served.wait_for("announced", model="clf")
            for topic in places:  # while `serve` listens, which a broker does not show by itself
                assert thief.publish(topic, data, retain=True)
            wait_until(lambda: owner.look(*filters) == [], "the broker is clear of them")
        assert thief.publish(places[0], data, retain=True)
        assert owner.look(*filters) == [places[0]]
        with serving(publisher.path) as served:  # what came while nobody listened
            wait_until(lambda: owner.look(*filters) == [], "the broker is clear of it")
        assert not any(line.get("sent") for line in served.of("answered"))


def test_where_the_old_topic_is_closed_there_is_one_place_for_a_thief_to_write_to(
    tmp_path: Path,
) -> None:
    rules = (REPOSITORY / "mosquitto" / "acl").read_text()
    assert OLD_TOPIC in rules
    closed = rules.replace(OLD_TOPIC, "").encode()
    with (
        mosquitto("production", extra_files={"config/acl": closed}) as broker,
        connected(broker, "thief") as thief,
    ):
        assert not thief.publish("slotcast/v1/payloads/anything/want", b"x", retain=True)
        assert not thief.publish(f"slotcast/v1/payloads/{bytes(32).hex()}/want", b"x")
        assert not thief.publish("slotcast/v1/devices/honest/want", b"x")
        assert thief.publish("slotcast/v1/devices/thief/want", b"x")


def test_a_device_of_before_and_a_newer_one_are_served_by_the_same_service(
    publisher: Publisher, guarded: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer one asks below its name; one that passes over the word in the offer, as before.

    The waits are those of devices: one that is not answered in time asks the other way, too.
    """
    newer = publisher.provision("newer", tmp_path / "newer", guarded.url)
    before = publisher.provision("before", tmp_path / "before", guarded.url)
    with serving(publisher.path) as served:
        assert newer.run_once().state is State.COMMITTED
        assert claimed(served) == 0
        forget(publisher, guarded)
        with monkeypatch.context() as patch:
            patch.setattr(Transfer, "__post_init__", _as_before(Transfer.__post_init__))
            assert before.run_once().state is State.COMMITTED
        assert claimed(served) > 0


def _as_before(made: Callable[[Transfer], None]) -> Callable[[Transfer], None]:
    def make(transfer: Transfer) -> None:
        transfer.asks_by_name = False
        made(transfer)

    return make


def claimed(served: Served) -> int:
    """Count the wants that came on the payload's topic."""
    return max((line["claimed_wants"] for line in served.of("answered")), default=0)


def forget(publisher: Publisher, broker: Broker) -> None:
    """Let the broker lose the chunks that it was sent."""
    payload = payload_of(publisher)
    with connected(broker) as owner:
        for topic in owner.look(publisher.topics.everything(payload.sha256)):
            owner.publish(topic, b"", retain=True)


def test_false_chunks_at_the_broker_are_found_and_replaced_and_missing_ones_left(
    publisher: Publisher, guarded: Broker
) -> None:
    """Nobody asks for them: `serve` looks by itself."""
    publisher.publish("clf", "1")
    payload = payload_of(publisher)
    topics = publisher.topics
    everything = topics.everything(payload.sha256)
    lied = [topics.chunk(payload.sha256, 0), topics.chunk(payload.sha256, 9)]
    lied.append(topics.map_part(payload.sha256, 0))
    gone = topics.chunk(payload.sha256, 3)
    with connected(guarded) as owner:
        owner.look(everything)
        true = dict(owner.chunks)
        for topic in lied:
            owner.publish(topic, b"false", retain=True)
        owner.publish(gone, b"", retain=True)
        known = publisher.repo.settings
        often = msgspec.structs.replace(known.serve, recheck_days=0.5 / 86_400)
        settings_file.save(publisher.path, msgspec.structs.replace(known, serve=often))
        with serving(publisher.path) as served:
            line = served.wait_for("replaced_false", model="clf")
        owner.chunks.clear()
        owner.look(everything)
    assert line["messages"] == len(lied)
    assert owner.chunks == {topic: data for topic, data in true.items() if topic != gone}
    assert len(served.of("replaced_false")) == 1
