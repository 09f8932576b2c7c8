"""What a person asks of a model: go back, try again; now, later, or not at all."""

from __future__ import annotations

import msgspec
import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.state import ModelState
from slotcast_device.core.transfer.transfer_actions import Unsubscribe
from slotcast_schemas.messages.status import BenchedRelease
from slotcast_schemas.states import State
from tests.support.core_story import (
    CONTENT,
    FACTS,
    TOPICS,
    WALL_S,
    Story,
    findings,
    notice,
    on_trial,
    release_of,
    sealed,
    serving,
)

TWO = notice(2)


def test_a_person_goes_back_to_the_release_in_the_standby_slot() -> None:
    story = Story().begun(serving(2, active="b", slots={"a": sealed(1), "b": sealed(2)}))
    assert story.tell(ev.RollBackAsked("by maria")) == [
        act.Log("warning", "rolling back: by_hand: by maria"),
        act.Save(story.core.state),
        act.CheckSlot("a"),
    ]
    assert (story.update.version, story.update.sequence) == ("2.0", 2)
    assert story.update.release_sha256 == TWO.release_sha256
    assert (story.update.slot, story.update.fallback) == ("b", "a")
    assert (story.update.verdict, story.update.reason) == ("by_hand", "by_hand")
    assert (story.update.state, story.update.since) == (State.TRIAL, WALL_S)
    assert story.done() == [
        act.Activate("a"),
        *story.saved,
        act.Notify("after_rollback", release_of(2)),
    ]
    assert story.words == ("ROLLED_BACK", "by_hand", "by maria")
    assert [entry.sequence for entry in story.core.state.benched] == [2]
    assert story.core.state.floor == 2, "an older notice is refused all the same"


def test_a_person_ends_a_trial_and_the_look_under_way_does_not_count() -> None:
    story = on_trial(TWO)
    watch = story.asked(act.Watch)
    actions = story.tell(ev.RollBackAsked("by maria"))
    assert actions[0] == act.Log("warning", "rolling back: by_hand: by maria")
    assert story.job == act.CheckSlot("a")
    assert story.tell(ev.JobDone(watch, act.Verdict(passed=True, reason="passed"))) == []
    story.done()
    assert story.words == ("ROLLED_BACK", "by_hand", "by maria")


def test_a_person_who_asks_twice_is_told_that_it_is_on_its_way() -> None:
    story = Story().begun(serving(2, active="b", slots={"a": sealed(1), "b": sealed(2)}))
    story.tell(ev.RollBackAsked("x"))
    assert story.tell(ev.RollBackAsked("y")) == [
        act.Log("warning", "a roll back is under way already")
    ]
    story.done()
    assert story.words == ("ROLLED_BACK", "by_hand", "x")


@pytest.mark.parametrize(
    "state", [None, serving(), serving(active="b", slots={"b": sealed(1)}), serving(active=None)]
)
def test_there_must_be_a_release_to_go_back_to(state: ModelState | None) -> None:
    story = Story()
    story.done(findings(state, None if state is None else state.active))
    before = story.core.state
    assert story.tell(ev.RollBackAsked()) == [
        act.Log("warning", "cannot roll back: no other release is in the standby slot")
    ]
    assert story.core.state == before


def test_a_release_that_was_never_committed_is_none_to_go_back_to() -> None:
    story = Story().begun(serving(2, active="b", slots={"a": sealed(3), "b": sealed(2)}))
    before = story.core.state
    text = "cannot roll back: 3.0 in the standby slot was never committed"
    assert story.tell(ev.RollBackAsked()) == [act.Log("warning", text)]
    assert story.core.state == before


def test_what_was_committed_last_may_be_gone_back_to_where_another_one_serves() -> None:
    """A hand moved the link to the older slot; the floor is the newer one's."""
    story = Story().begun(serving(2, active="a", slots={"a": sealed(1), "b": sealed(2)}))
    story.tell(ev.RollBackAsked("x"))
    assert story.asked(act.CheckSlot).slot == "b"


