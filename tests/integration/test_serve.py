"""`slotcast serve` at a real Mosquitto: wants, lost notices, renewed signatures, hostile askers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from slotcast_device.core.waits import Waits
from slotcast_publisher import settings as settings_file
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.serve import session
from slotcast_publisher.serve.wants import Answers, WantBounds
from slotcast_schemas import wire
from slotcast_schemas.errors import BrokerRefused
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.want import WantedBlock
from slotcast_schemas.states import State
from tests.support.brokers import Broker, mosquitto
from tests.support.fleet import Observer, Publisher, answers, model_bytes
from tests.support.serving import serving
from tests.support.waiting import WAIT_S, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

ALL = 0xFF
COLOURFUL = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {
    "TERM": "xterm"
}
"""The environment of a terminal that shows colours."""


class Crowd:
    """One MQTT client that speaks for many devices, and counts what comes on chunk topics."""

    def __init__(self, broker: Broker, publisher: Publisher) -> None:
        self.topics = publisher.topics
        self.seen: Counter[str] = Counter()
        self._changed = threading.Condition()
        self.ready = threading.Event()
        self.mqtt = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.mqtt.on_connect = lambda c, *_: c.subscribe(
            f"{publisher.topics.prefix}/payloads/+/+/+", 1
        )
        self.mqtt.on_subscribe = lambda *_: self.ready.set()
        self.mqtt.on_message = self._count
        self.mqtt.connect(broker.host, broker.port)

    def _count(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        if not message.retain:
            with self._changed:
                self.seen[message.topic] += 1
                self._changed.notify_all()

    def wait_until_seen(self, count: int) -> None:
        """Wait until so many chunks came: the service's log may be ahead of the broker."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.seen.total() >= count, WAIT_S), self.seen

    def wants(self, payload: Payload, block: int, devices: int = 1) -> None:
        """Ask for a whole block in the name of so many devices."""
        for number in range(devices):
            want = Want(
                device=f"cam-{number}",
                payload=payload.sha256,
                blocks=(WantedBlock(block=block, missing=ALL),),
            )
            self.mqtt.publish(self.topics.want(payload.sha256), wire.encode(want), qos=1)


@contextmanager
def crowd(broker: Broker, publisher: Publisher) -> Iterator[Crowd]:
    found = Crowd(broker, publisher)
    found.mqtt.loop_start()
    assert found.ready.wait(WAIT_S)
    yield found
    found.mqtt.disconnect()
    found.mqtt.loop_stop()


@pytest.fixture
def payload(publisher: Publisher) -> Payload:
    """What `clf` 1 is offered as; nothing of it is on the broker, and its notice neither."""
    publisher.repo.offer("clf", "1")
    offer = publisher.repo.present_offer("clf")
    assert offer is not None
    return offer.payloads[0]


