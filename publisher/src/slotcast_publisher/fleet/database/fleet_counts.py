"""How many there are of the whole fleet: from what is counted already, and from indexes alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sqlalchemy import Connection, func, select

from slotcast_publisher.fleet.database.tables import (
    IS_CLOCK_OFF,
    IS_OFFLINE,
    IS_UNFOLDED,
    device_tags,
    devices,
    dropped,
    history,
    metrics,
    metrics_releases,
    model_counts,
)

KINDS_MAX: Final = 2_000
"""The most releases, or states with their reasons, that are counted: they come from devices."""
TAG_VALUES_MAX: Final = 200
"""The most values of a tag that are listed."""


@dataclass(frozen=True, slots=True)
class PresenceCounts:
    """The fleet in numbers.

    Attributes:
        unseen: not online, and not heard of since the time that was asked about.
        shared_ids: under which two devices were noticed.
    """

    devices: int
    online: int
    unseen: int
    shared_ids: int
    clocks_off: int


@dataclass(frozen=True, slots=True)
class CountedVersion:
    """How many devices run a release; sequence 0 and no version for none."""

    model: str
    version: str
    sequence: int
    devices: int


@dataclass(frozen=True, slots=True)
class CountedState:
    """How many devices are in a state for a reason."""

    model: str
    state: str
    reason: str
    devices: int


def presence(connection: Connection, unseen_since_s: int) -> PresenceCounts:
    """Count devices, each kind by an index that has no others (`device_tables.devices`).

    Args:
        connection: to read with.
        unseen_since_s: who was not heard of at this time or later counts as not seen.
    """
    count = select(func.count()).select_from(devices)
    d = devices.c
    query = select(
        count.scalar_subquery(),
        count.where(IS_OFFLINE).scalar_subquery(),
        count.where(IS_OFFLINE, d.seen_s < unseen_since_s).scalar_subquery(),
        count.where(d.twins_seen_s.is_not(None)).scalar_subquery(),
        count.where(IS_CLOCK_OFF).scalar_subquery(),
    )
    every, offline, unseen, shared_ids, clocks_off = map(int, connection.execute(query).one())
    return PresenceCounts(every, every - offline, unseen, shared_ids, clocks_off)


def version_counts(connection: Connection, model: str | None = None) -> list[CountedVersion]:
    """Say how many devices run which release, by model, the newest first.

    Args:
        connection: to read with.
        model: one of them; None for all.
    """
    c = model_counts.c
    # Devices that call one release by two names do not make two of it.
    query = select(c.model, func.max(c.version), c.sequence, func.sum(c.devices))
    query = query.where(c.devices > 0).group_by(c.model, c.sequence)
    if model is not None:
        query = query.where(c.model == model)
    rows = connection.execute(query.order_by(c.model, c.sequence.desc()).limit(KINDS_MAX))
    return [CountedVersion(row[0], row[1], row[2], int(row[3])) for row in rows]


def state_counts(connection: Connection, model: str | None = None) -> list[CountedState]:
    """Say how many devices are in which state for which reason, by model, the most common first.

    Args:
        connection: to read with.
        model: one of them; None for all.
    """
    c = model_counts.c
    columns = (c.model, c.state, c.reason)
    query = select(*columns, func.sum(c.devices)).where(c.devices > 0).group_by(*columns)
    if model is not None:
        query = query.where(c.model == model)
    rows = connection.execute(query.order_by(*columns).limit(KINDS_MAX)).all()
    found = [CountedState(row[0], row[1], row[2], int(row[3])) for row in rows]
    by_model = groupby(found, key=lambda each: each.model)
    return [each for _, its in by_model for each in sorted(its, key=lambda each: -each.devices)]


def tag_values(connection: Connection, key: str | None = None) -> list[tuple[str, str, int]]:
    """Give tags and how many devices have each, the most common first, at most `TAG_VALUES_MAX`.

    Args:
        connection: to read with.
        key: one of them; None for all.
    """
    t = device_tags.c
    query = select(t.key, t.value, func.count()).group_by(t.key, t.value)
    if key is not None:
        query = query.where(t.key == key)
    query = query.order_by(func.count().desc(), t.key, t.value).limit(TAG_VALUES_MAX)
    return [(row[0], row[1], int(row[2])) for row in connection.execute(query)]


def devices_with_figures(connection: Connection, model: str) -> dict[int, int]:
    """Say of how many devices figures of each release are known, by sequence.

    Args:
        connection: to read with.
        model: of the releases.
    """
    r = metrics_releases.c
    query = select(r.sequence, func.count()).where(r.model == model).group_by(r.sequence)
    return {int(sequence): int(count) for sequence, count in connection.execute(query)}


def dropped_counts(connection: Connection) -> dict[str, int]:
    """Give how many messages changed nothing, by why."""
    query = select(dropped.c.reason, dropped.c.count).order_by(dropped.c.reason)
    return {reason: int(count) for reason, count in connection.execute(query)}


def unfolded_count(connection: Connection) -> int:
    """Count the summaries that are not added up yet."""
    query = select(func.count()).select_from(metrics).where(IS_UNFOLDED)
    return int(connection.execute(query).scalar_one())


def last_heard_s(connection: Connection) -> int:
    """Give when figures or a change of any device were written last, in seconds since 1970."""
    newest = [
        connection.scalar(select(func.max(history.c.at_s))),
        connection.scalar(select(func.max(metrics.c.heard_s))),
    ]
    return max(int(at_s or 0) for at_s in newest)
