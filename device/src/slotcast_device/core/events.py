"""What can happen to a model's core: facts, named in the past; and the time, handed in with each.

What the core asks for in answer is in `actions`.
"""

from __future__ import annotations

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


class ConnectionMade(msgspec.Struct, frozen=True):
    """A broker took the connection.

    `credit_chunks` is what may be under way, `limits` what the broker is known to allow.
    """

    broker: str
    credit_chunks: int
    limits: BrokerLimits = msgspec.field(default_factory=BrokerLimits)


class ConnectionLost(msgspec.Struct, frozen=True):
    """The connection is gone."""


class NoticeArrived(msgspec.Struct, frozen=True):
    """A notice came on the model's topic."""

    data: bytes


class MapArrived(msgspec.Struct, frozen=True):
    """A part of a chunk map came."""

    payload: bytes
    part: int
    data: bytes


class ChunkArrived(msgspec.Struct, frozen=True, gc=False):
    """A chunk came. (Made for every chunk, and so of the kind that is made fast.)"""

    payload: bytes
    index: int
    data: bytes


class BytesArrived(msgspec.Struct, frozen=True):
    """The link carried bytes of a message that is not here whole yet."""


class SubscriptionAnswered(msgspec.Struct, frozen=True):
    """The broker answered a SUBSCRIBE; `took_s` is without the round trip."""

    filters: int
    took_s: float


class LimitsChanged(msgspec.Struct, frozen=True):
    """More was learnt of what the present broker allows."""

    limits: BrokerLimits


class SubscriptionRefused(msgspec.Struct, frozen=True):
    """The broker refused a filter: `is_final` where nothing else is known to ask for instead."""

    filter: str
    text: str
    is_final: bool


class SubscriptionUnanswered(msgspec.Struct, frozen=True):
    """A SUBSCRIBE got no answer for long."""

    filters: tuple[str, ...]


class Tick(msgspec.Struct, frozen=True):
    """The core's deadline may have come."""


class JobDone(msgspec.Struct, frozen=True):
    """A job ended: with a result of the kind that the job's class names, or an error."""

    job: Job
    result: object = None
    error: SlotcastError | None = None


class ActionFailed(msgspec.Struct, frozen=True):
    """An action could not be carried out; those after it in its list were dropped."""

    action: Action
    error: SlotcastError
    dropped: tuple[Action, ...] = ()


class RollBackAsked(msgspec.Struct, frozen=True):
    """A person asks to go back to the other slot's release."""

    detail: str = ""


class UnbenchAsked(msgspec.Struct, frozen=True):
    """A person asks to try a benched release again; None means all."""

    sequence: int | None


class ResetAsked(msgspec.Struct, frozen=True):
    """A person asks to go back to the release that the device was provisioned with."""


class ResumeAsked(msgspec.Struct, frozen=True):
    """A person asks to go on with updates after that."""


class SlotsChanged(msgspec.Struct, frozen=True):
    """A glance at the disk, made now and then, found something that is not as the record says.

    Attributes:
        link: what is in the place of `current`; None where that is right.
        is_damaged: the active slot's model file is gone, or has another size.
        is_record_lost: the durable record is gone.
    """

    link: CurrentLink | None = None
    is_damaged: bool = False
    is_record_lost: bool = False


class LookDue(msgspec.Struct, frozen=True):
    """It is time to read both slots again, for a disk that fails or a hand that changed files."""


class ClockMoved(msgspec.Struct, frozen=True):
    """Somebody set the device's clock."""


LinkEvent = (
    BytesArrived
    | MapArrived
    | SubscriptionAnswered
    | SubscriptionRefused
    | SubscriptionUnanswered
    | LimitsChanged
    | ConnectionMade
    | ConnectionLost
)
"""What the link tells of a transfer, beside its chunks."""

RequestEvent = RollBackAsked | UnbenchAsked | ResetAsked | ResumeAsked
"""What a person asks of a model."""

OtherEvent = (
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
"""All that can happen to a core, but for the coming of a chunk."""

Event = ChunkArrived | OtherEvent
"""All that can happen to a core."""
