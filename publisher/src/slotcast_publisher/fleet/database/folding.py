"""Adds summaries up: those of an hour, and those of a release on a device.

The intake writes summaries as they come; this adds those that are not added yet, some thousand at a
time, and marks them in the same transaction. So nothing is counted twice, whoever dies when.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, bindparam, select, tuple_, update

from slotcast_publisher.fleet.database.figures_blob import pack, unpack
from slotcast_publisher.fleet.database.tables import devices, metrics, metrics_hours
from slotcast_publisher.fleet.database.tables import metrics_releases as releases
from slotcast_publisher.fleet.database.upsert import upsert
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, together

HOUR_S: Final = 3600
ROWS_MAX: Final = 2000
"""The most summaries that one transaction adds up: others want to write, too."""
CLOCK_OFF_S: Final = 120
"""A device's clock is believed while it is not further off: a message takes its time, too."""
OLDEST_S: Final = 40 * 86400
"""A summary is not taken to be older than this: so long may a device be offline with figures."""

_Key = tuple[str, str, int]
"""Device, model, sequence."""


def fold_metrics(connection: Connection, rows_max: int = ROWS_MAX) -> int:
    """Add summaries to the sums of their hour and of their release.

    Args:
        connection: with a transaction that may write; of PostgreSQL, only one at a time should.
        rows_max: the most summaries that are added.

    Returns:
        How many were added; fewer than `rows_max` when all are.
    """
    query = (
        select(metrics, devices.c.clock_off_s)
        .join(devices, devices.c.id == metrics.c.device, isouter=True)
        .where(~metrics.c.is_folded)
        .order_by(metrics.c.heard_s)
        .limit(rows_max)
    )
    if connection.dialect.name == "postgresql":
        query = query.with_for_update(of=metrics)
    rows = connection.execute(query).all()
    if rows:
        _add_to_hours(connection, rows)
        _add_to_releases(connection, rows)
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
    ours_s = end_s - off_s if abs(off_s) > CLOCK_OFF_S else end_s
    ours_s = min(max(ours_s, heard_s - OLDEST_S), heard_s)
    return ours_s - ours_s % HOUR_S


def _add_to_hours(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    found: dict[tuple[str, str, int, int], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        hour_s = hour_of(row.end_s, row.heard_s, row.clock_off_s)
        found[row.device, row.model, row.sequence, hour_s].append(row)
    there = _figures_there(connection, metrics_hours, found)
    written = []
    for key, its in found.items():
        device, model, sequence, hour_s = key
        place = {"device": device, "model": model, "sequence": sequence, "hour_s": hour_s}
        written.append(place | _sums(there.get(key), its))
    upsert(connection, metrics_hours, written)


def _add_to_releases(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    found: dict[_Key, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row.device, row.model, row.sequence].append(row)
    there = _figures_there(connection, releases, found)
    written = []
    for key, its in found.items():
        device, model, sequence = key
        place = {"device": device, "model": model, "sequence": sequence}
        times = {"first_s": its[0].heard_s, "last_s": its[-1].heard_s}
        sums = _sums(there.get(key), its)
        written.append(place | {"version": its[-1].version} | times | sums)
    upsert(connection, releases, written, keep=["first_s"])


def _figures_there(
    connection: Connection, table: Table, keys: Mapping[Any, object]
) -> dict[Any, ReleaseFigures]:
    """Read the sums that are there already, by their primary key."""
    columns = list(table.primary_key.columns)
    query = select(*columns, table.c.figures).where(tuple_(*columns).in_(list(keys)))
    return {tuple(key): unpack(figures) for *key, figures in connection.execute(query)}


def _sums(before: ReleaseFigures | None, rows: Iterable[Row[Any]]) -> dict[str, Any]:
    parts = [unpack(row.figures) for row in rows]
    figures = together(parts if before is None else [before, *parts])
    return {"requests": figures.requests, "errors": figures.errors, "figures": pack(figures)}
