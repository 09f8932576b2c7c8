"""What happened, in one list: devices that changed, rollouts, alarms; and what is new since a look.

Three tables are read as one. An event is named by a letter and its row's number, which never
changes; `Marks` are the last numbers of all three, so that a reader who was away goes on where it
was. A number is given out before its transaction ends: of two `serve` that write at once, the later
may be seen first. So a gap is waited for (`settled`), for a few seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from sqlalchemy import Connection, Select, and_, func, or_, select

from slotcast_publisher.fleet.database.tables import alarms, history, rollout_log

Kind = Literal["device", "rollout", "alarm"]
"""What an event is about."""

GAP_WAIT_S: Final = 5.0
"""The seconds after which a number that did not come belongs to a transaction that was undone."""
EVENTS_MAX: Final = 500
"""The most events of each kind that one look gives; the next look gives the rest."""
KINDS: Final[frozenset[Kind]] = frozenset({"device", "rollout", "alarm"})
_MARKS: Final = re.compile(r"(\d{1,19})-(\d{1,19})-(\d{1,12}(?:\.\d{1,6})?)")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        id: a letter and a number; the same event has the same one for ever.
        at_s: when, in seconds since 1970.
        word: a device's state, a word of a rollout's log, or `raised`, `cleared`.
        text: a line for people; from a device it is data.
        who: the person, where it was one.
        told_s: of an alarm, when it changed last.
    """

    id: str
    kind: Kind
    at_s: float
    word: str
    text: str = ""
    device: str = ""
    model: str = ""
    rollout: str = ""
    group: str = ""
    who: str = ""
    reason: str = ""
    version: str = ""
    told_s: float = 0.0

    def marks_after(self, marks: Marks) -> Marks:
        """Give how far a reader has come with this event, who had come so far before it."""
        number = _number(self.id)[1]
        match self.kind:
            case "device":
                return replace(marks, history=max(number, marks.history))
            case "rollout":
                return replace(marks, log=max(number, marks.log))
            case "alarm":
                return replace(marks, alarm_s=max(self.told_s, marks.alarm_s))

    def is_within(self, marks: Marks) -> bool:
        """Whether a reader who has come so far has had it."""
        return self.marks_after(marks) == marks


@dataclass(frozen=True, slots=True)
class Marks:
    """How far a reader has come: the last rows of history and log, the time of the last alarm."""

    history: int = 0
    log: int = 0
    alarm_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.history}-{self.log}-{self.alarm_s:.6f}"


def parse_marks(text: str) -> Marks | None:
    """Read marks that were written before; None where these are none."""
    found = _MARKS.fullmatch(text)
    if found is None:
        return None
    last = 2**63 - 1
    return Marks(min(int(found[1]), last), min(int(found[2]), last), float(found[3]))


def present_marks(connection: Connection) -> Marks:
    """Give the marks of a reader that has seen all there is."""
    ids = [connection.scalar(select(func.max(t.c.id))) or 0 for t in (history, rollout_log)]
    a = alarms.c
    stands = select(func.max(a.updated_s)).where(a.cleared_s.is_(None))
    over = select(func.max(a.cleared_s))
    times = [connection.scalar(stands) or 0.0, connection.scalar(over) or 0.0]
    return Marks(ids[0], ids[1], max(times))


# --- what is new ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class News:
    """What a look found.

    Attributes:
        events: in the order in which they were written, by kind.
        marks: how far that is.
        is_more: there is more already.
    """

    events: Sequence[Event]
    marks: Marks
    is_more: bool = False


@dataclass(slots=True)
class Gaps:
    """Numbers that did not come, and since when they are waited for."""

    since_s: dict[tuple[Kind, int], float] = field(default_factory=dict)

    def settled(self, kind: Kind, last: int, ids: Sequence[int], now_s: float) -> int:
        """Give how far numbers have come for certain.

        Args:
            kind: of the events.
            last: how far they had come before.
            ids: numbers above that, rising.
            now_s: seconds that only grow.
        """
        waiting: set[int] = set()
        for number in ids:
            if number != last + 1:
                since_s = self.since_s.setdefault((kind, last), now_s)
                if now_s - since_s < GAP_WAIT_S:
                    waiting.add(last)
                    break
            last = number
        self.since_s = {
            key: at_s for key, at_s in self.since_s.items() if key[0] != kind or key[1] in waiting
        }
        return last


def news(connection: Connection, marks: Marks, gaps: Gaps | None = None, now_s: float = 0) -> News:
    """Give what happened since.

    Args:
        connection: to read with.
        marks: how far the reader has come.
        gaps: numbers that are waited for; None where nothing is (what is read was settled before).
        now_s: seconds that only grow, for the gaps.
    """
    changed = _rows(connection, history, marks.history)
    logged = _rows(connection, rollout_log, marks.log)
    last_history = _last("device", marks.history, changed, gaps, now_s)
    last_log = _last("rollout", marks.log, logged, gaps, now_s)
    events = [_of_history(row) for row in changed if row["id"] <= last_history]
    events += [_of_log(row) for row in logged if row["id"] <= last_log]
    told, alarm_s = _alarms_since(connection, marks.alarm_s)
    is_more = max(len(changed), len(logged)) >= EVENTS_MAX
    return News([*events, *told], Marks(last_history, last_log, alarm_s), is_more)


def _rows(connection: Connection, table: Any, last: int) -> list[Any]:
    query = select(table).where(table.c.id > last).order_by(table.c.id).limit(EVENTS_MAX)
    return list(connection.execute(query).mappings())


