"""A trial in the core: its time is what was watched, and an orderly stop costs nothing."""

from __future__ import annotations

import random
from typing import TypeVar

import pytest
from msgspec.structs import replace
from msgspec.structs import replace as changed

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core import state_table
from slotcast_device.core.model import ModelCore
from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import ModelState, SlotName, Update, record_of
from slotcast_device.core.state_table import FOLLOWS, Happening
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import Check
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics
from tests.support import messages

DAY_S = 86400.0
OLD = messages.release(version="1", sequence=1)
NEW = messages.release(version="2", sequence=2, trial=Trial(duration_s=DAY_S, max_restarts=2))
RELEASES: dict[SlotName, Release] = {"a": OLD, "b": NEW}
SEALED = {slot: record_of(r, bytes([n]) * 32) for n, (slot, r) in enumerate(RELEASES.items())}
BEGUN = ModelState(
    model="clf",
    active="a",
    slots=dict(SEALED),
    update=Update(
        version="2",
        sequence=2,
        release_sha256=b"",
        state=State.ACTIVATING,
        reason="switching",
        slot="b",
        fallback="a",
    ),
)
WAITS = act.Verdict(None, "pending", "12 of 20 requests, 40 of 300 s")
A_CHECK = Check(name="errors", passed=True, value=0.0)
T = TypeVar("T")


class Run:
    """One run of a core whose release is on trial, on a disk that keeps what was saved."""

    def __init__(self, saved: ModelState = BEGUN, *, wall_s: int = 1_790_000_000) -> None:
        self.core = ModelCore("clf", "cam-1", Topics(), random.Random(1))
        self.saved = saved
        self.mono_s = 50.0
        self.wall_s = wall_s
        self.actions: list[act.Action] = []
        self.does(self.core.start())
        current: SlotName = "a" if saved is BEGUN else "b"
        findings = Findings(saved, current, SEALED, RELEASES, frozenset(RELEASES))
        self.happen(ev.JobDone(self.last(act.Inspect), findings))

    def does(self, actions: list[act.Action]) -> None:
        """Carry out what is durable, note the rest."""
        self.actions += actions
        for action in actions:
            if isinstance(action, act.Save):
                self.saved = action.state

    def happen(self, event: ev.Event) -> None:
        self.does(self.core.handle(event, ev.Now(self.mono_s, self.wall_s)))

    def last(self, kind: type[T]) -> T:
        return next(action for action in reversed(self.actions) if isinstance(action, kind))

    def count(self, kind: type[act.Action]) -> int:
        return sum(isinstance(action, kind) for action in self.actions)

    def look(self, verdict: act.Verdict = WAITS, *, after_s: float = 10.0) -> act.Watch:
        """Have the look under way end, let time pass, and give the look that is begun then."""
        self.happen(ev.JobDone(self.last(act.Watch), verdict))
        self.mono_s += after_s
        self.wall_s += int(after_s)
        self.happen(ev.Tick())
        return self.last(act.Watch)

    def stop(self) -> None:
        self.does(self.core.stop(ev.Now(self.mono_s, self.wall_s)))

    @property
    def update(self) -> Update:
        assert self.saved.update is not None
        return self.saved.update


@pytest.mark.parametrize("jump_s", [-1_790_000_000, -60, 3600, 10**9])
def test_a_clock_that_jumps_changes_nothing_of_a_trials_time(jump_s: int) -> None:
    run = Run()
    run.look()
    run.wall_s += jump_s
    assert run.look().elapsed_s == pytest.approx(20.0)


def test_time_that_was_watched_counts_over_restarts_and_time_that_was_not_does_not() -> None:
    first = Run()
    for _ in range(30):
        first.look()
    second = Run(first.saved, wall_s=first.wall_s + 7 * 86400)  # a kill, and a week in a drawer
    kept_s = second.last(act.Watch).elapsed_s
    assert 300.0 / 1.05 - 10.0 <= kept_s <= 300.0
    assert second.look().elapsed_s == pytest.approx(kept_s + 10.0)


def test_a_record_of_an_older_version_on_trial_begins_its_time_anew() -> None:
    before = changed(BEGUN, update=changed(Run().update, trial_began=1, trial_s=0.0))
    assert Run(before).last(act.Watch).elapsed_s == 0.0


