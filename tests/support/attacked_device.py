"""A device that meets a hostile broker, then an honest one; and what the first one cost it.

    with honest_broker(tmp_path) as honest:
        cost = attack(honest, tmp_path / "device", plan=("publish_qos_2",), seed=1)
    cost.state == "VERIFIED"

The device is a process of its own, forked from a server that has imported what it needs: its
memory is measured above what it has at its start. Its budgets are smaller than real ones, unless
asked for, so that they are spent soon; what they are is in `QUICK`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import logging
import multiprocessing
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from slotcast_device.agent import Agent
from slotcast_device.config import DeviceConfig
from slotcast_device.core.waits import Waits
from slotcast_schemas import limits
from slotcast_schemas.states import State
from tests.support import models
from tests.support.brokers import Broker, mosquitto
from tests.support.fleet import Publisher
from tests.support.hostile_broker import HostileBroker
from tests.support.waiting import WAIT_S

BUDGET_BYTES: Final = limits.MIB
QUICK: Final[Mapping[str, float]] = {
    "slotcast_device.core.broker_budget.USELESS_MAX_BYTES": BUDGET_BYTES,
    "slotcast_device.core.broker_budget.FRESH_BYTES": 64 * limits.KIB,
}
"""The constants that are others in an attacked device, by full name."""
IMPATIENT: Final = Waits(patience_s=3.0, part_max_s=1.0)
"""It has less patience, too."""
MEMORY_MAX_BYTES: Final = 24 * limits.MIB
"""What an attack may cost above the start; a device that meets no attacker has some 10 MiB."""
RECEIVED_MAX_BYTES: Final = 3 * limits.MIB
"""What may come at most: the budget, what is under way when it is spent, and the release itself."""
SYNCS_MAX: Final = 250
"""The fsyncs at most of the whole story, of which the update that it ends with has some 40."""
SENT_MAX_BYTES: Final = 200_000
"""The bytes that it may send."""
CONNECTIONS_MAX: Final = 16
"""The connections that it may make to the hostile broker."""
MORE_BYTES: Final = 120_000
"""Beside the model's, so that there are some 30 chunks."""
GOOD: Final = frozenset({State.VERIFIED, State.ACTIVATING, State.TRIAL, State.COMMITTED})
"""The states in which every byte of the release is there, as signed."""
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


@dataclass
class Cost:
    """What an attack cost a device.

    Attributes:
        memory_bytes: resident, at most, above the start.
        received_bytes: over all connections.
        useless_bytes: of them, by the device's own count.
        sent_bytes: over all connections.
        syncs: fsync and fdatasync.
        connections: to the hostile broker.
        was_left: how many of those the device ended.
        state: of the model at the end.
        broker: that the device was connected to then.
        reasons: why connections ended, as the log has it.
        error: what the device's process raised.
    """

    memory_bytes: int = 0
    received_bytes: int = 0
    useless_bytes: int = 0
    sent_bytes: int = 0
    syncs: int = 0
    connections: int = 0
    was_left: int = 0
    state: str = ""
    broker: str = ""
    reasons: list[str] = field(default_factory=list)
    error: str = ""

    def excesses(self) -> list[str]:
        """Say which bounds were broken."""
        bounds = {
            "memory_bytes": MEMORY_MAX_BYTES,
            "received_bytes": RECEIVED_MAX_BYTES,
            "sent_bytes": SENT_MAX_BYTES,
            "syncs": SYNCS_MAX,
            "connections": CONNECTIONS_MAX,
        }
        found = [
            f"{name} {getattr(self, name)}, expected at most {most}"
            for name, most in bounds.items()
            if getattr(self, name) > most
        ]
        if self.error:
            found.append(self.error)
        if self.state not in {str(state) for state in GOOD}:
            found.append(f"no good notice was taken afterwards: {self.state} at {self.broker}")
        return found


@dataclass(frozen=True)
class Honest:
    """An honest broker with a release, and what a device needs to be provisioned."""

    broker: Broker
    publisher: Publisher
    content: Mapping[str, bytes]


@contextlib.contextmanager
def honest_broker(folder: Path) -> Iterator[Honest]:
    """Start one, and publish a release to it."""
    with mosquitto("development") as broker:
        publisher = Publisher.make(folder / "repo", broker.url)
        more = random.Random(1).randbytes(MORE_BYTES)
        publisher.release("clf", "1.0", {"model.onnx": models.classifier(1), "more.bin": more})
        publisher.publish("clf", "1.0")
        yield Honest(broker, publisher, retained_of(broker))