def _last(kind: Kind, last: int, rows: Sequence[Any], gaps: Gaps | None, now_s: float) -> int:
    ids: list[int] = [row["id"] for row in rows]
    if gaps is None:
        return max([last, *ids])
    return gaps.settled(kind, last, ids, now_s)


def _alarms_since(connection: Connection, since_s: float) -> tuple[list[Event], float]:
    a = alarms.c
    is_new = or_(
        and_(a.cleared_s.is_(None), a.updated_s > since_s),
        a.cleared_s > since_s,
    )
    query = select(alarms).where(is_new).order_by(a.updated_s, a.id).limit(EVENTS_MAX)
    rows = list(connection.execute(query).mappings())
    times = [since_s, *(row["cleared_s"] or row["updated_s"] for row in rows)]
    return [_of_alarm(row) for row in rows], max(times)


# --- looking back ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class About:
    """Which events are asked for; None stands for any."""

    kinds: frozenset[Kind] = KINDS
    device: str | None = None
    model: str | None = None
    rollout: str | None = None

    def has(self, event: Event) -> bool:
        """Whether an event is one of those."""
        return (
            event.kind in self.kinds
            and (self.device is None or self.device == event.device)
            and (self.model is None or self.model == event.model)
            and (self.rollout is None or self.rollout == event.rollout)
        )


def events_before(
    connection: Connection, about: About, limit: int, behind: tuple[float, str] | None = None
) -> list[Event]:
    """Give what happened, the newest first; what rollouts and alarms say, and devices.

    Args:
        connection: to read with.
        about: which events.
        limit: the most events.
        behind: time and id of the event behind which they begin; None for the newest.
    """
    found: list[Event] = []
    for kind in sorted(about.kinds):
        query = _BACK[kind](about, None if behind is None else behind[0])
        if query is not None:
            # Some of the same second may have been given already, so as many more are read.
            rows = connection.execute(query.limit(limit + _SAME_SECOND_MAX)).mappings()
            found += map(_MAKERS[kind], rows)
    found.sort(key=_place, reverse=True)
    if behind is not None:
        at = (behind[0], *_number(behind[1]))
        found = [event for event in found if _place(event) < at]
    return found[:limit]


_SAME_SECOND_MAX: Final = 1_000
"""The most events of one second that are read beyond a page, to be left out again."""


def _place(event: Event) -> tuple[float, str, int]:
    return (event.at_s, *_number(event.id))


def _number(event_id: str) -> tuple[str, int]:
    digits = event_id[1:]
    return event_id[:1], int(digits) if digits.isascii() and digits.isdigit() else 0


def _history_back(about: About, until_s: float | None) -> Select[Any] | None:
    h = history.c
    if about.rollout is not None:
        return None
    query: Select[Any] = select(history).order_by(h.at_s.desc(), h.id.desc())
    if about.device is not None:
        query = query.where(h.device == about.device)
    if about.model is not None:
        query = query.where(h.model == about.model)
    return query if until_s is None else query.where(h.at_s <= int(until_s))


def _log_back(about: About, until_s: float | None) -> Select[Any] | None:
    r = rollout_log.c
    if about.device is not None:
        return None
    query: Select[Any] = select(rollout_log).order_by(r.at_s.desc(), r.id.desc())
    if about.rollout is not None:
        query = query.where(r.rollout == about.rollout)
    if about.model is not None:
        query = query.where(r.model == about.model)
    return query if until_s is None else query.where(r.at_s <= int(until_s))


def _alarms_back(about: About, until_s: float | None) -> Select[Any] | None:
    a = alarms.c
    if about.rollout is not None or about.model is not None:
        return None
    at_s = func.coalesce(a.cleared_s, a.raised_s)
    query: Select[Any] = select(alarms).order_by(at_s.desc(), a.id.desc())
    if about.device is not None:
        query = query.where(a.subject == about.device)
    return query if until_s is None else query.where(at_s <= until_s)


def _of_history(row: Mapping[Any, Any]) -> Event:
    return Event(
        id=f"d{row['id']}",
        kind="device",
        at_s=float(row["at_s"]),
        word=row["state"],
        text=row["detail"],
        device=row["device"],
        model=row["model"],
        rollout=row["deployment"],
        reason=row["reason"],
        version=row["version"],
    )


def _of_log(row: Mapping[Any, Any]) -> Event:
    return Event(
        id=f"r{row['id']}",
        kind="rollout",
        at_s=float(row["at_s"]),
        word=row["word"],
        text=row["text"],
        model=row["model"],
        rollout=row["rollout"],
        group=row["group_name"],
        who=row["who"],
    )


def _of_alarm(row: Mapping[Any, Any]) -> Event:
    is_over = row["cleared_s"] is not None
    return Event(
        id=f"a{row['id']}",
        kind="alarm",
        at_s=float(row["cleared_s"] if is_over else row["raised_s"]),
        word="cleared" if is_over else "raised",
        text=row["text"],
        device=row["subject"] if row["kind"] in _OF_DEVICES else "",
        reason=row["kind"],
        told_s=float(row["cleared_s"] if is_over else row["updated_s"]),
    )


_OF_DEVICES: Final = frozenset(
    {"device_silent", "disk_low", "clock_off", "id_shared", "reports_refused"}
)
_BACK: Final[Mapping[Kind, Callable[[About, float | None], Select[Any] | None]]] = {
    "device": _history_back,
    "rollout": _log_back,
    "alarm": _alarms_back,
}
_MAKERS: Final[Mapping[Kind, Callable[[Mapping[Any, Any]], Event]]] = {
    "device": _of_history,
    "rollout": _of_log,
    "alarm": _of_alarm,
}
