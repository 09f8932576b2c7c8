"""What can happen to a model's core: facts, named in the past; and the time, handed in with each.

What the core asks for in answer is in `actions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from slotcast_device.core.transfer.broker_limits import BrokerLimits

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action, Job
    from slotcast_device.core.recovery import CurrentLink
    from slotcast_schemas.errors import SlotcastError


class Now(msgspec.Struct, frozen=True, gc=False):
    """The time, twice: `mono_s` for waits, `wall_s` (Unix time) for records."""

    mono_s: float
    wall_s: int


@dataclass(frozen=True, slots=True)
class ConnectionMade:
    """A broker took the connection.

    `credit_chunks` is what may be under way, `limits` what the broker is known to allow.
    """

    broker: str
    credit_chunks: int
    limits: BrokerLimits = field(default_factory=BrokerLimits)


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection is gone."""


@dataclass(frozen=True, slots=True)
class NoticeArrived:
    """A notice came on the model's topic."""

    data: bytes


@dataclass(frozen=True, slots=True)
class MapArrived:
    """A part of a chunk map came."""

    payload: bytes
    part: int
    data: bytes


class ChunkArrived(msgspec.Struct, frozen=True, gc=False):
    """A chunk came. (Made for every chunk, and so of the kind that is made fast.)"""

    payload: bytes
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BytesArrived:
    """The link carried bytes of a message that is not here whole yet."""


@dataclass(frozen=True, slots=True)
class SubscriptionAnswered:
    """The broker answered a SUBSCRIBE; `took_s` is without the round trip."""

    filters: int
    took_s: float


@dataclass(frozen=True, slots=True)
class LimitsChanged:
    """More was learnt of what the present broker allows."""

    limits: BrokerLimits


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The broker refused a filter: `is_final` where nothing else is known to ask for instead."""

    filter: str
    text: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class SubscriptionUnanswered:
    """A SUBSCRIBE got no answer for long."""

    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The core's deadline may have come."""


@dataclass(frozen=True, slots=True)
class JobDone:
    """A job ended: with a result of the kind that the job's class names, or an error."""

    job: Job
    result: object = None
    error: SlotcastError | None = None


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """An action could not be carried out; those after it in its list were dropped."""

    action: Action
    error: SlotcastError
    dropped: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class RollBackAsked:
    """A person asks to go back to the other slot's release."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class UnbenchAsked:
    """A person asks to try a benched release again; None means all."""

    sequence: int | None


@dataclass(frozen=True, slots=True)
class ResetAsked:
    """A person asks to go back to the release that the device was provisioned with."""


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """A person asks to go on with updates after that."""


@dataclass(frozen=True, slots=True)
class SlotsChanged:
    """A glance at the disk, made now and then, found something that is not as the record says.

    Attributes:
        link: what is in the place of `current`; None where that is right.
        is_damaged: the active slot's model file is gone, or has another size.
        is_record_lost: the durable record is gone.
    """

    link: CurrentLink | None = None
    is_damaged: bool = False
    is_record_lost: bool = False


@dataclass(frozen=True, slots=True)
class LookDue:
    """It is time to read both slots again, for a disk that fails or a hand that changed files."""


@dataclass(frozen=True, slots=True)
class ClockMoved:
    """Somebody set the device's clock."""


LinkEvent = (
    ChunkArrived
    | BytesArrived
    | MapArrived
    | SubscriptionAnswered
    | SubscriptionRefused
    | SubscriptionUnanswered
    | LimitsChanged
    | ConnectionMade
    | ConnectionLost
)
"""What the link tells of a transfer."""

RequestEvent = RollBackAsked | UnbenchAsked | ResetAsked | ResumeAsked
"""What a person asks of a model."""

Event = (
    LinkEvent
    | NoticeArrived
    | Tick
    | JobDone
    | ActionFailed
    | RequestEvent
    | SlotsChanged
    | LookDue
    | ClockMoved
)
"""All that can happen to a core."""