def test_a_thousand_devices_that_miss_one_block_cause_one_republish(
    publisher: Publisher, payload: Payload, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a machine takes to say it all: the window ends when all of it was heard."""
    ahead_s, heard, want = [0.0], [0], Answers.want

    def count(answers: Answers, *given: Any, **more: Any) -> int:
        heard[0] += 1
        return want(answers, *given, **more)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_s[0])
    monkeypatch.setattr(session, "time", clock)
    monkeypatch.setattr(Answers, "want", count)
    bounds = WantBounds(window_s=(WAIT_S, WAIT_S))
    with crowd(broker, publisher) as many, serving(publisher.path, bounds=bounds) as served:
        served.wait_for("announced", model="clf")
        many.wants(payload, block=3, devices=1000)
        wait_until(lambda: heard[0] == 1000, "all wants are heard")
        ahead_s[0] = WAIT_S
        line = served.wait_for("answered", asked=8000, waiting=0)
        many.wait_until_seen(8)
    assert line["sent"] == 8
    assert line["shared"] == 7992
    assert many.seen == {publisher.topics.chunk(payload.sha256, n): 1 for n in range(24, 32)}


def test_an_answer_stays_at_the_broker_for_those_who_come_later(
    publisher: Publisher, payload: Payload, broker: Broker
) -> None:
    with crowd(broker, publisher) as many, serving(publisher.path) as served:
        served.wait_for("announced", model="clf")
        many.wants(payload, block=0)
        served.wait_for("answered", sent=8, waiting=0)
        many.wait_until_seen(8)  # what is sent is not yet at the broker
    kept: list[str] = []
    late = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    all_came = threading.Event()

    def came(client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        kept.append(message.topic)
        if len(kept) == 8:
            all_came.set()

    late.on_message = came
    late.on_connect = lambda c, *_: c.subscribe(publisher.topics.block(payload.sha256, 0), 1)
    late.connect(broker.host, broker.port)
    late.loop_start()
    assert all_came.wait(WAIT_S)
    late.disconnect()
    late.loop_stop()


def test_hostile_wants_are_refused_and_others_are_still_answered(
    publisher: Publisher, payload: Payload, broker: Broker
) -> None:
    topics = publisher.topics
    far = Want(device="x", payload=payload.sha256, blocks=(WantedBlock(block=131071, missing=ALL),))
    bad = [
        (topics.want(payload.sha256), b""),
        (topics.want(payload.sha256), b"\xff" * 1000),
        (topics.want(payload.sha256), bytes(100_000)),
        (topics.want(bytes(32)), wire.encode(far)),
        (topics.want(bytes(32)), wire.encode(Want(device="x", payload=bytes(32), map_parts=(0,)))),
    ]
    with crowd(broker, publisher) as many, serving(publisher.path) as served:
        served.wait_for("announced", model="clf")
        for topic, data in bad:
            many.mqtt.publish(topic, data, qos=1)
        many.mqtt.publish(topics.want(payload.sha256), wire.encode(far), qos=1)
        served.wait_for("answered", refused_wants=len(bad), refused=8)
        many.wants(payload, block=0)
        line = served.wait_for("answered", sent=8, waiting=0)
    assert line["sent"] == 8
    assert set(many.seen) == {topics.chunk(payload.sha256, n) for n in range(8)}


def test_signatures_are_renewed_before_they_expire_and_the_broker_gets_them(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    expiry = msgspec.structs.replace(publisher.repo.settings.expiry, timestamp_days=4 / 86_400)
    settings_file.save(
        publisher.path, msgspec.structs.replace(publisher.repo.settings, expiry=expiry)
    )
    Publisher(publisher.path).repo.refresh()
    with serving(publisher.path) as served:
        first = served.wait_for("renewed")
        served.wait_for("announced", model="clf")
        second = served.wait_for("renewed", count=2)
        served.wait_for("announced", count=2, model="clf")
        # Whatever the machine takes its time for, the next signature comes after that which ends.
        device = publisher.provision("cam-1", tmp_path / "cam-1")
        with Observer(broker.url, publisher.topics, "cam-1") as observer, device.running():
            observer.wait_for_state("clf", State.COMMITTED, "1")
    assert second["expires"] > first["expires"]


def test_a_release_published_beside_it_is_answered_for_too(
    publisher: Publisher, broker: Broker
) -> None:
    publisher.publish("clf", "1")
    with crowd(broker, publisher) as many, serving(publisher.path) as served:
        served.wait_for("connected")
        publisher.publish("clf", "2")
        served.wait_for("changed", models=["clf"])
        offer = publisher.repo.present_offer("clf")
        assert offer is not None
        many.wants(offer.payloads[0], block=1)
        assert served.wait_for("answered", waiting=0)["sent"] == 8


def serve_command(publisher: Publisher, *options: str) -> list[str]:
    return [sys.executable, "-m", "slotcast_publisher", "serve", str(publisher.path), *options]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_command_logs_json_lines_for_programs_and_ends_well_when_it_is_stopped(
    publisher: Publisher, options: tuple[str, ...]
) -> None:
    publisher.publish("clf", "1")
    process = subprocess.Popen(
        serve_command(publisher, *options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines: list[dict[str, object]] = []
    while not lines or lines[-1]["event"] != "connected":
        lines.append(json.loads(process.stdout.readline()))
    process.terminate()
    out, err = process.communicate(timeout=WAIT_S)
    lines += map(json.loads, out.splitlines())
    assert process.returncode == 0, err
    assert [lines[0]["event"], lines[-1]["event"]] == ["started", "stopped"]
    assert {tuple(line)[:3] for line in lines} == {("time", "level", "event")}


def test_the_command_logs_lines_for_people_on_a_terminal(publisher: Publisher) -> None:
    publisher.publish("clf", "1")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        serve_command(publisher), stdin=theirs, stdout=theirs, stderr=theirs, env=COLOURFUL
    ) as process:
        os.close(theirs)
        said = ""
        while "connected" not in said:
            said += os.read(ours, 4096).decode()
        process.terminate()
        with contextlib.suppress(OSError):  # how a terminal ends
            while True:
                said += os.read(ours, 4096).decode()
    os.close(ours)
    assert process.returncode == 0, said
    plain = re.sub(r"\x1b\[\d+m", "", said)
    assert plain != said
    assert re.search(r"\d\d:\d\d:\d\d info    started +models=clf brokers=1\r\n", plain), said


def test_a_reader_that_does_not_read_keeps_no_device_waiting(
    publisher: Publisher, payload: Payload, broker: Broker
) -> None:
    reading, writing = os.pipe()
    size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    assert os.write(writing, b"\n" * size) == size  # full before the first line
    with (
        crowd(broker, publisher) as many,
        subprocess.Popen(serve_command(publisher), stdout=writing) as process,
    ):
        os.close(writing)
        while not many.seen:  # until it runs, which nobody can read
            many.wants(payload, block=0)
            threading.Event().wait(0.5)
        many.wait_until_seen(8)
        process.terminate()
        assert process.wait(WAIT_S) == 0
    os.close(reading)


def test_a_line_names_the_model_and_the_rollout(publisher: Publisher, broker: Broker) -> None:
    publisher.repo.offer("clf", "1", OfferWanted(deployment="clf-1.0"))
    with serving(publisher.path) as served:
        line = served.wait_for("announced", model="clf", rollout="clf-1.0")
    assert line["broker"].endswith(f":{broker.port}")


def test_wants_that_somebody_has_kept_are_taken_off_and_not_answered(
    publisher: Publisher, broker: Broker
) -> None:
    """One device may write wants of any payload, retained: so many that a broker is full."""
    publisher.publish("clf", "1")
    payload = publisher.repo.offered_folder("clf").payloads()[0].payload
    block = WantedBlock(block=0, missing=ALL)
    want = wire.encode(Want(device="cam-1", payload=payload.sha256, blocks=(block,)))
    strange = [os.urandom(32) for _ in range(60)]
    with crowd(broker, publisher) as many:
        for digest in [payload.sha256, *strange]:
            topic = publisher.topics.want(digest)
            many.mqtt.publish(topic, want, qos=1, retain=True).wait_for_publish(WAIT_S)
        with serving(publisher.path) as served:
            served.wait_for("connected")
            wait_until(lambda: kept_wants(broker, publisher) == [], "the broker is clear of them")
            many.wants(payload, block=1)
            many.wait_until_seen(8)
        assert all("/1/" in topic for topic in many.seen), many.seen


def kept_wants(broker: Broker, publisher: Publisher) -> list[str]:
    """Give the topics of the wants that a broker keeps; a message sent later ends the look."""
    found: list[str] = []
    done = threading.Event()

    def came(client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        if message.retain:
            found.append(message.topic)
        elif message.payload == b"end":
            done.set()

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_message = came
    end = publisher.topics.want(bytes(32))
    client.on_subscribe = lambda c, _u, _m, _codes, _p: c.publish(end, b"end", 1)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.subscribe(publisher.topics.wants(), 1)
    assert done.wait(WAIT_S)
    client.disconnect()
    client.loop_stop()
    return found


# --- a broker that keeps nothing ----------------------------------------------------------------


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Broker]:
    """A Mosquitto that takes no retained message at all."""
    with mosquitto("development", extra=("retain_available false",)) as running:
        yield running


def test_a_broker_that_keeps_nothing_is_served_whole(
    catalogue: Publisher,
    forgetful: Broker,
    tmp_path: Path,
) -> None:
    publisher = catalogue.copy(tmp_path / "repo", forgetful.url, prefix="forgetful")
    publisher.waits = Waits(first_wait_s=0.5)  # until a device learns how this broker is
    with pytest.raises(BrokerRefused, match="slotcast serve"):
        publisher.publish("clf", "1")  # what is signed is left to `serve`
    devices = [publisher.provision(f"cam-{n}", tmp_path / f"cam-{n}") for n in (1, 2)]
    with (
        Observer(forgetful.url, publisher.topics, "cam-1") as first,
        Observer(forgetful.url, publisher.topics, "cam-2") as second,
        devices[0].running(),
        devices[1].running(seed=2),
    ):
        for observer in (first, second):  # both begin by the same announcement, and share
            observer.wait_for_link("connected")
        with serving(publisher.path) as served:
            first.wait_for_state("clf", State.COMMITTED, "1")
            second.wait_for_state("clf", State.COMMITTED, "1")
    assert (devices[0].answers() == answers(model_bytes(1))).all()
    counts = served.of("answered")[-1]
    offer = publisher.repo.present_offer("clf")
    assert offer is not None
    assert counts["sent"] < 2 * offer.payloads[0].chunk_count  # two devices, fewer than two pushes
