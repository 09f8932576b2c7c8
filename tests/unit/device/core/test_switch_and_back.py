"""The trial and the way back, action by action: looks, verdicts, recalls, what is in the way."""

from __future__ import annotations

import itertools
import math

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_schemas.errors import SlotDamaged, StorageFailed
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import BenchedRelease, Check, Evidence
from slotcast_schemas.states import State
from tests.support.core_story import (
    SECOND,
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
PENDING = act.Verdict(passed=None, reason="pending", detail="3 of 10 requests")
ERRORS = (Check(name="errors", passed=False, value=0.5, limit=0.01),)


def look(story: Story, after_s: float = 10.0) -> act.Watch:
    """It is pending; the next look comes when it is due."""
    story.done(PENDING)
    assert story.core.deadline_s == story.mono_s + after_s
    story.wait()
    return story.asked(act.Watch)


# --- looks ----------------------------------------------------------------------------------------


def test_a_trial_is_looked_at_now_and_then_and_when_its_time_is_over() -> None:
    story = on_trial(TWO)
    elapsed = [look(story).elapsed_s for _ in range(5)]
    story.pass_s(5)
    elapsed.append(look(story, 5.0).elapsed_s)
    assert [round(s) for s in elapsed] == [10, 20, 30, 40, 50, 60]
    last = look(story, 2.0)
    assert last.elapsed_s == pytest.approx(62)
    assert last == act.Watch("b", "a", TWO.release, last.elapsed_s, 0)


def test_of_a_machine_that_stood_still_no_more_than_fifteen_seconds_count() -> None:
    story = on_trial(TWO)
    story.done(PENDING)
    story.pass_s(40)
    story.tell(ev.Tick())
    assert story.asked(act.Watch).elapsed_s == 15.0


def test_what_a_trial_came_to_is_saved_and_told_when_it_has_grown_enough() -> None:
    story = on_trial(TWO)
    actions = story.done(PENDING)
    assert actions == story.saved, "the first look"
    assert story.words == ("TRIAL", "on_trial", "3 of 10 requests")
    noted = []
    for _ in range(8):
        story.wait()
        if story.done(PENDING):
            noted.append(story.update.trial_s)
    assert [round(s) for s in noted] == [10, 20, 30, 40, 50, 60]


def test_a_long_trial_is_saved_less_and_less_often() -> None:
    story = Story().begun(serving())
    day = Trial(duration_s=86400.0, min_requests=10)
    story.on_trial(notice(2, release=release_of(2, trial=day)))
    noted: list[float] = []
    for _ in range(200):
        if story.done(PENDING):
            noted.append(story.update.trial_s)
        story.wait()
    gaps = [after - before for before, after in itertools.pairwise(noted[1:])]
    assert min(gaps) >= 10.0
    late = [gap for gap, at in zip(gaps, noted[1:], strict=False) if at >= 1000]
    assert min(late) >= 50.0
    assert max(late) <= 0.05 * max(noted) + 10.0


def test_what_it_waits_for_is_told_at_once_when_it_changes() -> None:
    story = on_trial(TWO)
    story.done(PENDING)
    story.pass_s(3)
    story.tell(ev.NoticeArrived(b"x"))  # a job between the looks
    story.failed(StorageFailed("no"))
    story.wait()
    loads = act.Verdict(passed=None, reason="loading", detail="the application loads it")
    assert story.done(loads) == story.saved
    assert story.words[2] == "the application loads it"


def test_restarts_of_the_application_are_kept_and_go_on_from_there() -> None:
    story = on_trial(TWO)
    story.done(act.Verdict(passed=None, reason="pending", restarts=2))
    assert story.update.application_restarts == 2
    again = Story()
    again.done(findings(story.core.state, "b"))
    assert again.asked(act.Watch).restarts == 3, "two of the application, and this start"
    again.done(act.Verdict(passed=None, reason="pending", restarts=1))
    assert again.update.application_restarts == 3


def test_an_orderly_stop_keeps_what_a_trial_came_to() -> None:
    story = on_trial(TWO)
    look(story)
    actions = story.core.stop(story.now)
    assert actions == [act.Save(story.core.state)]
    assert (story.update.stopped, story.update.trial_s) == (True, 10.0)
    again = Story()
    actions = again.done(findings(story.core.state, "b"))
    assert again.update.stopped is False
    assert again.update.restarts == 0
    watch = again.asked(act.Watch)
    assert (watch.elapsed_s, watch.restarts) == (10.0, 0)


def test_a_stop_has_nothing_to_keep_where_nothing_is_on_trial() -> None:
    assert Story().core.stop(Story().now) == []
    story = Story().begun(serving())
    assert story.core.stop(story.now) == []
    story = on_trial(TWO)
    story.done(act.Verdict(passed=False, reason="errors"))
    assert story.core.stop(story.now) == [], "it is on its way back"


def test_a_note_that_cannot_be_saved_does_not_end_a_trial() -> None:
    story = on_trial(TWO)
    note, report = story.done(PENDING)
    actions = story.tell(ev.ActionFailed(note, StorageFailed("full"), (report,)))
    assert actions == [act.Log("warning", "storage_failed: full"), act.PublishStatus()]
    assert story.words[:2] == ("TRIAL", "on_trial")
    story.wait()
    assert isinstance(story.job, act.Watch)
    assert story.core.is_ready


# --- back -----------------------------------------------------------------------------------------


def test_a_failed_trial_records_its_verdict_verifies_the_old_slot_and_goes_back() -> None:
    story = on_trial(TWO)
    story.pass_s(7)
    verdict = act.Verdict(passed=False, reason="errors", detail="5 of 10", checks=ERRORS)
    assert story.done(verdict) == [
        act.Log("warning", "rolling back: errors: 5 of 10"),
        act.Save(story.core.state),
        act.CheckSlot("a"),
    ]
    assert story.asked(act.CheckSlot).record == sealed(1)
    assert (story.update.state, story.update.verdict) == (State.TRIAL, "errors")
    assert (story.update.detail, story.update.since) == ("5 of 10", WALL_S + 7)
    assert story.update.evidence == Evidence(sequence=2, checks=ERRORS)

    story.pass_s(1)
    assert story.done() == [
        act.Activate("a"),
        *story.saved,
        act.Notify("after_rollback", TWO.release),
    ]
    assert story.words == ("ROLLED_BACK", "errors", "5 of 10")
    assert story.update.since == WALL_S + 8
    assert (story.core.state.active, story.core.state.floor) == ("a", 1)
    entry = BenchedRelease(sequence=2, version="2.0", reason="errors", attempt=1)
    assert story.core.state.benched == (entry,)
    assert story.core.status().benched == (entry,)
    assert story.core.is_settled
    assert story.core.deadline_s is None


def test_where_the_old_slot_is_damaged_the_new_release_stays_unfit_as_it_is() -> None:
    story = on_trial(TWO)
    story.done(act.Verdict(passed=False, reason="errors"))
    assert story.failed(SlotDamaged("slot a has other bytes")) == [
        act.Log("critical", "cannot roll back: slot a has other bytes"),
        *story.saved,
    ]
    assert story.words == ("ROLLED_BACK", "no_way_back", "errors, but slot a has other bytes")
    assert story.core.state.active == "b"
    assert story.core.is_settled


@pytest.mark.parametrize("kind", [act.Save, act.Activate])
def test_a_switch_that_storage_stops_is_looked_at_again_as_after_a_restart(
    kind: type[act.Action],
) -> None:
    story = Story().begun(serving())
    story.probing(TWO)
    actions = story.done(act.Verdict(passed=True, reason="fit"))
    number, action = next((n, a) for n, a in enumerate(actions) if isinstance(a, kind))
    failure = ev.ActionFailed(action, StorageFailed("read-only"), tuple(actions[number + 1 :]))
    assert story.tell(failure) == [
        act.Log("error", "storage_failed: read-only"),
        act.PublishStatus(),
    ]
    assert story.words[2] == "storage_failed: read-only; trying again"
    assert not story.core.is_ready
    assert story.core.is_at_rest
    assert story.core.stop(story.now) == []
    waited_s, asked = story.wait()
    assert (waited_s, asked) == (15.0, [act.Inspect()])


def test_a_look_at_the_disk_after_that_makes_the_switch_again_and_is_no_restart() -> None:
    story = Story().begun(serving())
    story.probing(TWO)
    actions = story.done(act.Verdict(passed=True, reason="fit"))
    saved = actions[0]
    assert isinstance(saved, act.Save)
    story.tell(ev.ActionFailed(actions[2], StorageFailed("read-only"), tuple(actions[3:])))
    story.wait()
    asked = story.done(findings(saved.state, "a"))
    assert [type(action) for action in asked] == [
        act.PublishStatus, act.Activate, act.Save, act.PublishStatus, act.Watch,
    ]  # fmt: skip
    assert asked[1] == act.Activate("b")
    assert story.words[:2] == ("TRIAL", "on_trial")
    assert story.update.restarts == 0


def test_a_look_that_could_not_be_held_is_tried_again() -> None:
    story = on_trial(TWO)
    assert story.failed(StorageFailed("no file")) == [
        act.Log("error", "storage_failed: no file"),
        act.PublishStatus(),
    ]
    assert story.words == ("TRIAL", "on_trial", "storage_failed: no file; trying again")
    assert story.core.is_ready
    waited_s, actions = story.wait()
    assert waited_s == 15.0
    assert isinstance(actions[-1], act.Watch)


# --- the probe ------------------------------------------------------------------------------------


def test_a_release_that_fails_its_probe_is_benched_without_a_switch() -> None:
    story = Story().begun(serving())
    story.probing(TWO)
    story.pass_s(5)
    verdict = act.Verdict(False, "golden_mismatch", "3 of 4", checks=ERRORS)
    assert story.done(verdict) == [
        act.Log("warning", "the probe failed: golden_mismatch: 3 of 4"),
        *story.saved,
        act.Notify("refused", TWO.release),
    ]
    assert story.words == ("FAILED", "golden_mismatch", "3 of 4")
    assert story.update.since == WALL_S + 5
    assert story.update.evidence == Evidence(sequence=2, checks=ERRORS)
    entry = BenchedRelease(sequence=2, version="2.0", reason="golden_mismatch", attempt=1)
    assert story.core.state.benched == (entry,)
    assert story.core.state.active == "a"
    assert story.core.is_settled


def test_a_device_too_busy_to_judge_says_when_it_looks_again() -> None:
    story = Story().begun(serving())
    story.probing(TWO)
    busy = act.Verdict(None, "device_busy", "load 9", checks=ERRORS)
    for wait_s in (60, 120, 240, 480, 900, 900):
        probe = story.asked(act.ProbeSlot)
        assert story.done(busy) == [
            act.Log("warning", f"device_busy: load 9; it is probed again in {wait_s} s"),
            *story.saved,
        ]
        assert story.words == ("VERIFIED", "device_busy", "load 9")
        assert story.update.evidence == Evidence(sequence=2, checks=ERRORS)
        assert story.wait() == (float(wait_s), [probe])
    story.done(act.Verdict(passed=False, reason="golden_mismatch"))
    story.probing(notice(3, payloads=(SECOND.payload,)), SECOND)
    story.done(busy)
    assert story.wait()[0] == 60.0, "another release begins with short waits"


def test_a_clock_that_was_set_ends_the_wait_for_a_quiet_device() -> None:
    story = Story().begun(serving())
    story.probing(TWO)
    probe = story.asked(act.ProbeSlot)
    story.done(act.Verdict(None, "device_busy"))
    story.tell(ev.ClockMoved())
    story.failed(StorageFailed("no"))  # the notice is looked at again first
    assert story.core.deadline_s is not None
    story.mono_s = story.core.deadline_s
    assert probe in story.tell(ev.Tick())


def test_figures_that_are_none_are_not_sent() -> None:
    checks = (
        Check(name="finite", passed=False, value=math.nan, limit=1.0, reference=math.inf),
        Check(name="latency", passed=True, value=0.5, limit=-math.inf, reference=0.25),
        Check(name="none", passed=True),
    )
    story = Story().begun(serving())
    story.probing(TWO)
    story.done(act.Verdict(passed=False, reason="nonfinite_output", checks=checks))
    assert story.update.evidence is not None
    assert story.update.evidence.checks == (
        Check(name="finite", passed=False, value=None, limit=1.0, reference=None),
        Check(name="latency", passed=True, value=0.5, limit=None, reference=0.25),
        Check(name="none", passed=True),
    )