def test_stopping_in_order_keeps_the_time_and_is_no_restart_however_often() -> None:
    saved = BEGUN
    for stops in range(10):
        run = Run(saved)
        assert run.last(act.Watch).elapsed_s == pytest.approx(3.0 * stops)
        assert (run.update.restarts, run.update.stopped) == (0, False)
        run.mono_s += 3.0
        run.stop()
        saved = run.saved


def test_restarts_of_the_application_count_over_restarts_of_the_agent() -> None:
    first = Run()
    first.look(replace(WAITS, restarts=2))
    first.stop()
    second = Run(first.saved)
    assert second.last(act.Watch).restarts == 2
    second.look(replace(WAITS, restarts=1))
    second.stop()
    assert Run(second.saved).last(act.Watch).restarts == 3


def test_a_crash_after_an_orderly_stop_counts() -> None:
    run = Run()
    run.stop()
    again = Run(run.saved)  # stopped in order before, and killed now
    assert Run(again.saved).update.restarts == 1


def test_only_a_trial_is_kept_at_a_stop() -> None:
    run = Run()
    run.happen(ev.JobDone(run.last(act.Watch), act.Verdict(True, "passed")))
    saves = run.count(act.Save)
    run.stop()
    assert run.count(act.Save) == saves
    assert not run.update.stopped


def test_the_status_says_what_a_trial_waits_for_and_writes_little() -> None:
    run = Run()
    run.look()
    assert run.update.detail == "12 of 20 requests, 40 of 300 s"
    saves, reports = run.count(act.Save), run.count(act.PublishStatus)
    for _ in range(int(DAY_S / 10)):
        run.look()
    assert 100 < run.count(act.Save) - saves < 200
    assert run.count(act.PublishStatus) - reports == run.count(act.Save) - saves


def test_another_thing_to_wait_for_is_told_at_once() -> None:
    run = Run()
    for _ in range(100):
        run.look()
    run.look(replace(WAITS, reason="taking_over", detail="waiting for the application"))
    assert run.core.status().detail == run.update.detail == "waiting for the application"


def test_storage_that_fails_for_a_note_costs_neither_the_trial_nor_a_restart() -> None:
    run = Run()
    for _ in range(3):
        saves = run.count(act.Save)
        while run.count(act.Save) == saves:
            run.look()
        run.happen(
            ev.ActionFailed(run.last(act.Save), StorageFailed("no room"), (act.PublishStatus(),))
        )
    assert run.look().elapsed_s > 30.0
    assert run.core.status().state is State.TRIAL
    assert run.core.state.update is not None
    assert run.core.state.update.restarts == 0


def test_a_look_at_the_disk_in_the_middle_of_a_run_is_no_restart() -> None:
    run = Run()
    for _ in range(5):
        run.core._is_ready = False
        run.core._record.agenda.drop_job()
        run.happen(ev.NoticeArrived(b"anything"))
        findings = Findings(run.saved, "b", SEALED, RELEASES, frozenset(RELEASES))
        run.happen(ev.JobDone(run.last(act.Inspect), findings))
    assert run.update.restarts == 0
    assert run.core.status().state is State.TRIAL


def test_an_event_that_the_table_has_no_row_for_is_logged_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = {
        why: after for why, after in FOLLOWS[State.TRIAL].items() if why is not Happening.PASSED
    }
    run = Run()
    run.look()
    before, saved = run.core.state, run.saved
    monkeypatch.setattr(state_table, "FOLLOWS", {**FOLLOWS, State.TRIAL: rows})
    run.happen(ev.JobDone(run.last(act.Watch), act.Verdict(True, "passed", checks=(A_CHECK,))))
    assert (run.core.state, run.saved) == (before, saved)
    said = run.last(act.Log)
    assert (said.level, said.text) == (
        "critical",
        "internal_error: TRIAL: PASSED has no row in the table; kept",
    )
    monkeypatch.undo()
    assert run.core.deadline_s is not None
    run.mono_s = run.core.deadline_s
    run.happen(ev.Tick())  # and it is tried again
    run.happen(ev.JobDone(run.last(act.Watch), act.Verdict(True, "passed")))
    assert run.update.state is State.COMMITTED
