"""What an offer does that is settled, for others, paused, canceled, or of another release."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.notice_review import LONG_TRIAL_S
from slotcast_device.core.plan import PLAN_AGAIN_S
from slotcast_device.core.state import unknown_release
from slotcast_device.core.transfer.transfer_actions import Unsubscribe
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.states import State
from tests.support.core_story import (
    CONTENT,
    FACTS,
    ISSUED_S,
    SECOND,
    TOPICS,
    WALL_S,
    Story,
    notice,
    release_of,
    sealed,
    serving,
)

TWO = notice(2)
FILTER = TOPICS.block(CONTENT.sha256, 0)


def test_what_serves_already_settles_it() -> None:
    one = notice(1)
    state = serving(slots={"a": sealed(1)})
    story = Story().begun(state)
    assert story.offered(one) == story.saved
    assert story.words == ("IDLE", "up_to_date", "")
    assert (story.update.version, story.update.since) == ("1.0", WALL_S)
    assert story.core.is_settled
    assert story.offered(one) == []


def test_a_commit_is_not_made_less_of_by_the_notice_that_asked_for_it() -> None:
    story = Story().begun(serving())
    story.on_trial(TWO)
    story.done(act.Verdict(passed=True, reason="passed"))
    assert story.offered(TWO) == []
    assert story.words[:2] == ("COMMITTED", "committed")
    assert story.offered(notice(2, groups=())) == [], "up to date comes first"
    three = notice(3, groups=())
    assert story.offered(three) == story.saved
    assert story.words == ("IDLE", "not_in_group", "")


def test_a_notice_for_others_ends_what_is_under_way() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    assert story.offered(notice(2, groups=())) == [Unsubscribe((FILTER,)), *story.saved]
    assert story.words == ("IDLE", "not_in_group", "")
    assert not story.core.is_fetching
    assert story.core.deadline_s is None


def test_a_pause_stops_what_is_under_way_and_keeps_its_chunks() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    paused = notice(2, state="paused", attempt=3, deployment="spring")
    assert story.offered(paused) == [Unsubscribe((FILTER,)), *story.saved]
    assert (story.update.version, story.update.sequence) == ("2.0", 2)
    assert story.update.release_sha256 == paused.release_sha256
    assert (story.update.attempt, story.update.deployment) == (3, "spring")
    assert story.words == ("QUEUED", "paused", "")
    assert story.update.group == "all"
    assert story.core.is_settled
    assert story.core.deadline_s is None
    story.pass_s(50)
    assert story.offered(paused) == [], "nothing is new"
    assert story.update.since == WALL_S
    story.offered(notice(2, issued=ISSUED_S + 1))
    assert isinstance(story.job, act.OpenSpool)


@pytest.mark.parametrize(
    ("state", "reason"), [(State.FAILED, "slot_damaged"), (State.IDLE, "not_in_group")]
)
def test_what_was_said_of_a_release_is_over_once_it_is_wanted_and_serves(
    state: State, reason: str
) -> None:
    said = replace(unknown_release(state, reason, "before"), version="1.0", sequence=1)
    story = Story().begun(serving(update=said))
    assert story.offered(notice(1)) == story.saved
    assert story.words == ("IDLE", "up_to_date", "")
    assert story.offered(notice(1)) == []


def test_where_another_release_was_committed_this_one_is_said_to_be_up_to_date() -> None:
    """A hand moved the link back to it."""
    two = replace(unknown_release(State.COMMITTED, "committed", ""), version="2.0", sequence=2)
    story = Story().begun(serving(update=two))
    assert story.offered(notice(1)) == story.saved
    assert story.words[:2] == ("IDLE", "up_to_date")


def test_a_cancel_drops_the_chunks() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    canceled = notice(2, state="canceled")
    assert story.offered(canceled) == [Unsubscribe((FILTER,)), act.DropSpool(), *story.saved]
    assert story.words == ("CANCELED", "canceled", "")
    assert story.update.group == "all"
    story.pass_s(50)
    assert story.offered(canceled) == []
    assert story.update.since == WALL_S


def test_a_cancel_on_trial_goes_back() -> None:
    story = Story().begun(serving())
    story.on_trial(TWO)
    story.done(act.Verdict(passed=None, reason="pending"))
    actions = story.offered(notice(2, state="canceled"))
    assert actions[0] == act.Log("warning", "rolling back: canceled: the publisher canceled it")
    assert story.job == act.CheckSlot("a")
    story.done()
    assert story.words == ("ROLLED_BACK", "canceled", "the publisher canceled it")


def test_a_long_trial_ends_at_once_where_another_release_is_to_be_installed() -> None:
    """As when a stolen key signed it: whoever has the keys now is not kept waiting for months."""
    story = Story().begun(serving())
    story.on_trial(notice(release=release_of(2, trial=Trial(duration_s=30 * 86400.0))))
    story.done(act.Verdict(passed=None, reason="pending"))
    story.offered(notice(3))
    assert story.job == act.CheckSlot("a")
    actions = story.done()
    assert story.words[:2] == ("ROLLED_BACK", "superseded")
    assert [action for action in actions if isinstance(action, act.Verify)], "it is looked at now"


def test_a_trial_that_waits_for_requests_keeps_another_release_for_an_hour_at_most() -> None:
    trial = Trial(min_requests=10**9, deadline_s=90 * 86400.0)
    story = Story().begun(serving())
    story.on_trial(notice(release=release_of(2, trial=trial)))
    story.done(act.Verdict(passed=None, reason="pending"))
    story.offered(notice(3))
    assert story.words[:2] == ("TRIAL", "on_trial")
    waited_s = 0.0
    while story.words[0] == "TRIAL" and not story.update.verdict and waited_s < 2 * LONG_TRIAL_S:
        step_s, _ = story.wait()
        waited_s += step_s
        story.done(act.Verdict(passed=None, reason="pending"))
        if isinstance(story.job, act.Verify):
            story.done(act.NoticeVerified(notice(3), FACTS))
    assert LONG_TRIAL_S <= waited_s < LONG_TRIAL_S + 120
    story.done()
    assert story.words[:2] == ("ROLLED_BACK", "superseded")


@pytest.mark.parametrize(
    ("trial", "offer"),
    [
        (Trial(duration_s=1800.0), {}),
        (Trial(duration_s=30 * 86400.0), {"groups": ()}),
        (Trial(duration_s=30 * 86400.0), {"state": "paused"}),
    ],
    ids=["it is over soon", "for other devices", "paused"],
)
def test_otherwise_a_trial_goes_on_to_its_end(trial: Trial, offer: dict[str, Any]) -> None:
    story = Story().begun(serving())
    story.on_trial(notice(release=release_of(2, trial=trial)))
    story.done(act.Verdict(passed=None, reason="pending"))
    story.offered(notice(3, **offer))
    assert story.words[:2] == ("TRIAL", "on_trial")


def test_a_metered_link_waits_and_is_planned_anew() -> None:
    story = Story().begun(serving())
    assert story.offered(TWO, msgspec.structs.replace(FACTS, is_metered=True)) == story.saved
    assert story.words == ("QUEUED", "metered_link", "")
    assert not story.core.is_settled, "it goes on by itself"
    waited_s, actions = story.wait()
    assert waited_s == PLAN_AGAIN_S
    assert isinstance(actions[0], act.Verify)
    story.done(act.NoticeVerified(TWO, FACTS))
    assert isinstance(story.job, act.OpenSpool)


def test_whole_images_are_counted_by_the_day_that_is_known() -> None:
    facts = msgspec.structs.replace(FACTS, full_bytes_per_day=1500)
    story = Story().begun(serving())
    story.offered(TWO, facts)
    three = notice(3, payloads=(SECOND.payload,))
    story.done(act.Spooled({0: CONTENT.map}, is_empty=True))
    story.offered(three, facts)
    assert story.words[:2] == ("QUEUED", "byte_budget")
    story.wall_s += 86400
    assert isinstance(story.tell(ev.ClockMoved())[0], act.Verify)
    story.done(act.NoticeVerified(three, facts))
    assert isinstance(story.job, act.OpenSpool)
    assert story.core.state.full_day == (WALL_S + 86400) // 86400
    assert story.core.state.full_bytes == 1024
