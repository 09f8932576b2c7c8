"""One push of 1 MB to 1,000 connected devices: how long, how many bytes, how many messages.

The devices are simulated ones (`slotcast simulate`): the real device, each with a connection of
its own to a real Mosquitto on loopback, all in one process. The push goes out once, while they are
connected and run an older release; the time is until the last of them has committed. Broker,
publisher and devices share this machine's cores, so the time says more of it than of any of them.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.report import CannotRun, Figure, Options
from slotcast_publisher.delivery import publish as publishing
from slotcast_publisher.delivery.broker_delivery import Pushed
from slotcast_publisher.fleet.simulate.run_record import DeviceResult
from slotcast_publisher.fleet.simulate.simulation import Simulation, SimulationWanted
from slotcast_publisher.settings import Settings
from tests.support import models
from tests.support.brokers import mosquitto
from tests.support.engine import BrokerUnavailable
from tests.support.fleet import Publisher

if TYPE_CHECKING:
    from slotcast_publisher.repository import Repository

DEVICES: Final = 1000
QUICK_DEVICES: Final = 100
MODEL: Final = "fleet"
MODEL_BYTES: Final = 1_000_000
WAIT_S: Final = 600.0
"""After which a push that has not reached everyone counts as failed."""


def run(options: Options) -> list[Figure]:
    """Connect the devices, push a release to them, and count."""
    count = QUICK_DEVICES if options.quick else DEVICES
    try:
        with mosquitto("development") as broker:
            publisher = _make_repository(options, broker.url)
            publisher.publish(MODEL, "1.0")
            fleet = _Fleet(publisher.repo, count, options.seed)
            try:
                return _measure(publisher, fleet, options)
            finally:
                fleet.end()
    except BrokerUnavailable as exc:
        raise CannotRun(str(exc)) from exc


def _make_repository(options: Options, url: str) -> Publisher:
    """Make 1.0, a small model, and 2.0, another one of 1 MB: no delta is of use."""
    publisher = Publisher.make(options.work / "repo", url, settings=Settings())
    small = models.classifier(options.seed)
    large = models.large(options.seed, size_bytes=MODEL_BYTES)
    publisher.release(MODEL, "1.0", {"model.onnx": small})
    publisher.release(MODEL, "2.0", {"model.onnx": large})
    return publisher


@dataclass(slots=True)
class _Awaited:
    """A release that somebody waits for."""

    version: str = ""
    came: threading.Event = field(default_factory=threading.Event)


class _Fleet:
    """The devices, in a thread."""

    def __init__(self, repo: Repository, count: int, seed: int) -> None:
        self.count = count
        self.simulation = Simulation(
            repo, SimulationWanted(count=count, models=(MODEL,), seed=seed)
        )
        self._awaited = _Awaited()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="devices", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.simulation.run(self._look)
        except BaseException as exc:  # noqa: BLE001 - raised again where somebody waits
            self._failures.append(exc)
            self._awaited.came.set()

    def _look(self, simulation: Simulation) -> bool:
        awaited = self._awaited
        if awaited.version and simulation.all_run(MODEL, awaited.version):
            awaited.came.set()
        return False

    def wait_for(self, version: str, act: Callable[[], None] = lambda: None) -> None:
        """Wait until all devices run a release, once `act` is done."""
        awaited = _Awaited(version)
        self._awaited = awaited
        act()
        if not awaited.came.wait(WAIT_S) and not self._failures:
            raise CannotRun(f"not every device ran {version} after {WAIT_S:.0f} s")
        if self._failures:
            raise self._failures[0]

    def end(self) -> None:
        """Have the devices say goodbye."""
        self.simulation.stop()
        self._thread.join()


def _measure(publisher: Publisher, fleet: _Fleet, options: Options) -> list[Figure]:
    fleet.wait_for("1.0")
    before = fleet.simulation.result()
    connect_s = max(_second_of(device, "1.0") for device in before.devices)
    options.say(f"{fleet.count} devices are connected and run 1.0, after {connect_s:.0f} s")
    pushed: list[Pushed] = []
    cpu_s, began_s = time.process_time(), time.monotonic()
    fleet.wait_for(
        "2.0", lambda: pushed.extend(publishing.publish(publisher.repo, MODEL, "2.0").all_done())
    )
    cpu_s = time.process_time() - cpu_s
    after = fleet.simulation.result()
    ends_s = max(_second_of(device, "2.0") for device in after.devices)
    payload = publisher.repo.store.folder(MODEL, "2.0").payloads()[0].payload
    chunks = -(-payload.size_bytes // payload.chunk_size_bytes)
    received_bytes = after.totals.received_bytes - before.totals.received_bytes
    came = sum(after.totals.messages.values()) - sum(before.totals.messages.values())
    came_chunks = after.totals.messages["chunk"] - before.totals.messages["chunk"]
    note = f"{fleet.count:,} real connections, payload of {payload.size_bytes:,} bytes"
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        Figure("devices that committed", _committed(after.devices), "", fleet.count, "==", note),
        Figure(
            "from the push to the last commit", ends_s - (began_s - fleet.simulation.began_s), "s"
        ),
        Figure(
            "sent by the publisher / payload",
            pushed[0].bytes_sent / payload.size_bytes,
            "ratio",
            1.05,
        ),
        Figure("messages of the publisher", pushed[0].messages_sent, ""),
        Figure("received by all devices", received_bytes / 1e6, "MB"),
        Figure(
            "received by a device / payload",
            received_bytes / fleet.count / payload.size_bytes,
            "ratio",
            1.05,
        ),
        Figure("messages to all devices", came, ""),
        Figure("chunks to a device / chunks", came_chunks / fleet.count / chunks, "ratio", 1.02),
        Figure("processor time of all devices", cpu_s, "s", note="the publisher's included"),
        Figure("peak memory of all devices", peak_bytes / 1e6, "MB"),
    ]


def _committed(devices: tuple[DeviceResult, ...]) -> int:
    found = [device.models[MODEL] for device in devices]
    return sum((model.version, model.state) == ("2.0", "COMMITTED") for model in found)


def _second_of(device: DeviceResult, version: str) -> float:
    """Give when a device committed a release, in seconds since the simulation began."""
    changes = device.models[MODEL].changes
    return next(c.at_s for c in changes if (c.version, c.state) == (version, "COMMITTED"))
