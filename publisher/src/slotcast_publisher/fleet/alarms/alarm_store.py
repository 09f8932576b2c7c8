"""Alarms in the database: those that stand, those that were, and what is still to be posted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, and_, or_, select, update

from slotcast_publisher.fleet.alarms.board import Alarm, Word
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.database.tables import alarms
from slotcast_schemas.decoders import make_decoders

_TEXT_MAX_CHARS: Final = 2_000
"""The most characters that are kept of an alarm's text."""
_UNPOSTED_MAX: Final = 1_000
"""The most alarms that are read at once for the webhook."""
_KINDS: Final = frozenset(map(str, AlarmKind))


class _Subjects(msgspec.Struct, frozen=True):
    """What the column `subjects` holds, as JSON."""

    subjects: tuple[str, ...] = ()
    names: dict[str, str] = {}


make_decoders(_Subjects)


@dataclass(frozen=True, slots=True)
class PostKey:
    """What one post is about.

    Attributes:
        kind: of the alarm, as `subject` and `raised_s`.
        word: what the post says of it.
    """

    kind: AlarmKind
    subject: str
    raised_s: float
    word: Word


def save(connection: Connection, changed: Iterable[Alarm]) -> None:
    """Write alarms down, over what was written of them before.

    Args:
        connection: with a transaction that may write.
        changed: each once, by kind, subject and when it was raised.
    """
    for alarm in sorted(changed, key=lambda one: one.raised_s):
        held = _Subjects(alarm.subjects, alarm.names)
        row = {
            "updated_s": alarm.updated_s,
            "cleared_s": alarm.cleared_s,
            "text": alarm.text[:_TEXT_MAX_CHARS],
            "count": alarm.count,
            "subjects": msgspec.json.encode(held).decode(),
        }
        same = _same(alarm.kind, alarm.subject, alarm.raised_s)
        if connection.execute(update(alarms).where(same).values(row)).rowcount == 0:
            key = {"kind": str(alarm.kind), "subject": alarm.subject, "raised_s": alarm.raised_s}
            connection.execute(alarms.insert().values({**key, **row}))


def standing(connection: Connection) -> list[Alarm]:
    """Give the alarms that stand, the oldest first."""
    return listed(connection, past=0)


def listed(connection: Connection, *, past: int) -> list[Alarm]:
    """Give alarms: those that stand, the oldest first, then those cleared last.

    Args:
        connection: to the database.
        past: how many cleared ones are given at most.
    """
    stand = select(alarms).where(alarms.c.cleared_s.is_(None)).order_by(alarms.c.raised_s)
    rows = list(connection.execute(stand).mappings())
    if past:
        over = select(alarms).where(alarms.c.cleared_s.is_not(None))
        over = over.order_by(alarms.c.cleared_s.desc(), alarms.c.id.desc()).limit(past)
        rows += connection.execute(over).mappings()
    return [_alarm(row) for row in rows if row["kind"] in _KINDS]


def unposted(connection: Connection, since_s: float) -> list[tuple[PostKey, Alarm]]:
    """Give what no webhook took yet, the oldest first.

    Args:
        connection: to the database.
        since_s: what was raised or cleared before is left out.
    """
    to_raise = and_(alarms.c.raise_posted_s.is_(None), alarms.c.raised_s >= since_s)
    to_clear = and_(alarms.c.clear_posted_s.is_(None), alarms.c.cleared_s >= since_s)
    query = select(alarms).where(or_(to_raise, to_clear)).order_by(alarms.c.id).limit(_UNPOSTED_MAX)
    found: list[tuple[float, PostKey, Alarm]] = []
    for row in connection.execute(query).mappings():
        if row["kind"] not in _KINDS:
            continue
        alarm = _alarm(row)
        if row["raise_posted_s"] is None and alarm.raised_s >= since_s:
            found.append((alarm.raised_s, key_of(alarm, "raised"), alarm))
        if row["clear_posted_s"] is None and (alarm.cleared_s or 0.0) >= since_s:
            found.append((alarm.cleared_s or 0.0, key_of(alarm, "cleared"), alarm))
    return [(key, alarm) for _, key, alarm in sorted(found, key=lambda item: item[0])]


def key_of(alarm: Alarm, word: Word) -> PostKey:
    """Name what is said of an alarm."""
    return PostKey(alarm.kind, alarm.subject, alarm.raised_s, word)


def mark_posted(connection: Connection, key: PostKey, at_s: float) -> None:
    """Write down that a webhook took something, or never will.

    Args:
        connection: with a transaction that may write.
        key: what was said.
        at_s: when.
    """
    columns: dict[Word, Any] = {"raised": "raise_posted_s", "cleared": "clear_posted_s"}
    if key.word in columns:
        same = _same(key.kind, key.subject, key.raised_s)
        connection.execute(update(alarms).where(same).values({columns[key.word]: at_s}))


def _same(kind: AlarmKind, subject: str, raised_s: float) -> Any:
    return and_(
        alarms.c.kind == str(kind), alarms.c.subject == subject, alarms.c.raised_s == raised_s
    )


def _alarm(row: RowMapping) -> Alarm:
    try:
        held = msgspec.json.decode(row["subjects"], type=_Subjects)
    except msgspec.DecodeError:
        held = _Subjects()
    return Alarm(
        kind=AlarmKind(row["kind"]),
        subject=row["subject"],
        raised_s=row["raised_s"],
        updated_s=row["updated_s"],
        cleared_s=row["cleared_s"],
        text=row["text"],
        count=row["count"],
        subjects=held.subjects,
        names=held.names,
    )
