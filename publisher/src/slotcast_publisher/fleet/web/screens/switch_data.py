"""Figures around the switch to a release, each device set to its own: what the database has."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from sqlalchemy import Connection, select

from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.tables import metrics_hours, metrics_releases
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, together
from slotcast_publisher.fleet.web.screens.switch_view import HOUR_S, HOURS, SwitchHour

DEVICES_MAX: Final = 60
"""The most devices whose hours are added up: those that switched last."""
LOOKED_MAX: Final = 5_000
"""Of so many devices with the release; a large fleet is not looked through for a plot."""


def around_switch(connection: Connection, model: str, sequence: int) -> list[SwitchHour]:
    """Add up the hours before and after the switch to a release, of some devices.

    Args:
        connection: to read with.
        model: of the release.
        sequence: of the release.
    """
    r = metrics_releases.c
    some = (
        select(r.device, r.first_s)
        .where(r.model == model, r.sequence == sequence)
        .limit(LOOKED_MAX)
        .subquery()
    )
    newest = select(some).order_by(some.c.first_s.desc()).limit(DEVICES_MAX)
    switched = {row.device: row.first_s // HOUR_S for row in connection.execute(newest)}
    if not switched:
        return []
    h = metrics_hours.c
    hours = select(h.device, h.sequence, h.hour_s, h.figures).where(
        h.device.in_(switched),
        h.model == model,
        h.hour_s >= (min(switched.values()) - HOURS) * HOUR_S,
        h.hour_s <= (max(switched.values()) + HOURS) * HOUR_S,
    )
    parts: dict[tuple[bool, int], dict[str, list[ReleaseFigures]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in connection.execute(hours):
        hour, is_new = row.hour_s // HOUR_S - switched[row.device], row.sequence == sequence
        is_before = row.sequence < sequence and hour <= 0
        if abs(hour) <= HOURS and (is_before or (is_new and hour >= 0)):
            parts[is_new, hour][row.device].append(unpack(row.figures))
    return [
        SwitchHour(hour, is_new, tuple(together(each) for each in by_device.values()))
        for (is_new, hour), by_device in sorted(parts.items())
    ]