def retained_of(broker: Broker) -> dict[str, bytes]:
    """Give what a broker keeps below the test's prefix."""
    kept: dict[str, bytes] = {}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: kept.update(
        {message.topic: bytes(message.payload)}
    )
    host, port = broker.url.removeprefix("mqtt://").split(":")
    client.connect(host, int(port))
    client.subscribe("t/#", qos=1)
    end_s, last = time.monotonic() + WAIT_S, -1
    while time.monotonic() < end_s and (not kept or len(kept) != last):
        last = len(kept)
        for _ in range(50):
            client.loop(0.02)
    client.disconnect()
    return kept


def attack(
    honest: Honest,
    folder: Path,
    plan: Sequence[str],
    *,
    seed: int = 1,
    lies_for_s: float = 2.0,
    protocol: str = "auto",
    constants: Mapping[str, float] = QUICK,
) -> Cost:
    """Have a new device meet a broker that tells these lies, then the honest one.

    Args:
        honest: the other broker of its list.
        folder: where the device lives.
        plan: the lies.
        seed: of what is drawn.
        lies_for_s: after which the hostile broker is gone.
        protocol: of MQTT, that the device speaks.
        constants: of the device that are others here.
    """
    chunks = [topic for topic in honest.content if re.search(r"/payloads/\w{64}/\d+/", topic)]
    withheld = random.Random(seed).choice(chunks)  # or the whole release would come from there
    content = {topic: data for topic, data in honest.content.items() if topic != withheld}
    with HostileBroker(content, plan, seed, lies_for_s) as hostile:
        device = honest.publisher.provision(
            "cam-1",
            folder,
            hostile.url,
            honest.broker.url,
        )
        text = device.config_path.read_text()
        text = text.replace('"auto"', f'"{protocol}"')
        device.config_path.write_text(text.replace("[policy]", "[policy]\ncredit_max_chunks = 8"))
        told = folder / "cost.json"
        process = _CONTEXT.Process(
            target=_run, args=(str(device.config_path), str(told), seed, dict(constants))
        )
        process.start()
        process.join(3 * WAIT_S)
        if process.exitcode is None:
            process.kill()
        process.join()
    cost = Cost(error=f"the device's process ended with {process.exitcode}")
    if told.exists():
        cost = Cost(**json.loads(told.read_text()))
    cost.connections, cost.was_left = hostile.connections, hostile.was_left
    return cost


# --- in the device's process ------------------------------------------------------------------


class _Reasons(logging.Handler):
    """Keeps the words with which connections ended."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = re.match(r"(\w+): .*trying again", record.getMessage())
        if found:
            self.words.append(found[1])


def _run(config: str, told: str, seed: int, constants: Mapping[str, float]) -> None:
    """Run the device until it has what the honest broker gives; write down what it cost."""
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)
    cost, syncs = Cost(), _count_syncs()
    reasons = _Reasons()
    logging.getLogger("slotcast.device").addHandler(reasons)
    start_bytes = _reset_peak()
    agent = Agent(DeviceConfig(Path(config)), random.Random(seed), waits=IMPATIENT)
    end_s = time.monotonic() + 2 * WAIT_S
    connection = agent.shell.connection

    def is_over(agent: Agent) -> bool:
        return agent.cores[0].status().state in GOOD or time.monotonic() > end_s

    try:
        agent.run(lambda agent: is_over(agent) and bool(_keep(cost, agent)))
    except Exception as exc:  # noqa: BLE001 - the test names it
        cost.error = f"{type(exc).__name__}: {exc}"
    cost.memory_bytes = _peak_bytes() - start_bytes
    cost.received_bytes = connection.traffic.received_bytes
    cost.sent_bytes = connection.traffic.sent_bytes
    cost.useless_bytes = connection.useless_bytes
    cost.syncs = syncs()
    cost.reasons = reasons.words
    Path(told).write_text(json.dumps(asdict(cost)))


def _keep(cost: Cost, agent: Agent) -> bool:
    """Note where the device stands before it says goodbye."""
    link = agent.shell.connection.link
    cost.state = str(agent.cores[0].status().state)
    cost.broker = "" if link is None else link.broker.name
    return True


def _count_syncs() -> Callable[[], int]:
    counted = itertools.count()
    syncs = [0]

    for name in ("fsync", "fdatasync"):
        setattr(os, name, functools.partial(_sync_and_count, getattr(os, name), counted, syncs))
    return lambda: syncs[0]


def _sync_and_count(
    real: Callable[[int], None], counted: Iterator[int], syncs: list[int], file: int
) -> None:
    syncs[0] = next(counted) + 1
    real(file)


def _reset_peak() -> int:
    """Have the system measure the peak anew (proc(5), clear_refs); give what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_bytes()


def _peak_bytes() -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0
