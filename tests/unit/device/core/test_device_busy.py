"""A device too busy to judge a model waits and probes again; it benches nothing for that."""

from __future__ import annotations

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.installation import BUSY_CAP_S, BUSY_FIRST_S
from slotcast_device.core.state import ModelState
from slotcast_schemas.states import State
from tests.support.core_shell import DATA, FACTS, PAYLOAD, Shell, collecting, trusted

BUSY = act.Verdict(passed=None, reason="device_busy", detail="1.9 x the active model")


def probing(state: ModelState | None = None) -> Shell:
    """A core that has a release whole in a slot, nothing else, and asked for a probe of it."""
    shell = collecting(state)
    shell.happen(ev.ChunkArrived(PAYLOAD.sha256, 0, DATA))
    shell.done(act.Build, None)
    return shell


def waited(shell: Shell, since_s: float) -> float:
    """Let the wait be over; gives how long it was."""
    deadline_s = shell.core.deadline_s
    assert deadline_s is not None
    jobs = len(shell.actions)
    shell.happen(ev.Tick(), deadline_s - 0.001)
    assert len(shell.actions) == jobs
    shell.happen(ev.Tick(), deadline_s)
    assert len(shell.actions) == jobs + 1
    return deadline_s - since_s


def test_it_says_so_and_stays_verified() -> None:
    shell = probing()
    shell.done(act.ProbeSlot, BUSY)
    status = shell.core.status()
    assert (status.state, status.reason) == (State.VERIFIED, "device_busy")
    assert "1.9 x" in status.detail
    assert status.benched == ()
    assert shell.last(act.Save).state.update == shell.core.state.update
    assert "probed again in" in shell.last(act.Log).text


def test_it_probes_the_same_slot_again_after_waits_that_grow_up_to_a_bound() -> None:
    shell = probing()
    first = shell.last(act.ProbeSlot)
    waits_s, now_s = [], 1.0
    for _ in range(12):
        shell.happen(ev.JobDone(shell.last(act.ProbeSlot), BUSY), now_s)
        waits_s.append(waited(shell, now_s))
        now_s += waits_s[-1]
        assert shell.last(act.ProbeSlot) == first
    assert 0 < waits_s[0] <= BUSY_FIRST_S
    assert BUSY_FIRST_S < max(waits_s) <= BUSY_CAP_S


def test_a_verdict_after_that_counts_as_any_other() -> None:
    for passed, state in ((True, State.TRIAL), (False, State.FAILED)):
        shell = probing()
        shell.done(act.ProbeSlot, BUSY)
        waited(shell, 1.0)
        shell.done(act.ProbeSlot, act.Verdict(passed=passed, reason="golden_mismatch"))
        assert shell.core.status().state is state


def test_it_waits_for_nothing_where_all_that_served_is_lost() -> None:
    """A rebuilt release of which nothing bad is known serves on trial: better than none."""
    shell = probing(ModelState(model="detector", floor=1))
    shell.done(act.ProbeSlot, BUSY)
    assert shell.core.status().state is State.TRIAL
    shell = probing(ModelState(model="detector", floor=1))
    shell.done(act.ProbeSlot, act.Verdict(passed=False, reason="golden_mismatch"))
    assert shell.core.status().state is State.FAILED


def test_a_cancel_ends_the_wait() -> None:
    shell = probing()
    shell.done(act.ProbeSlot, BUSY)
    shell.happen(ev.NoticeArrived(b"the cancel"))
    shell.done(act.Verify, act.NoticeVerified(trusted("canceled"), FACTS))
    assert shell.core.status().state is State.CANCELED
    assert shell.core.deadline_s is None