def test_nobody_goes_back_in_the_middle_of_a_job() -> None:
    story = Story().begun(serving(2, active="b", slots={"a": sealed(1), "b": sealed(2)}))
    story.building(notice(3))
    assert story.tell(ev.RollBackAsked()) == [
        act.Log("warning", "cannot roll back while DOWNLOADED; ask again later")
    ]


def test_nobody_waits_for_a_download_to_go_back_and_it_begins_again_after_that() -> None:
    """It may take days on a bad link; the release that serves may be a bad one all that time."""
    story = Story().begun(serving(2, active="b", slots={"a": sealed(1), "b": sealed(2)}))
    three = notice(3)
    story.collecting(three)
    taken_up = story.core.state.dropped
    assert story.tell(ev.RollBackAsked("x")) == [
        Unsubscribe((TOPICS.block(CONTENT.sha256, 0),)),
        act.Log("warning", "rolling back: by_hand: x"),
        act.Save(msgspec.structs.replace(story.core.state, dropped=taken_up)),
        act.CheckSlot("a"),
    ]
    assert story.core.transfer is None
    assert isinstance(story.done()[-1], act.Verify)
    assert story.core.state.active == "a"
    assert story.words == ("ROLLED_BACK", "by_hand", "x")
    story.done(act.NoticeVerified(three, FACTS))
    assert story.job == act.OpenSpool(CONTENT.payload, three.release)


def test_nobody_goes_back_to_a_candidate_that_waits_in_the_standby_slot() -> None:
    story = Story().begun(serving(2, active="b", slots={"a": sealed(1), "b": sealed(2)}))
    story.probing(notice(3))
    story.done(act.Verdict(None, "device_busy"))
    assert story.tell(ev.RollBackAsked()) == [
        act.Log("warning", "cannot roll back while VERIFIED; ask again later")
    ]
    assert story.words[:2] == ("VERIFIED", "device_busy")


def test_nobody_goes_back_to_a_release_that_was_never_committed() -> None:
    """It failed its probe, and is in the standby slot only because nothing came after it."""
    story = Story().begun(serving())
    story.probing(TWO)
    story.done(act.Verdict(passed=False, reason="golden_mismatch"))
    before = story.core.state
    assert story.tell(ev.RollBackAsked()) == [
        act.Log("warning", "cannot roll back: 2.0 in the standby slot was never committed")
    ]
    assert story.core.state == before


def test_a_roll_back_that_is_refused_lets_a_download_go_on() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    (said,) = story.tell(ev.RollBackAsked())
    assert isinstance(said, act.Log)
    assert story.core.is_fetching


@pytest.mark.parametrize("event", [ev.RollBackAsked(), ev.UnbenchAsked(None)])
def test_nothing_is_done_by_hand_before_the_record_was_read(event: ev.Event) -> None:
    story = Story()
    assert story.tell(event) == [
        act.Log("warning", "not ready: the durable state was not read (yet)")
    ]


@pytest.mark.parametrize(("sequence", "left"), [(None, []), (2, [3]), (9, [2, 3])])
def test_what_was_benched_may_be_tried_again(sequence: int | None, left: list[int]) -> None:
    entries = tuple(BenchedRelease(sequence=n, version=f"{n}.0", reason="errors") for n in (2, 3))
    story = Story().begun(serving(benched=entries))
    assert story.tell(ev.UnbenchAsked(sequence)) == story.saved
    assert [entry.sequence for entry in story.core.state.benched] == left


def test_a_release_that_may_be_tried_again_is_tried_at_once() -> None:
    story = Story().begun(serving())
    story.probing(TWO)
    story.done(act.Verdict(passed=False, reason="golden_mismatch"))
    actions = story.tell(ev.UnbenchAsked(2))
    assert isinstance(actions[-1], act.Verify)
    story.done(act.NoticeVerified(TWO, FACTS))
    assert isinstance(story.job, act.Build), "its files are there still"
