"""The switch, the trial, and its two endings: commit, or cleanly back.

Order, with the record saved before what it speaks of is done:
ACTIVATING saved, `current` renamed (the commit point of the switch), TRIAL saved, watched; then
COMMITTED saved with the floor (the commit point of the update), or the verdict saved, the old slot
verified, `current` renamed back, ROLLED_BACK saved. docs/power-loss.md has a line for each gap.

How long a trial has lasted is the time for which the agent watched it, by the monotonic clock,
kept in the record over restarts (docs/adr/0053): the time of day decides nothing here.
How often a trial is looked at is in `waits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_device.core import actions as act
from slotcast_device.core.recovery import Next
from slotcast_device.core.state_table import Happening
from slotcast_device.core.waits import USUAL, Waits
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action, Verdict
    from slotcast_device.core.events import Now
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.signed_time import SignedTime
    from slotcast_device.core.state import SlotName
    from slotcast_schemas.errors import SlotcastError
    from slotcast_schemas.messages.status import Check

LOOK_COUNTS_S: Final = 15.0
"""The most seconds of the time between two looks that count for the trial: a machine that stood
still saw nothing."""
STUCK_WAIT_S: Final = 15.0
"""The seconds to wait after storage failed in the middle of a switch or a roll back."""
NOTE_SHARE: Final = 1 / 20
"""The share by which the time of a trial must have grown before its progress is saved and told
again. That makes some 140 writes in a day, and a crash costs at most this share of the time already
watched."""


class Switching:
    """Everything from the decision to switch to the end of the update.

    Args:
        record: what is known of the model.
        signed_time: what day it is.
        waits: how long to wait.
    """

    def __init__(self, record: UpdateRecord, signed_time: SignedTime, waits: Waits = USUAL) -> None:
        self._waits = waits
        self._time = signed_time
        self._record = record
        self._agenda = record.agenda
        self._watched_s = 0.0
        self._looked_mono_s = 0.0
        self._waits_for: str | None = None  # what was told last; None: nothing yet in this run
        self._note: Action | None = None
        self._restarts_before = 0  # of the application, in earlier runs of the agent

    # --- the switch ---------------------------------------------------------------------------

    def activate(self, slot: SlotName, now: Now) -> list[Action]:
        """Switch to a probed slot."""
        record = self._record
        record.move(Happening.FIT, Reason.SWITCHING, now)
        record.set_candidate(slot)
        return [*record.save(), *self._switch_slot(now)]

    def resume(self, then: Next, now: Now) -> list[Action]:
        """Go on from where the last run was."""
        match then:
            case Next.NOTHING:
                return []
            case Next.SWITCH:
                return self._switch_slot(now)
            case Next.TRIAL:
                return [*self._enter_trial(now), *self.watch(now)]
            case Next.ROLL_BACK:
                return self._check_way_back()

    def _switch_slot(self, now: Now) -> list[Action]:
        update = self._record.update
        if update is None or update.slot is None:
            raise TypeError("no candidate to switch to")
        actions: list[Action] = [act.Activate(update.slot)]
        self._record.set_active(update.slot)
        return [*actions, *self._enter_trial(now), *self.watch(now)]

    def _enter_trial(self, now: Now) -> list[Action]:
        update = self._record.update
        self._looked_mono_s, self._waits_for = now.mono_s, None
        self._watched_s = 0.0 if update is None else update.trial_s
        self._restarts_before = 0 if update is None else update.application_restarts
        if self._record.phase is State.ACTIVATING:
            self._record.move(Happening.SWITCHED, Reason.ON_TRIAL, now)
            self._record.trial_began(now)
        return self._record.save()

    # --- the trial ----------------------------------------------------------------------------

    def watch(self, now: Now) -> list[Action]:
        """Look how the new release does."""
        update, release = self._record.update, self._record.release_on_trial
        if update is None or update.slot is None:
            raise TypeError("nothing is on trial")
        if release is None:
            return self.roll_back(Reason.SLOT_DAMAGED, "the signed release is missing", now)
        restarts = update.restarts + self._restarts_before
        return self._agenda.run(
            act.Watch(update.slot, update.fallback, release, self._count_elapsed_s(now), restarts)
        )

    def _count_elapsed_s(self, now: Now) -> float:
        """Give how long the trial was watched, in this run of the agent and before."""
        since_s = max(0.0, now.mono_s - self._looked_mono_s)
        self._watched_s += min(since_s, LOOK_COUNTS_S)
        self._looked_mono_s = now.mono_s
        return self._watched_s

    def trial_left_s(self, now: Now) -> float:
        """Give how long the trial will go on, at least, in seconds."""
        release = self._record.release_on_trial
        duration_s = 0.0 if release is None else release.trial.duration_s
        return duration_s - self._count_elapsed_s(now)

    def watched(self, verdict: Verdict, now: Now) -> list[Action]:
        """Decide by what the look found."""
        if verdict.passed is None:
            self._agenda.wake_in(self._choose_next_look_s(now), now)
            return self._note_pending(verdict, now)
        if not verdict.passed:
            return self.roll_back(verdict.reason, verdict.detail, now, checks=verdict.checks)
        self._record.keep_evidence(verdict.checks)
        self._record.move(Happening.PASSED, Reason.COMMITTED, now)
        self._record.raise_floor()
        return [*self._record.end(), act.Notify("after_commit", self._record.release_on_trial)]

    def _choose_next_look_s(self, now: Now) -> float:
        """Look when the trial's time is over, and now and then before that."""
        return min(
            self._waits.watch_every_s, max(self._waits.watch_again_s, self.trial_left_s(now))
        )

    def _note_pending(self, verdict: Verdict, now: Now) -> list[Action]:
        """Keep the progress of the trial, and tell what it waits for, now and then."""
        record, elapsed_s = self._record, self._count_elapsed_s(now)
        noted_s = 0.0 if record.update is None else record.update.trial_s
        restarts = self._restarts_before + verdict.restarts
        record.note_trial(verdict.detail, restarts)
        is_due = elapsed_s - noted_s >= max(self._waits.note_first_s, noted_s * NOTE_SHARE)
        if verdict.reason == self._waits_for and not is_due:
            return []
        self._waits_for = verdict.reason
        return [self._note_watched(now), act.PublishStatus()]

    def _note_watched(self, now: Now, *, stopped: bool = False) -> Action:
        self._record.note_watched(self._count_elapsed_s(now), stopped=stopped)
        self._note = act.Save(self._record.state)
        return self._note

    def is_note(self, action: Action) -> bool:
        """Whether this save only keeps the progress of a trial: if it fails, the trial goes on."""
        return action is self._note

    def stop(self, now: Now) -> list[Action]:
        """The agent ends in order: what comes after is no restart."""
        if self._record.phase is not State.TRIAL or self.is_between_steps:
            return []
        return [self._note_watched(now, stopped=True)]

    # --- the way back -------------------------------------------------------------------------

    def roll_back(
        self, reason: str, detail: str, now: Now, *, checks: tuple[Check, ...] = ()
    ) -> list[Action]:
        """Record the verdict first: a power cut on the way ends in the same roll back.

        Args:
            reason: the word that the update ends with.
            detail: one sentence for people.
            now: the time.
            checks: what was found, to be reported; none keeps what the record has.
        """
        record = self._record
        record.keep_evidence(checks)
        record.set_verdict(reason, detail, now)
        said = act.Log("warning", f"rolling back: {reason}: {detail}")
        return [said, act.Save(record.state), *self._check_way_back()]

    def recall(self, detail: str, now: Now) -> list[Action]:
        """Go back to the standby slot's release because a person asks."""
        record = self._record
        if record.phase is State.TRIAL:
            self._agenda.drop_job()  # a look under way does not matter any more
            return self.roll_back(Reason.BY_HAND, detail, now)
        state, standby = record.state, record.state.standby
        if state.active is None or state.active_record is None or standby not in state.slots:
            return [act.Log("warning", "cannot roll back: no other release is in the standby slot")]
        held = state.slots[standby]
        if held.sequence > state.floor:
            text = f"cannot roll back: {held.version} in the standby slot was never committed"
            return [act.Log("warning", text)]
        record.recall(state.active, standby)
        return self.roll_back(Reason.BY_HAND, detail, now)

    def _check_way_back(self) -> list[Action]:
        update = self._record.update
        slot = None if update is None else update.fallback
        record = None if slot is None else self._record.state.slots.get(slot)
        return self._agenda.run(act.CheckSlot(slot, record))

    def fallback_verified(self, now: Now) -> list[Action]:
        """The old slot is whole: go back to it."""
        record = self._record
        update = record.update
        if update is None:
            return []
        record.move(Happening.UNFIT, update.verdict, now, detail=update.detail)
        record.bench(update.verdict, self._time.day(now))
        record.set_active(update.fallback)
        ended: list[Action] = [act.Activate(update.fallback), *record.end()]
        return [*ended, act.Notify("after_rollback", record.release_on_trial)]

    def fallback_damaged(self, error: SlotcastError, now: Now) -> list[Action]:
        """The old slot is damaged: the new release, unfit as it is, is all there is."""
        record = self._record
        verdict = "" if record.update is None else record.update.verdict
        record.move(Happening.UNFIT, Reason.NO_WAY_BACK, now, detail=f"{verdict}, but {error}")
        return [act.Log("critical", f"cannot roll back: {error}"), *record.end()]

    def storage_failed(self, error: SlotcastError, now: Now) -> list[Action]:
        """Storage failed in the middle: look again soon, as after a restart."""
        self._record.note_detail(f"{error.reason}: {error}; trying again")
        self._agenda.ignore_job()
        self._agenda.wake_in(STUCK_WAIT_S, now)
        return [act.Log("error", f"{error.reason}: {error}"), act.PublishStatus()]

    @property
    def is_between_steps(self) -> bool:
        """Whether a switch or a roll back is in the middle of its steps."""
        update = self._record.update
        return update is not None and (
            update.state is State.ACTIVATING
            or (update.state is State.TRIAL and update.verdict != "")
        )
