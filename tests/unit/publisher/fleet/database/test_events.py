"""What happened, in one list: looked back at by pages, and followed from where a reader left."""

from __future__ import annotations

from typing import Any

import pytest

from slotcast_publisher.fleet.alarms.alarm_store import save
from slotcast_publisher.fleet.alarms.board import Alarm
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.database import events, tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.events import About, Gaps, Marks
from slotcast_publisher.fleet.database.rollouts import LogLine, add_log
from tests.support.fleet_database import NOW_S, history_row, put


def change(database: Database, device: str, at_s: int, **fields: Any) -> None:
    put(database, tables.history, history_row(device, at_s) | fields)


def log(database: Database, rollout: str, at_s: int, word: str) -> None:
    with database.transaction() as connection:
        add_log(connection, LogLine(at_s, "clf", rollout, "canary", word, "why", "ann"))


def alarm(database: Database, device: str, at_s: float, cleared_s: float | None = None) -> None:
    raised = Alarm(
        kind=AlarmKind.DEVICE_SILENT,
        subject=device,
        raised_s=at_s,
        updated_s=cleared_s or at_s,
        cleared_s=cleared_s,
    )
    with database.transaction() as connection:
        save(connection, [raised])


def story(database: Database) -> None:
    for number in range(10):
        change(database, f"cam-{number % 2}", NOW_S + number // 3)
    log(database, "spring", NOW_S + 1, "opened")
    log(database, "spring", NOW_S + 2, "passed")
    alarm(database, "cam-1", NOW_S + 1.5)


@pytest.mark.parametrize("limit", [1, 2, 5, 50])
def test_pages_look_back_over_all_kinds_and_give_each_event_once(
    database: Database, limit: int
) -> None:
    story(database)
    found: list[events.Event] = []
    behind = None
    while True:
        with database.reading() as connection:
            page = events.events_before(connection, About(), limit, behind)
        if not page:
            break
        found += page
        behind = (page[-1].at_s, page[-1].id)
    assert len(found) == len({event.id for event in found}) == 13
    assert [event.at_s for event in found] == sorted((e.at_s for e in found), reverse=True)


def test_what_is_asked_for_is_given_and_nothing_else(database: Database) -> None:
    story(database)
    for about, count in (
        (About(device="cam-1"), 6),
        (About(rollout="spring"), 2),
        (About(model="clf"), 12),
        (About(kinds=frozenset({"alarm"})), 1),
    ):
        with database.reading() as connection:
            found = events.events_before(connection, about, 50)
        assert len(found) == count
        assert all(about.has(event) for event in found)


def test_a_reader_that_was_away_goes_on_where_it_was(database: Database) -> None:
    story(database)
    with database.reading() as connection:
        marks = events.present_marks(connection)
        assert not events.news(connection, marks).events
    change(database, "cam-7", NOW_S + 9)
    log(database, "spring", NOW_S + 9, "paused")
    alarm(database, "cam-1", NOW_S + 1.5, cleared_s=NOW_S + 20)
    written = events.parse_marks(str(marks))
    assert written is not None
    with database.reading() as connection:
        found = events.news(connection, written)
        assert [(e.kind, e.word) for e in found.events] == [
            ("device", "COMMITTED"),
            ("rollout", "paused"),
            ("alarm", "cleared"),
        ]
        assert not events.news(connection, found.marks).events


def test_a_number_that_is_not_there_yet_is_waited_for_and_not_forever() -> None:
    gaps = Gaps()
    assert gaps.settled("device", 4, [5, 7, 8], 100.0) == 5
    assert gaps.settled("device", 5, [6, 7, 8], 101.0) == 8
    assert gaps.settled("device", 8, [10], 102.0) == 8
    assert gaps.settled("device", 8, [10, 11], 102.0 + events.GAP_WAIT_S) == 11
    assert not gaps.since_s


@pytest.mark.parametrize("text", ["", "1-2", "1-2-x", "-1-2-3", "1" * 30 + "-1-1", "1-2-3;4"])
def test_marks_that_are_none_are_told_from_marks(text: str) -> None:
    assert events.parse_marks(text) is None


def test_marks_are_read_as_they_were_written() -> None:
    marks = Marks(3, 5, 1_800_000_000.25)
    assert events.parse_marks(str(marks)) == marks
