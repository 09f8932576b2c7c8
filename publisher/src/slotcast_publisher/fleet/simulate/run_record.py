"""What happened in a simulation, in memory and as JSON. Bounded, however long it goes on."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from slotcast_publisher.fleet.simulate.population import Traits
    from slotcast_schemas.messages.status import ModelStatus

CHANGES_MAX: Final = 200
"""The most changes that are kept of a model on a device; the oldest go."""
SAMPLES_MAX: Final = 2000
"""The most points of the fleet's course that are kept; past them every other one goes."""
INVENTED: Final = (
    "verdicts of the probe: no model was run, they are as the script says",
    "applications: their requests, latency, errors and memory are as the script says",
    "disks: in memory",
)
"""What of a simulation is not the real thing, said in its result."""


class StateChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model of a device came into another state.

    Attributes:
        at_s: seconds since the simulation began.
        version: what the device ran then; empty for nothing.
        target: the release that the state is about; empty for none.
    """

    at_s: float
    state: str
    reason: str
    version: str = ""
    target: str = ""


class ModelResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model of a device stands at the end, and how it came there."""

    version: str
    state: str
    reason: str
    detail: str
    changes: tuple[StateChange, ...]


class DeviceResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one device did.

    Attributes:
        received_bytes, sent_bytes: over the network, MQTT's own bytes included.
        messages, message_bytes: that came, by kind: chunk, map, notice, other.
        starts: of its process; connections: that it made.
        faults: what was done to it, by kind.
    """

    device: str
    tags: dict[str, str]
    clock_off_s: float
    received_bytes: int
    sent_bytes: int
    messages: dict[str, int]
    message_bytes: dict[str, int]
    starts: int
    connections: int
    faults: dict[str, int]
    models: dict[str, ModelResult]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at one time.

    Attributes:
        at_s: seconds since the simulation began.
        online: devices with a connection.
        versions: devices by model and the version that they run; empty for nothing.
        states: devices by model and state.
        received_bytes: by all devices so far.
    """

    at_s: float
    online: int
    versions: dict[str, dict[str, int]]
    states: dict[str, dict[str, int]]
    received_bytes: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all devices; see `DeviceResult`."""

    received_bytes: int
    sent_bytes: int
    messages: dict[str, int]
    message_bytes: dict[str, int]
    starts: int
    connections: int
    faults: dict[str, int]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All that happened.

    Attributes:
        began: Unix time.
        invented: what of it was not the real thing, in words.
        course: the fleet over time, where it changed.
    """

    format: int = 1
    began: int
    duration_s: float
    seed: int
    count: int
    invented: tuple[str, ...]
    totals: Totals
    course: tuple[Point, ...]
    devices: tuple[DeviceResult, ...]


class DeviceRecorder:
    """Takes what happens to one device; written by the simulation's thread alone.

    Attributes:
        status: of each model, the last one.
    """

    def __init__(self, traits: Traits, began_s: float) -> None:
        self.traits = traits
        self._began_s = began_s
        self.starts = 0
        self.connections = 0
        self.received_bytes = self.sent_bytes = 0
        self.earlier_received_bytes = self.earlier_sent_bytes = 0
        self.faults: Counter[str] = Counter()
        self.status: dict[str, ModelStatus] = {}
        self._messages: Counter[str] = Counter()
        self._message_bytes: Counter[str] = Counter()
        self._changes: dict[str, deque[StateChange]] = {}

    def received(self, kind: str, size_bytes: int) -> None:
        """A message came."""
        self._messages[kind] += 1
        self._message_bytes[kind] += size_bytes

    def note_status(self, status: ModelStatus, now_s: float) -> None:
        """The status of a model is due to be sent."""
        self.status[status.model] = status
        changes = self._changes.setdefault(status.model, deque(maxlen=CHANGES_MAX))
        change = StateChange(
            at_s=round(now_s - self._began_s, 3),
            state=str(status.state),
            reason=str(status.reason),
            version=version_of(status),
            target="" if status.target is None else status.target.version,
        )
        if not changes or msgspec.structs.replace(changes[-1], at_s=change.at_s) != change:
            changes.append(change)

    def result(self) -> DeviceResult:
        """Give what happened so far."""
        clock = self.traits.fault("wrong_clock")
        return DeviceResult(
            device=self.traits.device,
            tags=self.traits.tags,
            clock_off_s=0.0 if clock is None else clock.off_s,
            received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes,
            messages=dict(self._messages),
            message_bytes=dict(self._message_bytes),
            starts=self.starts,
            connections=self.connections,
            faults=dict(self.faults),
            models={
                model: ModelResult(
                    version=version_of(status),
                    state=str(status.state),
                    reason=str(status.reason),
                    detail=status.detail,
                    changes=tuple(self._changes[model]),
                )
                for model, status in self.status.items()
            },
        )


def version_of(status: ModelStatus) -> str:
    """Give the version that a device runs, empty for none."""
    return "" if status.active is None else status.active.version


class FleetCourse:
    """The fleet over time: points where it changed, in a bounded number. For all threads."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._lock = threading.Lock()

    @property
    def points(self) -> tuple[Point, ...]:
        """What is kept."""
        with self._lock:
            return tuple(self._points)

    def note(self, point: Point) -> None:
        """Keep a point, if it differs from the last one in more than time."""
        with self._lock:
            if self._points and msgspec.structs.replace(self._points[-1], at_s=point.at_s) == point:
                return
            self._points.append(point)
            if len(self._points) > SAMPLES_MAX:
                del self._points[1:-1:2]


def look_at(records: Iterable[DeviceRecorder], online: int, at_s: float) -> Point:
    """Count the fleet as it is now.

    Args:
        records: the devices'.
        online: how many have a connection.
        at_s: seconds since the simulation began.
    """
    versions: dict[str, Counter[str]] = {}
    states: dict[str, Counter[str]] = {}
    received_bytes = 0
    for record in records:
        received_bytes += record.received_bytes
        for model, status in record.status.items():
            versions.setdefault(model, Counter())[version_of(status)] += 1
            states.setdefault(model, Counter())[str(status.state)] += 1
    return Point(
        at_s=round(at_s, 2),
        online=online,
        versions={model: dict(sorted(found.items())) for model, found in versions.items()},
        states={model: dict(sorted(found.items())) for model, found in states.items()},
        received_bytes=received_bytes,
    )


def sum_up(devices: Iterable[DeviceResult]) -> Totals:
    """Add devices up."""
    numbers: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    message_bytes: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for device in devices:
        for name in ("received_bytes", "sent_bytes", "starts", "connections"):
            numbers[name] += getattr(device, name)
        messages.update(device.messages)
        message_bytes.update(device.message_bytes)
        faults.update(device.faults)
    return Totals(
        received_bytes=numbers["received_bytes"],
        sent_bytes=numbers["sent_bytes"],
        messages=dict(messages),
        message_bytes=dict(message_bytes),
        starts=numbers["starts"],
        connections=numbers["connections"],
        faults=dict(faults),
    )
