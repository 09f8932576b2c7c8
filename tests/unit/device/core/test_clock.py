"""Notices that end, clocks that are wrong and are set: what the core makes of time."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.signed_time import (
    BUILT_S,
    SLACK_S,
    ClockWatch,
    clock_word,
    moment,
    notice_word,
)
from slotcast_device.core.state import ModelState
from slotcast_device.core.transfer.transfer_actions import Unsubscribe
from slotcast_schemas.errors import Expired
from tests.support.core_story import (
    CONTENT,
    FACTS,
    ISSUED_S,
    TOPICS,
    WALL_S,
    Story,
    findings,
    notice,
    serving,
)

DAY_S = 86400
TWO = notice(2)
ENDS_S = WALL_S + DAY_S
GOOD = notice(2, expires_s=ENDS_S)
FILTER = TOPICS.block(CONTENT.sha256, 0)


# --- the last good notice ends --------------------------------------------------------------------


def test_the_end_of_the_last_good_notice_is_known_and_said_once_when_it_comes() -> None:
    story = Story().begun(serving())
    story.offered(notice(1, expires_s=ENDS_S))
    status = story.core.status()
    assert (status.notice, status.notice_expires) == ("valid", ENDS_S)
    assert story.core.state.notice_expires == ENDS_S
    waited_s, actions = story.wait()
    assert waited_s == DAY_S
    assert actions == []
    story.wall_s = ENDS_S  # each whole second is counted once only
    story.tell(ev.ClockMoved())
    assert story.core.status().notice == "stale"


def test_a_stale_notice_is_said_and_a_new_one_ends_that() -> None:
    story = Story()
    stale = serving(notice_expires=WALL_S, signed_time=ISSUED_S)
    text = (
        f"stale: the last notice's signatures ended at {moment(WALL_S)}; the publisher must"
        " refresh it (`slotcast refresh`)"
    )
    assert story.done(findings(stale, "a")) == [
        act.Log("warning", text),
        act.PublishStatus(),
        act.PublishStatus(),
    ]
    assert story.core.status().notice == "stale"
    assert story.core.deadline_s is None
    assert story.tell(ev.ClockMoved()) == []
    assert story.offered(notice(1, expires_s=ENDS_S)) == story.saved
    assert story.core.status().notice == "valid"
    assert story.core.deadline_s == story.mono_s + DAY_S


def test_a_clock_set_back_makes_a_stale_notice_good_again() -> None:
    story = Story()
    story.done(findings(serving(notice_expires=WALL_S), "a"))
    story.wall_s -= 60
    assert story.tell(ev.ClockMoved()) == [act.PublishStatus()]
    assert story.core.status().notice == "valid"
    assert story.core.deadline_s == story.mono_s + 60
    story.wall_s += 59
    story.mono_s += 60
    assert story.tell(ev.Tick()) == [], "a second is left"
    assert story.core.deadline_s == story.mono_s + 1


def test_waits_for_an_end_far_away_are_bounded() -> None:
    story = Story()
    story.done(findings(serving(notice_expires=WALL_S * 3), "a"))
    assert story.core.deadline_s == story.mono_s + 366 * DAY_S


# --- notices past their end -----------------------------------------------------------------------


def test_a_notice_past_its_end_is_refused_and_says_by_which_clock() -> None:
    story = Story().begun(serving())
    story.offered(notice(2, expires_s=WALL_S))
    assert story.words == (
        "REJECTED",
        "expired",
        (
            f"its signatures ended at {moment(WALL_S)}, and this device's clock says"
            f" {moment(WALL_S)}; the publisher must refresh it, or the clock must be set"
        ),
    )
    assert story.core.state.signed_time == 0, "nothing was learnt from it"
    assert (story.update.version, story.update.sequence) == ("2.0", 2)


def test_a_notice_past_what_was_signed_before_is_refused_on_a_clock_that_is_behind() -> None:
    story = Story().begun(serving(signed_time=ENDS_S))
    story.wall_s = 1000
    story.offered(notice(2, expires_s=ENDS_S, is_newer=False))
    assert story.words == (
        "REJECTED",
        "expired",
        (
            f"its signatures ended at {moment(ENDS_S)}, and a notice that came before was signed"
            f" at {moment(ENDS_S)}; the publisher must refresh it (this device's clock is behind:"
            " 1970-01-01 00:16+00:00)"
        ),
    )


def test_the_signed_time_runs_on_while_the_agent_does() -> None:
    story = Story().begun(serving(signed_time=ENDS_S - 100))
    story.wall_s = 1000
    story.mono_s += 99.5
    story.offered(notice(2, expires_s=ENDS_S, is_newer=False))
    assert story.words[0] == "DOWNLOADING"
    story = Story().begun(serving(signed_time=ENDS_S - 100))
    story.wall_s = 1000
    story.mono_s += 100
    story.offered(notice(2, expires_s=ENDS_S, is_newer=False))
    assert story.words[:2] == ("REJECTED", "expired")


def test_a_signed_time_that_was_just_learnt_begins_to_run_now() -> None:
    story = Story().begun(serving())
    story.wall_s = 1000
    story.mono_s += 5000
    story.offered(notice(1, issued=ENDS_S - 100))
    story.mono_s += 99
    story.offered(notice(2, expires_s=ENDS_S, issued=ISSUED_S, is_newer=False))
    assert story.words[0] == "DOWNLOADING"
    assert story.core.state.signed_time == ENDS_S - 100, "an older one takes nothing back"
    assert story.core.state.notice_expires == ENDS_S


def test_a_newer_notice_may_say_that_it_is_earlier_than_was_believed() -> None:
    story = Story().begun(serving(signed_time=ENDS_S + 50))
    story.wall_s = 1000
    story.offered(notice(2, expires_s=ENDS_S, issued=ISSUED_S))
    assert story.words[0] == "DOWNLOADING"
    assert story.core.state.signed_time == ISSUED_S


def test_a_notice_signed_after_its_own_end_says_nothing_about_time() -> None:
    story = Story().begun(serving(signed_time=ISSUED_S))
    story.offered(notice(2, expires_s=WALL_S + 1, issued=WALL_S + 1, is_newer=False))
    assert story.core.state.signed_time == ISSUED_S
    story = Story().begun(serving(signed_time=ISSUED_S))
    story.offered(notice(2, expires_s=WALL_S + 1, issued=WALL_S, is_newer=False))
    assert story.core.state.signed_time == WALL_S


def test_a_notice_refused_for_its_end_is_looked_at_again_when_the_clock_is_set() -> None:
    story = Story().begun(serving())
    story.wall_s = ENDS_S + 5
    story.tell(ev.NoticeArrived(b"two"))
    story.failed(Expired("its signatures ended"))
    assert story.words[:2] == ("REJECTED", "expired")
    assert story.core.deadline_s is None
    story.wall_s = WALL_S
    assert story.tell(ev.ClockMoved()) == [act.Verify(b"two", 0)]
    story.done(act.NoticeVerified(GOOD, FACTS))
    assert story.words[0] == "DOWNLOADING"
    story.tell(ev.ConnectionLost())
    story.tell(ev.ClockMoved())
    assert story.asked(act.OpenSpool).payload == CONTENT.payload, "it is not under way twice"


def test_a_notice_that_was_good_is_not_looked_at_for_the_clock_when_nothing_is_under_way() -> None:
    story = Story().begun(serving())
    story.offered(notice(1))
    assert story.tell(ev.ClockMoved()) == []


def test_what_is_under_way_ends_where_the_clock_that_was_set_says_it_expired() -> None:
    story = Story().begun(serving())
    story.tell(ev.NoticeArrived(b"two"))

    good = replace(GOOD, notice_sha256=hashlib.sha256(b"two").digest())
    story.done(act.NoticeVerified(good, FACTS))
    story.done(act.Spooled({0: CONTENT.map}, is_empty=True))
    story.wall_s = ENDS_S
    actions = story.tell(ev.ClockMoved())
    assert act.Verify(b"two", ISSUED_S) in actions
    actions = story.done(act.NoticeVerified(good, FACTS))
    assert actions[0] == Unsubscribe((FILTER,))
    assert story.words[:2] == ("REJECTED", "expired")
    assert story.core.transfer is None


def test_another_expired_notice_does_not_end_what_is_under_way() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    story.tell(ev.NoticeArrived(b"old"))
    story.failed(Expired("it ended"))
    assert story.core.is_fetching
    assert story.words[2] == "another notice was refused: expired: it ended"


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("by_s", "moved"), [(0, False), (4, False), (5, True), (-5, True)])
def test_a_clock_was_set_if_it_moved_five_seconds_against_the_other(by_s: int, moved: bool) -> None:
    watch = ClockWatch()
    assert not watch.moved(ev.Now(10.0, WALL_S))
    assert watch.moved(ev.Now(20.0, WALL_S + 10 + by_s)) is moved
    assert not watch.moved(ev.Now(30.0, WALL_S + 20 + by_s)), "said once"


def test_a_clock_that_is_set_does_not_hasten_the_looks_at_a_trial() -> None:
    story = Story().begun(serving())
    story.on_trial(notice(2))
    story.done(act.Verdict(passed=None, reason="pending"))
    deadline_s = story.core.deadline_s
    story.tell(ev.ClockMoved())
    assert story.core.deadline_s == deadline_s


def test_a_clock_that_is_set_twice_in_a_row_is_noticed_twice() -> None:
    watch = ClockWatch()
    moved = [watch.moved(ev.Now(float(n), WALL_S + n + 3600 * n)) for n in range(3)]
    assert moved == [False, True, True]


def test_small_moves_add_up() -> None:
    watch = ClockWatch()
    moved = [watch.moved(ev.Now(float(n), WALL_S + n + 2 * n)) for n in range(4)]
    assert moved == [False, False, False, True]


MODEL = ModelState(model="m", signed_time=WALL_S, notice_expires=ENDS_S)
BUILT = int(BUILT_S)


@pytest.mark.parametrize(
    ("wall_s", "states", "root_s", "word"),
    [
        (BUILT - SLACK_S, [], None, "ok"),
        (BUILT - SLACK_S - 1, [], None, "behind"),
        (WALL_S - SLACK_S, [MODEL], None, "ok"),
        (WALL_S - SLACK_S - 1, [MODEL], None, "behind"),
        (ENDS_S - 1, [MODEL], float(WALL_S), "ok"),
        (ENDS_S, [MODEL], float(WALL_S), "ahead"),
        (ENDS_S, [MODEL], ENDS_S + 1.0, "ok"),
        (ENDS_S, [MODEL], None, "ok"),
        (WALL_S, [], float(WALL_S), "ahead"),
        (WALL_S, [], WALL_S + 1.0, "ok"),
    ],
)
def test_a_clock_is_judged_by_what_it_saw_signed(
    wall_s: int, states: list[ModelState], root_s: float | None, word: str
) -> None:
    assert clock_word(wall_s, states, root_s) == word


@pytest.mark.parametrize(
    ("state", "wall_s", "word"),
    [
        (ModelState(model="m"), WALL_S, "none"),
        (MODEL, ENDS_S - 1, "valid"),
        (MODEL, ENDS_S, "stale"),
        (ModelState(model="m", signed_time=ENDS_S, notice_expires=ENDS_S), 0, "stale"),
    ],
)
def test_a_notice_is_judged_by_the_later_of_two_times(
    state: ModelState, wall_s: int, word: str
) -> None:
    assert notice_word(state, wall_s) == word


def test_times_are_written_for_people() -> None:
    assert moment(0) == "1970-01-01 00:00+00:00"
    assert moment(1_790_000_100) == "2026-09-21 14:15+00:00"
    assert moment(10**15) == f"{10**15} s after 1970"
