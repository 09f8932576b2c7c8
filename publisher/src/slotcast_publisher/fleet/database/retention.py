"""What is forgotten, so that the database stops growing.

Deletes are bounded: some thousand rows a transaction, so that who listens to devices never waits
for long. In SQLite the room of what was deleted is used again, and given back in small steps.
For how long things are kept are keys of `settings`; how often this is done is decided by `upkeep`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select, tuple_

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.settings import FleetSettings

DAY_S: Final = 86400
ROWS_MAX: Final = 5000
"""The most rows that one transaction deletes."""
STEPS_MAX: Final = 200
"""The most transactions of one pass for one table; what is left is for the next pass."""
PAGES_MAX: Final = 4096
"""The most pages, of 4 KiB, that one pass gives back to the disk."""
HISTORY_PER_DEVICE_MAX: Final = 2000
"""The most rows of history of one device: one that flaps must not fill the disk."""
RELEASES_PER_MODEL_MAX: Final = 32
"""The most releases of one model on one device of which figures are kept."""
IDEMPOTENCY_S: Final = DAY_S
"""The seconds for which the answer to a change is given again to who repeats it."""
AUDIT_PER_ACTION_MAX: Final = 100_000
"""The most entries of each action in the audit log: refused sign-ins push out nothing else."""
NOTES_MAX: Final = 100_000
"""The most notes of persons beside all devices and releases."""
ROLLOUT_LOG_MAX: Final = 100_000
"""The most rows of the log of all rollouts."""


def forget_old(
    database: Database,
    keep: FleetSettings,
    now_s: float,
    goes_on: Callable[[], bool] = lambda: True,
) -> int:
    """Delete what is older than it shall be kept, and what is more than may be kept.

    Args:
        database: of the fleet.
        keep: how long what is kept.
        now_s: the time, in seconds since 1970.
        goes_on: asked before each transaction; False ends the pass early.

    Returns:
        How many rows are gone.

    Raises:
        StorageFailed: the database could not be changed; the next pass goes on.
    """
    gone = 0
    for table, is_old in _old(keep, now_s):
        gone += _delete(database, table, is_old, goes_on)
    for table, owner, newest, most in _LONGEST:
        gone += _cut(database, table, owner, newest, most, goes_on)
    if gone:
        database.shrink(PAGES_MAX)
    return gone


def _old(keep: FleetSettings, now_s: float) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Give for each table which of its rows are older than they shall be kept."""

    def before(days: float) -> int:
        return int(now_s - days * DAY_S)

    t = tables
    metrics_s = before(keep.metrics_days)
    yield t.metrics, t.metrics.c.is_folded & (t.metrics.c.heard_s < metrics_s)
    for hours in (t.metrics_hours, t.release_hours):
        yield hours, hours.c.hour_s < before(keep.hours_days)
    for releases in (t.metrics_releases, t.release_figures):
        yield releases, releases.c.last_s < before(keep.devices_days)
    events_s = before(keep.history_days)
    yield t.history, t.history.c.at_s < events_s
    yield t.rollout_log, t.rollout_log.c.at_s < events_s
    yield t.requests, t.requests.c.at_s < events_s
    yield t.alarms, t.alarms.c.cleared_s < events_s
    yield t.audit, t.audit.c.at_s < events_s
    yield t.tokens, t.tokens.c.ends_s < events_s
    yield t.sessions, t.sessions.c.ends_s < now_s
    yield t.links, t.links.c.ends_s < now_s
    yield t.idempotency, t.idempotency.c.at_s < now_s - IDEMPOTENCY_S
    silent_s = before(keep.devices_days)
    yield t.devices, t.devices.c.seen_s < silent_s
    for table in (t.device_models, t.device_tags):
        yield table, table.c.device.not_in(select(t.devices.c.id))


def _delete(
    database: Database, table: Table, is_old: ColumnElement[bool], goes_on: Callable[[], bool]
) -> int:
    keys = tuple_(*table.primary_key.columns)
    old = select(*table.primary_key.columns).where(is_old).limit(ROWS_MAX)
    gone = 0
    for _ in range(STEPS_MAX):
        if not goes_on():
            break
        with database.transaction() as connection:
            count = connection.execute(delete(table).where(keys.in_(old))).rowcount
        gone += count
        if count < ROWS_MAX:
            break
    return gone


# --- by number ----------------------------------------------------------------------------------

_Columns = tuple[ColumnElement[Any], ...]
_history, _releases, _log = tables.history.c, tables.metrics_releases.c, tables.rollout_log.c
_LONGEST: Final[tuple[tuple[Table, _Columns, ColumnElement[Any], int], ...]] = (
    (tables.history, (_history.device,), _history.id, HISTORY_PER_DEVICE_MAX),
    (
        tables.metrics_releases,
        (_releases.device, _releases.model),
        _releases.last_s,
        RELEASES_PER_MODEL_MAX,
    ),
    (tables.rollout_log, (), _log.id, ROLLOUT_LOG_MAX),
    (tables.notes, (), tables.notes.c.id, NOTES_MAX),
    (tables.audit, (tables.audit.c.action,), tables.audit.c.id, AUDIT_PER_ACTION_MAX),
)
"""Tables of which each owner, by these columns, keeps so many rows: those with the highest value of
a column."""


def _cut(
    database: Database,
    table: Table,
    owner: _Columns,
    newest: ColumnElement[Any],
    most: int,
    goes_on: Callable[[], bool],
) -> int:
    """Delete what owners have more than `most` of."""
    many = select(*owner, func.count()).select_from(table).having(func.count() > most)
    if owner:
        many = many.group_by(*owner)
    with database.reading() as connection:
        owners = connection.execute(many).all()
    gone = 0
    for each in owners:
        mine = [column == value for column, value in zip(owner, each, strict=False)]
        with database.reading() as connection:
            limit = _last_kept(connection, mine, newest, most)
        gone += _delete(database, table, _all_of([*mine, newest < limit]), goes_on)
    return gone


def _all_of(conditions: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    first, *others = conditions
    for other in others:
        first = first & other
    return first


def _last_kept(
    connection: Connection, mine: list[ColumnElement[bool]], newest: ColumnElement[Any], most: int
) -> Any:
    query = select(newest).where(*mine).order_by(newest.desc()).offset(most - 1).limit(1)
    return connection.execute(query).scalar_one_or_none() or 0
