"""What releases do over all devices, as it was added up when figures came (`folding`)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.tables import metrics_hours, release_figures, release_hours
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures


@dataclass(frozen=True, slots=True)
class ReleaseSum:
    """One release, over all devices that reported of it.

    Attributes:
        first_s: when the first figures of it came, seconds since 1970.
        last_s: when the last ones came.
    """

    model: str
    version: str
    sequence: int
    first_s: int
    last_s: int
    figures: ReleaseFigures


@dataclass(frozen=True, slots=True)
class HourSum:
    """One release in one hour, over all devices or on one of them."""

    model: str
    sequence: int
    hour_s: int
    figures: ReleaseFigures


def release_sums(connection: Connection, model: str | None = None) -> list[ReleaseSum]:
    """Give the sums of releases, by model, the newest first.

    Args:
        connection: to read with.
        model: one of them; None for all.
    """
    r = release_figures.c
    query = select(release_figures).order_by(r.model, r.sequence.desc())
    if model is not None:
        query = query.where(r.model == model)
    return [
        ReleaseSum(
            row.model, row.version, row.sequence, row.first_s, row.last_s, unpack(row.figures)
        )
        for row in connection.execute(query)
    ]


def hours_of_model(connection: Connection, model: str, since_s: int) -> list[HourSum]:
    """Give the sums of each hour over all devices, by time.

    Args:
        connection: to read with.
        model: of the releases.
        since_s: the first hour, in seconds since 1970.
    """
    h = release_hours.c
    query = select(release_hours).where(h.model == model, h.hour_s >= since_s)
    rows = connection.execute(query.order_by(h.hour_s, h.sequence))
    return [HourSum(row.model, row.sequence, row.hour_s, unpack(row.figures)) for row in rows]


def hours_of_device(connection: Connection, device: str, model: str, since_s: int) -> list[HourSum]:
    """Give the sums of each hour on one device, by time.

    Args:
        connection: to read with.
        device: its id.
        model: of the releases.
        since_s: the first hour, in seconds since 1970.
    """
    h = metrics_hours.c
    query = select(metrics_hours).where(h.device == device, h.model == model, h.hour_s >= since_s)
    rows = connection.execute(query.order_by(h.hour_s, h.sequence))
    return [HourSum(row.model, row.sequence, row.hour_s, unpack(row.figures)) for row in rows]
