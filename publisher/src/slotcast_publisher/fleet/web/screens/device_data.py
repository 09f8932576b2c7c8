"""What the screen of a device is made of, read at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.database import notes
from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.listing import (
    DevicesWanted,
    FiguresOfRelease,
    HistoryEntry,
    KnownDevice,
    KnownModel,
    figures_of_device,
    history_of,
    known_devices,
)
from slotcast_publisher.fleet.database.tables import metrics, metrics_hours
from slotcast_publisher.fleet.web.screens.course_view import SPANS_S, Window

WINDOWS_MAX: Final = 5_000
"""The most summaries that are read: a device that reports every minute sends 1,440 a day."""
_LATE_MAX_S: Final = 3 * 86_400
"""Summaries older than this when they were heard are of a clock that is wrong."""
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class DeviceScreenData:
    """All that is known of a device, and of one of its models.

    Attributes:
        device: with all of its models.
        model: the one that is looked at; None where it has none.
        changes: the model's history, the newest first.
        figures: what the device reported of each release of the model, the newest first.
        windows: what it reported over the span that is looked at.
        notes: of persons, the newest first.
    """

    device: KnownDevice
    model: KnownModel | None
    changes: Sequence[HistoryEntry]
    figures: Sequence[FiguresOfRelease]
    windows: Sequence[Window]
    notes: Sequence[notes.Note]


def device_facts(
    connection: Connection, device: str, model: str | None, span: str, now_s: float
) -> DeviceScreenData:
    """Read what is known of a device.

    Args:
        connection: to read with.
        device: its id.
        model: that is looked at; the one that needs a person most where it is None.
        span: a word of `course_view.SPANS_S`.
        now_s: the time, in seconds since 1970.

    Raises:
        NotFound: no such device, or not with this model.
    """
    found = known_devices(connection, DevicesWanted(device=device))
    if not found:
        raise NotFound(f"no device {device!r:.80} is known; `slotcast fleet` lists those that are")
    (known,) = found
    chosen = _chosen(known, model)
    name = "" if chosen is None else chosen.status.model
    figures = figures_of_device(connection, device) if chosen is not None else []
    windows: Sequence[Window] = ()
    if chosen is not None:
        since_s = int(now_s) - SPANS_S[span]
        read = _hours if span == "month" else _summaries
        windows = read(connection, device, name, since_s)
    return DeviceScreenData(
        device=known,
        model=chosen,
        changes=history_of(connection, device, name) if chosen is not None else (),
        figures=[each for each in figures if each.model == name],
        windows=windows,
        notes=notes.notes_of(connection, "device", device),
    )


_NEED: Final = ("ROLLED_BACK", "FAILED", "REJECTED", "TRIAL")
"""States of a model that a person wants to see first."""


def _chosen(device: KnownDevice, model: str | None) -> KnownModel | None:
    """Give the model that is asked for; else the one that needs a person most."""
    if model is not None:
        for each in device.models:
            if each.status.model == model:
                return each
        raise NotFound(f"{device.id!r:.80} says nothing of a model {model!r:.80}")
    by_need = sorted(
        device.models,
        key=lambda each: _NEED.index(each.status.state) if each.status.state in _NEED else 9,
    )
    return by_need[0] if by_need else None


def _summaries(connection: Connection, device: str, model: str, since_s: int) -> list[Window]:
    m = metrics.c
    query = (
        select(m.heard_s, m.end_s, m.sequence, m.version, m.figures)
        .where(m.device == device, m.model == model, m.heard_s >= since_s)
        .order_by(m.heard_s.desc())
        .limit(WINDOWS_MAX)
    )
    return [
        Window(_measured_s(row.heard_s, row.end_s), row.sequence, row.version, unpack(row.figures))
        for row in connection.execute(query)
    ]


def _measured_s(heard_s: int, end_s: int) -> int:
    """Say when figures were measured: by the device's clock, unless that cannot be."""
    return end_s if 0 <= heard_s - end_s <= _LATE_MAX_S else heard_s


def _hours(connection: Connection, device: str, model: str, since_s: int) -> list[Window]:
    h = metrics_hours.c
    query = (
        select(h.hour_s, h.sequence, h.figures)
        .where(h.device == device, h.model == model, h.hour_s >= since_s - _HOUR_S)
        .order_by(h.hour_s.desc())
        .limit(WINDOWS_MAX)
    )
    return [
        Window(row.hour_s + _HOUR_S / 2, row.sequence, "", unpack(row.figures))
        for row in connection.execute(query)
    ]
