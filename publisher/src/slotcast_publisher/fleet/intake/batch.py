"""What is to be written of many messages: the last word of each device, and all that happened.

When one is written is decided by `intake`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from slotcast_publisher.fleet.intake.known_device import DeviceRecord
from slotcast_schemas.messages import Metrics, Status
from slotcast_schemas.messages.status import ModelStatus


@dataclass(frozen=True, slots=True)
class StatusHeard:
    """A status that is now the last word of its device.

    Attributes:
        status: what it says.
        heard_s: when it came, by the clock of this machine; None where it was retained, so that
            nobody knows.
        clock_off_s: by how much the device's clock is ahead of this machine's, 0 where they agree;
            None where that cannot be told.
        stepped_s: when its models took the steps that they took in this batch, by model.
        saved_bytes: what the chosen payload spares, by model, where it says so or another release
            is wanted; of others it stays what it was.
    """

    status: Status
    heard_s: float | None
    clock_off_s: int | None
    stepped_s: Mapping[str, float]
    saved_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Happened:
    """A model on a device went a step.

    Attributes:
        at_s: when that was heard, by the clock of this machine; of a retained status, what the
            device says, though never later than it was heard.
        device_at_s: when it was said, by the device's clock.
    """

    device: str
    at_s: float
    device_at_s: int
    status: ModelStatus


@dataclass(frozen=True, slots=True)
class MetricsHeard:
    """Metrics that were not seen before.

    Attributes:
        heard_s: when they came, by the clock of this machine.
        era: how often the device's counter had begun anew.
    """

    metrics: Metrics
    heard_s: float
    era: int


@dataclass(slots=True)
class Batch:
    """All that one transaction writes.

    Attributes:
        records: the devices that something was heard of, by id.
        statuses: the last one of each device that has a new one.
        gone: models that a device has no more, by device and model.
        happened: steps, in order.
        metrics: in order.
        dropped: messages that changed nothing, by the reason.
    """

    records: dict[str, DeviceRecord] = field(default_factory=dict)
    statuses: dict[str, StatusHeard] = field(default_factory=dict)
    gone: set[tuple[str, str]] = field(default_factory=set)
    happened: list[Happened] = field(default_factory=list)
    metrics: list[MetricsHeard] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
