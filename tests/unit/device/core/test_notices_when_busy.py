"""What becomes of a notice that comes while the core is busy."""

from __future__ import annotations

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.states import State
from tests.support.core_shell import DATA, FACTS, PAYLOAD, collecting, trusted


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
