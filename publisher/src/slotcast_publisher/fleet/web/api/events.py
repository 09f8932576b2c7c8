"""What happened, and alarms."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from litestar import get
from litestar.params import QueryParameter

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.alarms.board import Alarm
from slotcast_publisher.fleet.database.device_json import iso
from slotcast_publisher.fleet.database.events import (
    KINDS,
    About,
    Event,
    events_before,
    present_marks,
)
from slotcast_publisher.fleet.web.api.parts import Shared
from slotcast_publisher.fleet.web.api.types import AlarmList, AlarmView, EventPage, EventView
from slotcast_publisher.fleet.web.context import Context
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.paging import LIMIT, After, Limit, read_place, write_place
from slotcast_schemas.errors import UsageError

_ORDER: Final = "-at"
_SEE: Final = needs(Permission.SEE)

Kinds = Annotated[
    list[Literal["device", "rollout", "alarm"]] | None,
    QueryParameter(name="kind", max_items=3, description="Events of these kinds; all without it."),
]
OfDevice = Annotated[str | None, QueryParameter(max_length=128, description="Of this device.")]
OfModel = Annotated[str | None, QueryParameter(max_length=128, description="Of this model.")]
OfRollout = Annotated[str | None, QueryParameter(max_length=128, description="Of this rollout.")]


def provide_about(
    kinds: Kinds = None,
    device: OfDevice = None,
    model: OfModel = None,
    rollout: OfRollout = None,
) -> About:
    """Take which events an address asks for.

    Args:
        kinds: of events.
        device: that they are about.
        model: that they are about.
        rollout: that they are about.
    """
    return About(frozenset(kinds) if kinds else KINDS, device, model, rollout)


@get("/events", opt=_SEE, sync_to_thread=True, summary="What happened", tags=["events"])
def _events(
    context: Context,
    kinds: Kinds = None,
    device: OfDevice = None,
    model: OfModel = None,
    rollout: OfRollout = None,
    limit: Limit = LIMIT,
    after: After = None,
) -> EventPage:
    """List what happened, the newest first."""
    about = provide_about(kinds, device, model, rollout)
    behind = read_place(after, _ORDER)
    place = None
    if behind is not None:
        at_s, event_id = (*behind, None, None)[:2]
        if len(behind) != 2 or not isinstance(event_id, str) or isinstance(at_s, str | None):
            raise UsageError("after: expected `next` of the page before")
        place = (float(at_s), event_id)
    with context.database.reading() as connection:
        found = events_before(connection, about, limit + 1, place)
        marks = present_marks(connection)
    shown = found[:limit]
    last = shown[-1] if len(found) > limit else None
    return EventPage(
        events=tuple(map(event_view, shown)),
        next=None if last is None else write_place(_ORDER, (last.at_s, last.id)),
        stream_after=str(marks),
    )


@get("/alarms", opt=_SEE, sync_to_thread=True, summary="What needs a person", tags=["alarms"])
def _alarms(
    counting: Shared,
    past: Annotated[
        int, QueryParameter(ge=0, le=1000, description="So many that ended, too.")
    ] = 10,
) -> AlarmList:
    """List alarms."""
    return AlarmList(alarms=tuple(map(alarm_view, counting.alarms(past))))


def event_view(event: Event) -> EventView:
    """Give an event as the API shows it."""
    return EventView(
        id=event.id,
        kind=event.kind,
        at=iso(int(event.at_s)),
        word=event.word,
        text=event.text,
        device=event.device,
        model=event.model,
        rollout=event.rollout,
        group=event.group,
        who=event.who,
        reason=event.reason,
        version=event.version,
    )


def alarm_view(alarm: Alarm) -> AlarmView:
    """Give an alarm as the API shows it."""
    return AlarmView(
        kind=str(alarm.kind),
        subject=alarm.subject,
        stands=alarm.cleared_s is None,
        raised_at=iso(int(alarm.raised_s)),
        updated_at=iso(int(alarm.updated_s)),
        cleared_at=None if alarm.cleared_s is None else iso(int(alarm.cleared_s)),
        count=alarm.count,
        subjects=alarm.subjects,
        text=alarm.text,
        names=alarm.names,
    )


ROUTES: Final = [_events, _alarms]
"""What this module answers."""
