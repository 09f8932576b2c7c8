"""What becomes of a notice that comes while the core is busy."""

from __future__ import annotations

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core import state_table
from slotcast_device.core.state_table import FOLLOWS, Happening
from slotcast_schemas.errors import DiskFull, StorageFailed
from slotcast_schemas.states import State
from tests.support.core_shell import DATA, FACTS, PAYLOAD, collecting, trusted
from tests.support.core_story import CONTENT, ISSUED_S, Story, notice, serving

TWO = notice(2)


def test_a_cancel_that_is_being_verified_when_the_last_chunk_comes_is_not_lost() -> None:
    shell = collecting()
    shell.happen(ev.NoticeArrived(b"the cancel"))
    cancel = shell.last(act.Verify)
    assert cancel.data == b"the cancel"
    shell.happen(ev.ChunkArrived(PAYLOAD.sha256, 0, DATA))
    assert shell.core.state.update is not None
    assert shell.core.state.update.state is State.DOWNLOADED
    shell.happen(ev.JobDone(cancel, act.NoticeVerified(trusted("canceled"), FACTS)))
    build = shell.last(act.Build)
    assert shell.last(act.Verify) is cancel  # one job at a time
    shell.happen(ev.JobDone(build, None))
    shell.done(act.ProbeSlot, act.Verdict(passed=True, reason="fit"))
    shell.done(act.Watch, act.Verdict(passed=None, reason="on_trial"))
    again = shell.last(act.Verify)
    assert again is not cancel
    assert again.data == b"the cancel"


@pytest.mark.parametrize("by", [ev.Tick(), ev.NoticeArrived(b"another offer")])
def test_a_way_back_that_storage_stopped_half_way_is_looked_at_before_anything_else(
    by: ev.Event,
) -> None:
    """The record in memory is ahead of `current`: a plan made from it would be made of nothing."""
    shell = collecting()
    shell.happen(ev.ChunkArrived(PAYLOAD.sha256, 0, DATA))
    shell.done(act.Build, None)
    shell.done(act.ProbeSlot, act.Verdict(passed=True, reason="fit"))
    shell.done(act.Watch, act.Verdict(passed=False, reason="errors"))
    shell.done(act.CheckSlot, None)
    back = shell.last(act.Activate)
    before = len(shell.actions)

    shell.happen(ev.ActionFailed(back, StorageFailed("no"), ()))
    wake_s = shell.core.deadline_s
    assert wake_s is not None
    shell.actions += shell.core.handle(by, ev.Now(wake_s, 100))

    jobs = [action for action in shell.actions[before:] if isinstance(action, act.Job)]
    assert jobs == [act.Inspect()]


# --- storage that fails while a job runs ----------------------------------------------------------


def test_what_a_job_gives_does_not_count_once_storage_has_ended_what_it_was_for() -> None:
    """Nothing is under way any more that the spool could be for; and nothing begins beside it."""
    story = Story().begun(serving())
    story.offered(TWO)
    spool = story.asked(act.OpenSpool)
    saved, *rest = story.tell(ev.UnbenchAsked(None))
    story.tell(ev.ActionFailed(saved, StorageFailed("read-only"), tuple(rest)))
    assert story.words[:2] == ("FAILED", "storage_failed")
    assert not story.core.is_settled
    assert story.tell(ev.NoticeArrived(b"another")) == [], "one job at a time"
    actions = story.tell(ev.JobDone(spool, act.Spooled({}, is_empty=True)))
    assert actions == [act.Verify(b"another", ISSUED_S)]


def test_a_look_at_the_disk_waits_for_the_job_that_runs() -> None:
    """The way back is being verified when a save fails: only the disk says how far things are."""
    story = Story().begun(serving())
    story.on_trial(TWO)
    story.done(act.Verdict(passed=False, reason="errors"))
    check = story.asked(act.CheckSlot)
    saved, *rest = story.tell(ev.UnbenchAsked(None))
    story.tell(ev.ActionFailed(saved, StorageFailed("read-only"), tuple(rest)))
    assert not story.core.is_ready
    assert story.core.deadline_s is None
    story.pass_s(60)
    assert story.tell(ev.Tick()) == []
    assert story.tell(ev.JobDone(check)) == []
    assert story.tell(ev.Tick()) == [act.Inspect()]


def test_a_notice_that_is_being_verified_is_not_dealt_with_whatever_ended_meanwhile() -> None:
    """The last chunk comes meanwhile, and the disk is full: the update ends, that look does not."""
    story = Story().begun(serving())
    story.collecting(TWO)
    story.tell(ev.NoticeArrived(b"another"))
    verify = story.asked(act.Verify)
    store, *rest = story.tell(CONTENT.came(0))
    story.tell(ev.ActionFailed(store, DiskFull("no room"), tuple(rest)))
    assert story.words[:2] == ("FAILED", "disk_full")
    assert not story.core.is_settled
    story.tell(ev.JobDone(verify, act.NoticeVerified(notice(1), FACTS)))
    assert story.asked(act.Verify).data == b"another", "it is looked at again: it may be a cancel"
    story.done(act.NoticeVerified(notice(1), FACTS))
    assert story.core.is_settled


def test_a_look_that_was_not_begun_for_a_failed_save_is_made_later() -> None:
    story = Story().begun(serving())
    story.offered(notice(1))
    saved, *rest = story.tell(ev.UnbenchAsked(None))
    assert isinstance(rest[-1], act.Verify)
    story.tell(ev.ActionFailed(saved, StorageFailed("read-only"), tuple(rest)))
    assert story.core.is_at_rest
    _, actions = story.wait()
    assert actions == [*story.saved, rest[-1]]
    story.done(act.NoticeVerified(notice(1), FACTS))
    assert story.core.is_settled


def test_the_job_under_way_counts_though_an_event_beside_it_had_no_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A defect of this software; the cancel that is being verified is obeyed all the same."""
    row = FOLLOWS[State.DOWNLOADING]
    rows = {why: after for why, after in row.items() if why is not Happening.COLLECTED}
    story = Story().begun(serving())
    story.collecting(TWO)
    story.tell(ev.NoticeArrived(b"the cancel"))
    monkeypatch.setattr(state_table, "FOLLOWS", {**FOLLOWS, State.DOWNLOADING: rows})
    said = story.tell(CONTENT.came(0))[0]
    assert isinstance(said, act.Log)
    assert said.text == "internal_error: DOWNLOADING: COLLECTED has no row in the table; kept"
    story.done(act.NoticeVerified(notice(2, state="canceled"), FACTS))
    assert story.words[:2] == ("CANCELED", "canceled")
