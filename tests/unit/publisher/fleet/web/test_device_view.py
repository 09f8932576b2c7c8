"""The screen of a device says what it serves and why, from what the database knows alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import event

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.listing import KnownModel, history_of
from slotcast_publisher.fleet.database.tables import device_models
from slotcast_publisher.fleet.web.screens.course_view import course_view
from slotcast_publisher.fleet.web.screens.device_data import DeviceScreenData, device_facts
from slotcast_publisher.fleet.web.screens.device_view import (
    DeviceScreen,
    device_screen,
    limits_of,
)
from slotcast_publisher.fleet.web.screens.trail_view import trail
from slotcast_publisher.fleet.web.screens.transfers_view import transfers_of, transfers_view
from slotcast_publisher.fleet.web.words import Clock
from slotcast_schemas.messages.status import ModelStatus, Target
from slotcast_schemas.states import State
from tests.support import device_story as story

CLOCK = Clock(float(story.NOW_S))


def facts_of(database: Database, device: str = story.DEVICE, span: str = "day") -> DeviceScreenData:
    with database.reading() as connection:
        return device_facts(connection, device, None, span, CLOCK.now_s)


def screen_of(database: Database, device: str = story.DEVICE) -> DeviceScreen:
    return device_screen(facts_of(database, device), CLOCK, "repo")


def test_a_device_that_went_back_says_which_figure_was_too_high_and_what_it_serves(
    database: Database,
) -> None:
    story.tell_story(database)
    screen = screen_of(database)
    assert screen.answer.state == "ROLLED_BACK"
    assert screen.answer.sentence == (
        "detector 3.3.0 failed on trial: latency_p95 39.4 ms where 38.0 ms is allowed."
        " It serves detector 3.2.1 again."
    )
    assert "The model's authors must act." in screen.answer.notes
    assert [(slot.name, slot.version, slot.text) for slot in screen.slots] == [
        ("a", "3.2.1", "active"),
        ("b", "3.3.0", "standby, benched"),
    ]
    assert ("Committed", "committed, after a trial of 4 h") in screen.slots[0].facts
    assert screen.commands[0][0] == "slotcast-device unbench --model detector --sequence 1046"


def test_what_runs_what_is_wanted_and_the_state_are_three_things(database: Database) -> None:
    waits = ModelStatus(
        model=story.MODEL,
        state=State.QUEUED,
        reason="not_in_group",
        active=story.slot("a", *story.OLD),
        target=Target(version="3.3.0", sequence=1046, group="everyone"),
    )
    story.tell_story(database, status=waits)
    answer = screen_of(database).answer
    assert answer.state == "QUEUED"
    assert answer.sentence == ("detector 3.3.0 waits: not in group. It serves detector 3.2.1.")
    assert answer.tone == ""


def test_what_came_over_the_link_is_said_release_by_release_with_what_it_spared(
    database: Database,
) -> None:
    story.tell_story(database)
    found = screen_of(database).transfers
    told = [(r.version, r.payload, r.received, r.twice, r.saved, r.rate) for r in found.rows]
    assert told == [
        ("3.3.0", "delta+v1", "604 kB", "14.0 kB", "22.2 MB, 97.4 %", "84.0 kB/s"),
        ("3.2.1", "full+zstd", "21.3 MB", "600 kB", "2.10 MB, 9.2 %", "80.0 kB/s"),
    ]
    assert (found.received, found.saved) == ("21.9 MB", "24.3 MB, 53.3 %")
    assert found.summary == (
        "24.3 MB of 45.6 MB saved. 614 kB of what was received came twice, or damaged."
    )
    assert 'width="2.60%"' in found.rows[0].bar
    downloaded = next(s for s in trail(facts_of(database).changes) if s.state == "DOWNLOADED")
    assert "delta+v1: 604 kB received for 590 kB, 22.2 MB saved." in downloaded.sentence


def test_a_transfer_that_goes_on_says_how_much_of_it_is_there(database: Database) -> None:
    half = msgspec.structs.replace(
        story.delta_progress(), verified_bytes=295_000, received_bytes=300_000
    )
    status = msgspec.structs.replace(
        story.rolled_back(), state=State.DOWNLOADING, reason="downloading", progress=half
    )
    transfers = transfers_of(KnownModel(status, story.NOW_S, 0), (), story.NOW_S)
    (row,) = transfers_view(story.MODEL, transfers).rows
    assert (row.received, row.there) == ("300 kB", "295 kB")
    assert transfers_view(story.MODEL, ()).rows == ()


def test_a_device_that_is_away_two_under_one_id_and_a_wrong_clock_are_said_first(
    database: Database,
) -> None:
    away = {"online": False, "seen_s": story.NOW_S - 7200, "clock_off_s": -3600}
    story.tell_story(database, "away", row=away)
    story.tell_story(
        database, "twin", row={"twins_seen_s": story.NOW_S - 60, "twins_why": "runs take turns"}
    )
    screen = screen_of(database, "away")
    assert any("offline, and was heard 2 h ago" in note for note in screen.answer.notes)
    assert "Its clock is 1 h behind ours." in screen.warnings
    assert ("Clock", "1 h behind ours; it says ok") in screen.facts
    twin = screen_of(database, "twin").answer
    assert (twin.tone, twin.sentence) == ("bad", "Two devices use this id.")
    assert "runs take turns" in twin.notes[0]


def test_the_trail_shows_each_evidence_once_where_it_was_new(database: Database) -> None:
    story.tell_story(database)
    steps = trail(facts_of(database).changes)
    assert [step.state for step in steps] == [
        "ROLLED_BACK", "TRIAL", "VERIFIED", "DOWNLOADED", "DOWNLOADING", "QUEUED", "COMMITTED",
        "TRIAL",
    ]  # fmt: skip
    titles = [step.judged.title for step in steps if step.judged is not None]
    assert titles == [
        "Trial of 3.3.0: 1 of 3 checks failed",
        "Probe of 3.3.0: all 4 checks passed",
    ]
    judged = steps[0].judged
    assert judged is not None
    assert judged.is_open
    assert judged.checks[0].name == "latency_p95", "what failed comes first"
    assert "After 3 h 30 min of TRIAL." in steps[0].sentence
    assert steps[-1].judged is None


def test_latency_over_time_is_a_line_for_each_release_with_its_switch_and_limit(
    database: Database,
) -> None:
    story.tell_story(database)
    facts = facts_of(database)
    view = course_view("detector", facts.windows, facts.changes, limits_of(facts), "day", CLOCK)
    assert view.latency is not None
    assert view.memory is not None
    drawn = str(view.latency)
    assert drawn.count('class="switch"') == 2, "it came, and it went"
    assert "trial limit of p95 38.0 ms" in drawn
    assert drawn.count('class="new-l"') == 1
    assert drawn.count('class="old-l"') == 2, "before and after, not joined over the gap between"
    assert (view.new, view.others) == ("3.3.0", ("3.2.1",))
    during = [row for row in view.rows if row.version == "3.3.0"]
    assert 4 <= len(during) <= 5, "a row for each hour"
    assert "limit" in str(view.memory)


def test_a_month_is_made_of_hours_and_nothing_is_an_empty_state(database: Database) -> None:
    story.tell_story(database)
    facts = facts_of(database, span="month")
    view = course_view("detector", facts.windows, facts.changes, limits_of(facts), "month", CLOCK)
    assert view.rows
    nothing = course_view("detector", (), (), limits_of(facts), "day", CLOCK)
    assert nothing.latency is None
    assert nothing.memory is None
    assert nothing.rows == ()


def test_a_device_without_models_and_one_that_nobody_knows(database: Database) -> None:
    story.tell_story(database)
    with database.transaction() as connection:
        connection.execute(device_models.delete())
    screen = screen_of(database)
    assert screen.answer.sentence == "It says nothing of any model yet."
    assert screen.slots == ()
    with pytest.raises(NotFound, match="no device 'nobody' is known"):
        facts_of(database, "nobody")


def test_what_a_device_says_is_bounded(database: Database) -> None:
    tags = {f"key-{n}": "v" * 128 for n in range(1000)}
    files = story.slot("a", *story.OLD).files * 32
    many = msgspec.structs.replace(
        story.rolled_back(),
        active=msgspec.structs.replace(story.slot("a", *story.OLD), files=files),
    )
    story.tell_story(database, tags=tags, status=many)
    screen = screen_of(database)
    assert (len(screen.tags), screen.tags_left) == (64, 936)
    assert (len(screen.slots[0].files), screen.slots[0].left) == (16, 48)


def test_the_history_of_one_device_is_found_by_the_device(database: Database) -> None:
    """SQLite would walk through all that a fleet did with the model: 90 ms of 100,000 devices."""
    story.tell_story(database)
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    with database.reading() as connection:
        event.listen(connection, "before_cursor_execute", note)
        history_of(connection, story.DEVICE, story.MODEL)
        event.remove(connection, "before_cursor_execute", note)
        statement, parameters = asked[0]
        plan = connection.exec_driver_sql(f"explain query plan {statement}", parameters).all()
    assert any("ix_history_device_at_s" in row[3] for row in plan), plan


def test_a_young_history_fills_the_plot(database: Database) -> None:
    story.tell_story(database)
    facts = facts_of(database)
    young = [each for each in facts.windows if each.at_s > story.NOW_S - 1200]
    view = course_view("detector", young, facts.changes, limits_of(facts), "day", CLOCK)
    assert len(view.rows) == len(young), "each of them has a row of its own"
    assert "old-l" in str(view.latency) or "new-l" in str(view.latency)
