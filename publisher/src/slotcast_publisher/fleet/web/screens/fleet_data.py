"""What the first screen reads: counts of the whole fleet, alarms, rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, literal, select

from slotcast_publisher.fleet.alarms.alarm_store import standing
from slotcast_publisher.fleet.alarms.board import Alarm
from slotcast_publisher.fleet.database.device_pages import device_page
from slotcast_publisher.fleet.database.fleet_counts import (
    CountedState,
    CountedVersion,
    PresenceCounts,
    dropped_counts,
    presence,
    state_counts,
    version_counts,
)
from slotcast_publisher.fleet.database.listing import (
    DevicesWanted,
    KnownDevice,
)
from slotcast_publisher.fleet.database.tables import device_models, release_hours
from slotcast_publisher.fleet.database.unseen_devices import unseen_since_s
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.screens.calls_view import DAYS, STEP_S, Calls

IN_NEED: Final = ("ROLLED_BACK", "FAILED", "REJECTED")
"""States of devices that did not take a release, in the order in which they are shown."""
IN_NEED_MAX: Final = 14
"""The most devices of those on the first screen."""
PLOTS_MAX: Final = 12
"""The most models of which it is drawn what answered their calls."""


@dataclass(frozen=True, slots=True)
class FleetData:
    """The fleet, counted.

    Attributes:
        alarms: that stand.
        saved_bytes: what deltas and reused files spared, of what now runs.
        dropped: messages that changed nothing, by why.
        in_need: devices that did not take a release; some of them.
        calls: that each release answered over the last days; of some models.
    """

    presence: PresenceCounts
    states: Sequence[CountedState]
    versions: Sequence[CountedVersion]
    alarms: Sequence[Alarm]
    saved_bytes: int
    dropped: dict[str, int]
    in_need: Sequence[KnownDevice]
    calls: Sequence[Calls]


def read_fleet(context: WebContext) -> FleetData:
    """Count the fleet.

    Args:
        context: what there is to look at.

    Raises:
        StorageFailed: the database cannot be read.
    """
    since_s = unseen_since_s(context.now_s())
    with context.database.reading() as connection:
        versions = version_counts(connection)
        models = list(dict.fromkeys(each.model for each in versions))[:PLOTS_MAX]
        return FleetData(
            presence=presence(connection, since_s),
            states=state_counts(connection),
            versions=versions,
            alarms=standing(connection),
            saved_bytes=_saved_bytes(connection),
            dropped=dropped_counts(connection),
            in_need=_in_need(connection),
            calls=_calls(connection, models, context.now_s()),
        )


def _saved_bytes(connection: Connection) -> int:
    """Add up what was spared of the releases that run now."""
    d = device_models.c
    query = select(func.sum(d.saved_bytes)).where(d.active_sequence == d.target_sequence)
    return int(connection.scalar(query) or 0)


def _calls(connection: Connection, models: Sequence[str], now_s: float) -> list[Calls]:
    """Add up the calls of each release of some models, by steps of time."""
    r = release_hours.c
    # Written into the statement: PostgreSQL takes two parameters for two expressions.
    step = r.hour_s // literal(STEP_S, literal_execute=True)
    query = (
        select(r.model, r.sequence, step, func.sum(r.requests))
        .where(r.model.in_(models), r.hour_s >= int(now_s) - DAYS * 86400)
        .group_by(r.model, r.sequence, step)
    )
    return [
        Calls(model, sequence, int(at), int(requests))
        for model, sequence, at, requests in connection.execute(query)
    ]


def _in_need(connection: Connection) -> list[KnownDevice]:
    found: list[KnownDevice] = []
    for state in IN_NEED:
        left = IN_NEED_MAX - len(found)
        if left > 0:
            found += device_page(connection, DevicesWanted(state=state), limit=left).devices
    return found
