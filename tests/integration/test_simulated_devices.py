"""Simulated devices at a real Mosquitto: they take a release, say so, report, and suffer faults."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from slotcast_publisher.fleet.simulate.population import parse_tags
from slotcast_publisher.fleet.simulate.run_record import Result
from slotcast_publisher.fleet.simulate.script import parse_script
from slotcast_publisher.fleet.simulate.simulation import Simulation, SimulationWanted
from slotcast_publisher.fleet.simulate.slow_reading import SlowReading
from slotcast_schemas import wire
from slotcast_schemas.messages import Metrics, Presence, Status
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.states import State
from tests.support import models
from tests.support.brokers import Broker
from tests.support.fleet import Publisher
from tests.support.simulated import running
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.broker

QUICK = """
[device]
metrics_interval_s = 1
keepalive_s = 60
reconnect_first_s = 0.05
reconnect_cap_s = 0.5
[application]
requests_per_s = 40
load_s = 0.05
report_s = 0.5
"""
TRIAL = Trial(min_requests=30, deadline_s=60, max_restarts=1000)


class Listener:
    """Hears all that devices say, as whoever watches a fleet does."""

    def __init__(self, publisher: Publisher, broker: Broker) -> None:
        self.statuses: dict[str, list[Status]] = {}
        self.metrics: dict[str, list[Metrics]] = {}
        self.presences: dict[str, list[Presence]] = {}
        self.changed = threading.Condition()
        self._topics = publisher.topics
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2)
        self._mqtt.on_message = self._received
        subscribed = threading.Event()
        self._mqtt.on_subscribe = lambda *_: subscribed.set()
        self._mqtt.on_connect = lambda c, *_: c.subscribe(publisher.topics.device("+", "+"), 1)
        self._mqtt.connect(broker.host, broker.port)
        self._mqtt.loop_start()
        assert subscribed.wait(WAIT_S)

    def close(self) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def _received(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        device, kind = message.topic.split("/")[-2:]
        data = bytes(message.payload)
        with self.changed:
            if kind == "status":
                self.statuses.setdefault(device, []).append(wire.decode(data, Status))
            elif kind == "metrics":
                self.metrics.setdefault(device, []).append(wire.decode(data, Metrics))
            elif kind == "presence":
                said = wire.decode(data, Presence)
                self.presences.setdefault(device, []).append(said)
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, 4 * WAIT_S), what


@pytest.fixture
def listener(publisher: Publisher, broker: Broker) -> Iterator[Listener]:
    made = Listener(publisher, broker)
    yield made
    made.close()


def simulating(
    publisher: Publisher, wanted: SimulationWanted
) -> AbstractContextManager[Simulation]:
    return running(Simulation(publisher.repo, wanted), stop_max_s=4 * WAIT_S)


@pytest.fixture
def released(publisher: Publisher) -> Publisher:
    """`sim` 1.0 and 2.0, some chunks each, to be tried with live requests."""
    for number, version in enumerate(("1.0", "2.0")):
        data = {"model.onnx": models.classifier(40 + number, hidden=512)}
        publisher.release("sim", version, data, trial=TRIAL)
    return publisher


def chunks(publisher: Publisher, version: str) -> int:
    """Give the chunks of a release's payload."""
    folder = publisher.repo.store.folder("sim", version)
    return sum(
        -(-record.payload.size_bytes // record.payload.chunk_size_bytes)
        for record in folder.payloads()
    )


def runs(listener: Listener, device: str, version: str) -> bool:
    statuses = listener.statuses.get(device)
    model = statuses[-1].models[0] if statuses else None
    return model is not None and model.active is not None and model.active.version == version


@pytest.mark.timeout(600)
def test_twenty_devices_take_a_release_and_the_bad_ones_say_why(
    released: Publisher, listener: Listener
) -> None:
    script = QUICK + (
        '[[releases]]\nversions = ["2.0"]\ntags = { board = "rev-b" }\nerror_share = 0.5\n'
        '[[releases]]\nversions = ["2.0"]\nids = ["sim-20"]\nfails_probe = "golden_mismatch"\n'
        '[[faults]]\nkind = "wrong_clock"\nids = ["sim-01"]\noff_s = -7200\n'
    )
    wanted = SimulationWanted(
        count=20,
        tags=parse_tags(["board=rev-a:0.7,rev-b:0.3"]),
        models=("sim",),
        script=parse_script(script.encode(), "s"),
    )
    released.publish("sim", "1.0")
    with simulating(released, wanted) as simulation:
        ids = simulation.ids
        listener.wait_for(lambda: all(runs(listener, one, "1.0") for one in ids), "1.0 everywhere")
        listener.wait_for(lambda: listener.metrics.keys() >= set(ids), "metrics of everyone")
        released.publish("sim", "2.0")
        listener.wait_for(lambda: all(_has_settled(listener, one) for one in ids), "2.0 settled")
        listener.wait_for(lambda: all(_served(listener, one) for one in ids), "figures of 2.0")
    listener.wait_for(
        lambda: all(not listener.presences[one][-1].online for one in ids), "a farewell of each"
    )
    result = simulation.result()
    for device in result.devices:
        model = device.models["sim"]
        found = (model.version, model.state, model.reason)
        if device.device == "sim-20":
            assert found == ("1.0", "FAILED", "golden_mismatch")
        elif device.tags["board"] == "rev-b":
            assert found == ("1.0", "ROLLED_BACK", "errors")
        else:
            assert found == ("2.0", "COMMITTED", "committed")
        assert device.messages["chunk"] >= chunks(released, "1.0") + chunks(released, "2.0")
    _check_clock(listener)
    assert result.course[-1].versions["sim"] == _count(result)
    assert sum(d.received_bytes for d in result.devices) == result.totals.received_bytes


def _has_settled(listener: Listener, device: str) -> bool:
    model = listener.statuses[device][-1].models[0]
    ended = {State.COMMITTED, State.FAILED, State.ROLLED_BACK}
    return model.target is not None and model.target.version == "2.0" and model.state in ended


def _served(listener: Listener, device: str) -> bool:
    """Whether a device told figures of 2.0, unless it never served it."""
    if device == "sim-20":
        return True
    summaries = [s for message in listener.metrics[device] for s in message.summaries]
    return any(s.version == "2.0" and s.requests for s in summaries)


def _check_clock(listener: Listener) -> None:
    """What a device with a wrong clock says, it says by that clock; and it knows that it is."""
    wrong, right = listener.statuses["sim-01"][-1], listener.statuses["sim-02"][-1]
    assert wrong.time - right.time == pytest.approx(-7200, abs=120)
    assert (wrong.clock, right.clock) == ("behind", "ok")
    assert listener.presences["sim-01"][-1].time == pytest.approx(wrong.time, abs=120)


def _count(result: Result) -> dict[str, int]:
    versions = sorted(device.models["sim"].version for device in result.devices)
    return {version: versions.count(version) for version in versions}


@pytest.mark.timeout(600)
def test_devices_that_die_vanish_and_hang_on_bad_links_still_end_well(
    released: Publisher, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = _watch_slow_reading(monkeypatch)
    script = QUICK + (
        '[[faults]]\nkind = "dies"\nids = ["sim-1", "sim-2"]\nevery_s = 4\ndown_s = 0.2\n'
        '[[faults]]\nkind = "bad_link"\nids = ["sim-2", "sim-3"]\nevery_s = 2\ndown_s = 0.1\n'
        '[[faults]]\nkind = "slow_link"\nids = ["sim-4"]\nbytes_per_s = 20000\n'
        '[[faults]]\nkind = "vanishes"\nids = ["sim-5"]\nafter_s = 0.5\n'
    )
    wanted = SimulationWanted(
        count=6, models=("sim",), script=parse_script(script.encode(), "s"), seed=3
    )
    with simulating(released, wanted) as simulation:
        ids = [one for one in simulation.ids if one != "sim-5"]
        listener.wait_for(
            lambda: any(not p.online for p in listener.presences.get("sim-5", ())), "a last will"
        )
        released.publish("sim", "1.0")
        listener.wait_for(lambda: all(runs(listener, one, "1.0") for one in ids), "1.0")
        listener.wait_for(lambda: _went_down(listener, "sim-1", 2), "sim-1 died twice")
    found = {device.device: device for device in simulation.result().devices}
    assert found["sim-1"].starts >= 2, "it died a second time, and may not have come back yet"
    assert found["sim-1"].faults["dies"] >= 2
    assert found["sim-3"].connections > found["sim-6"].connections == 1
    assert "chunk" not in found["sim-5"].messages
    assert sum(read.came_bytes for read in reads) > found["sim-4"].message_bytes["chunk"]
    _check_rate(reads, 20000)
    counters = [status.counter for status in listener.statuses["sim-1"]]
    assert counters == sorted(counters)


def _went_down(listener: Listener, device: str, times: int) -> bool:
    return sum(not presence.online for presence in listener.presences[device]) >= times


@dataclass(frozen=True, slots=True)
class Read:
    """Some bytes that a slow device read, between two times on the monotonic clock."""

    before_s: float
    after_s: float
    came_bytes: int


def _watch_slow_reading(monkeypatch: pytest.MonkeyPatch) -> list[Read]:
    """Give a list that grows by each read of the one slow device."""
    reads: list[Read] = []
    count = SlowReading.count

    def watched(self: SlowReading, received_bytes: int, now_s: float) -> None:
        came_bytes = received_bytes - sum(read.came_bytes for read in reads)
        if came_bytes > 0:
            reads.append(Read(now_s, time.monotonic(), came_bytes))
        count(self, received_bytes, now_s)

    monkeypatch.setattr(SlowReading, "count", watched)
    return reads


def _check_rate(reads: list[Read], bytes_per_s: float) -> None:
    """Each read waited until those before it would have come; a busy machine only adds to that."""
    owed_s = reads[0].before_s
    for read in reads:
        assert read.after_s >= owed_s, reads
        owed_s = max(owed_s, read.before_s) + read.came_bytes / bytes_per_s


@pytest.mark.timeout(300)
def test_the_command_runs_devices_and_writes_what_happened(
    released: Publisher, tmp_path: Path
) -> None:
    released.publish("sim", "1.0")
    out, script = tmp_path / "out.json", tmp_path / "script.toml"
    script.write_text(QUICK)
    command = [sys.executable, "-m", "slotcast_publisher", "simulate", str(released.path)]
    options = [
        "--devices",
        "5",
        "--tag",
        "site=a:0.4,b:0.6",
        "--model",
        "sim",
        "--until",
        "sim=1.0",
    ]
    done = subprocess.run(
        [*command, *options, "--script", str(script), "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "5/5 connected; sim 1.0: 5" in done.stdout
    found = json.loads(out.read_text())
    assert (found["format"], found["count"], len(found["devices"])) == (1, 5, 5)
    assert found["totals"]["messages"]["chunk"] >= 5 * chunks(released, "1.0")
    assert any("probe" in words for words in found["invented"])
    assert sorted(device["tags"]["site"] for device in found["devices"]) == [
        "a",
        "a",
        "b",
        "b",
        "b",
    ]
    assert msgspec.convert(found, Result).course[-1].versions == {"sim": {"1.0": 5}}
