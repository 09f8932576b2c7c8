"""Adds summaries up: by hour and by release, of each device and of all devices together.

The intake writes summaries as they come; this adds those that are not added yet, some thousand at a
time, and marks them in the same transaction. So nothing is counted twice, whoever dies when.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, bindparam, select, tuple_, update

from slotcast_publisher.fleet.database.figures_blob import pack, unpack
from slotcast_publisher.fleet.database.listing import is_clock_off
from slotcast_publisher.fleet.database.tables import (
    IS_UNFOLDED,
    devices,
    metrics,
    metrics_hours,
    release_figures,
    release_hours,
)
from slotcast_publisher.fleet.database.tables import metrics_releases as releases
from slotcast_publisher.fleet.database.upsert import upsert
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, together

HOUR_S: Final = 3600
"""The seconds of an hour, into which figures are added up."""
ROWS_MAX: Final = 2000
"""The most summaries that one transaction adds up: others want to write, too."""
OLDEST_S: Final = 40 * 86400
"""A summary is not taken to be older than this: so long may a device be offline with figures."""

_Key = tuple[str, str, int]
"""Device, model, sequence."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A summary that is to be added."""

    row: Row[Any]
    figures: ReleaseFigures
    hour_s: int


def _part_of(row: Row[Any]) -> _Part:
    return _Part(row, unpack(row.figures), hour_of(row.end_s, row.heard_s, row.clock_off_s))


def fold_metrics(connection: Connection, rows_max: int = ROWS_MAX) -> int:
    """Add summaries to the sums of their hour and of their release, of its device and of all.

    Args:
        connection: with a transaction that may write; of PostgreSQL, only one at a time should.
        rows_max: the most summaries that are added.

    Returns:
        How many were added; fewer than `rows_max` when all are.
    """
    query = (
        select(metrics, devices.c.clock_off_s)
        .join(devices, devices.c.id == metrics.c.device, isouter=True)
        .where(IS_UNFOLDED)
        .order_by(metrics.c.heard_s)
        .limit(rows_max)
    )
    if connection.dialect.name == "postgresql":
        query = query.with_for_update(of=metrics)
    rows = connection.execute(query).all()
    if rows:
        parts = [_part_of(row) for row in rows]
        _add_to_hours(connection, parts)
        _add_to_releases(connection, parts)
        _add_to_all_devices(connection, parts)
        _mark(connection, rows)
    return len(rows)


def _mark(connection: Connection, rows: Iterable[Row[Any]]) -> None:
    at = (
        (metrics.c.device == bindparam("d"))
        & (metrics.c.counter == bindparam("c"))
        & (metrics.c.number == bindparam("n"))
    )
    keys = [{"d": row.device, "c": row.counter, "n": row.number} for row in rows]
    connection.execute(update(metrics).where(at).values(is_folded=True), keys)


def hour_of(end_s: int, heard_s: int, clock_off_s: int | None) -> int:
    """Give the hour in which a summary ended, in seconds since 1970, by our clock.

    Args:
        end_s: by the device's clock.
        heard_s: when it was heard.
        clock_off_s: the device's clock less ours; None for unknown.
    """
    off_s = clock_off_s or 0
    ours_s = end_s - off_s if is_clock_off(off_s) else end_s
    ours_s = min(max(ours_s, heard_s - OLDEST_S), heard_s)
    return ours_s - ours_s % HOUR_S


def _add_to_hours(connection: Connection, parts: Sequence[_Part]) -> None:
    found: dict[tuple[str, str, int, int], list[_Part]] = defaultdict(list)
    for part in parts:
        row = part.row
        found[row.device, row.model, row.sequence, part.hour_s].append(part)
    _add(connection, metrics_hours, found)


def _add_to_releases(connection: Connection, parts: Sequence[_Part]) -> None:
    found: dict[_Key, list[_Part]] = defaultdict(list)
    for part in parts:
        found[part.row.device, part.row.model, part.row.sequence].append(part)
    _add(connection, releases, found, with_times=True)


def _add_to_all_devices(connection: Connection, parts: Sequence[_Part]) -> None:
    """Add to the sums over all devices: a few rows, however many devices there are."""
    of_releases: dict[tuple[str, int], list[_Part]] = defaultdict(list)
    of_hours: dict[tuple[str, int, int], list[_Part]] = defaultdict(list)
    for part in parts:
        of_releases[part.row.model, part.row.sequence].append(part)
        of_hours[part.row.model, part.row.sequence, part.hour_s].append(part)
    _add(connection, release_figures, of_releases, with_times=True)
    _add(connection, release_hours, of_hours)


def _add(
    connection: Connection,
    table: Table,
    found: Mapping[Any, Sequence[_Part]],
    *,
    with_times: bool = False,
) -> None:
    """Add parts to the rows of a table, by its primary key."""
    there = _figures_there(connection, table, found)
    names = [column.name for column in table.primary_key.columns]
    written = []
    for key, its in found.items():
        first, last = its[0].row, its[-1].row
        times = {"version": last.version, "first_s": first.heard_s, "last_s": last.heard_s}
        sums = _sums(there.get(key), its)
        written.append(dict(zip(names, key, strict=True)) | (times if with_times else {}) | sums)
    upsert(connection, table, written, keep=["first_s"])


def _figures_there(
    connection: Connection, table: Table, keys: Mapping[Any, object]
) -> dict[Any, ReleaseFigures]:
    """Read the sums that are there already, by their primary key."""
    columns = list(table.primary_key.columns)
    query = select(*columns, table.c.figures).where(tuple_(*columns).in_(list(keys)))
    return {tuple(key): unpack(figures) for *key, figures in connection.execute(query)}


def _sums(before: ReleaseFigures | None, parts: Iterable[_Part]) -> dict[str, Any]:
    found = [part.figures for part in parts]
    figures = together(found if before is None else [before, *found])
    return {"requests": figures.requests, "errors": figures.errors, "figures": pack(figures)}
