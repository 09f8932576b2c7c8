"""The core of one model: from a notice to a committed release, or cleanly back.

    notice -> verify -> plan -> collect -> build into standby -> probe -> switch -> watch -> commit

This module takes the events and hands on: `notice_review` says what a notice means, `installation`
does what comes before the switch, `switch_and_commit` what comes after the decision to switch,
`by_hand` what a person asks (`set_back` the way back to the first release), `record` holds what
they share, `recovery` says what a restart makes of the record, `lost_files` what is done about
things lost while the agent runs, `state_table` which state may follow which.
One job runs at a time; what arrives meanwhile waits (the last notice only: it is the truth).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.by_hand import ByHand
from slotcast_device.core.installation import Installation
from slotcast_device.core.lost_files import Mending
from slotcast_device.core.model_status import model_status
from slotcast_device.core.notice_box import NoticeBox
from slotcast_device.core.notice_review import NoticeReview
from slotcast_device.core.notice_writes import NoticeWrites
from slotcast_device.core.record import UpdateRecord
from slotcast_device.core.recovery import Findings, open_and_save, open_anyway, recover
from slotcast_device.core.set_back import SetBack
from slotcast_device.core.signed_time import SignedTime
from slotcast_device.core.state_table import FETCHING, SWITCHED, Happening, IllegalMove
from slotcast_device.core.switch_and_commit import Switching
from slotcast_device.core.transfer.slow_link import SlowLimit
from slotcast_device.core.transfer.transfer_actions import StoreChunk
from slotcast_device.core.waits import USUAL, Waits
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.errors import (
    ChunkCorrupt,
    NoContentKey,
    PayloadCorrupt,
    SlotcastError,
    WrongBase,
)
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import SETTLED, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from slotcast_device.core.actions import Action, Job
    from slotcast_device.core.events import Event, Now, OtherEvent, RequestEvent
    from slotcast_device.core.state import ModelState
    from slotcast_device.core.transfer.transfer import Transfer
    from slotcast_schemas.messages.status import ModelStatus
    from slotcast_schemas.topics import Topics

RETRY_FIRST_S: Final = 60.0
"""The first wait in seconds before a notice is looked at again whose update failed."""
RETRY_CAP_S: Final = 3600.0
"""The longest of these waits, in seconds."""


class ModelCore:
    """Decides for one model. Feed `handle`, carry out what it returns, in order.

    Args:
        model: the model's name.
        device: this device's id, named in wants.
        topics: where things are published.
        rng: jitter.
        asks_owner: whether windows, consent or hooks are configured (`AskHook` is sent).
        slow: below which pace a transfer is reported as slow; by default never.
        models: how many share the connection, this one included.
        keeps_provisioned: whether the first committed release is kept beside the slots.
        waits: how long to wait.
        elsewhere_s: the latest time that is known from notices of the device's other models.
    """

    def __init__(
        self,
        model: str,
        device: str,
        topics: Topics,
        rng: random.Random,
        *,
        asks_owner: bool = False,
        slow: SlowLimit | None = None,
        models: int = 1,
        keeps_provisioned: bool = False,
        waits: Waits = USUAL,
        elsewhere_s: Callable[[Now], int] = lambda _: 0,
    ) -> None:
        self.model = model
        self._record = UpdateRecord(model, Backoff(rng, RETRY_FIRST_S, RETRY_CAP_S))
        self._agenda = self._record.agenda
        self._time = SignedTime(self._record, elsewhere_s)
        self._switching = Switching(self._record, self._time, waits)
        self._mending = Mending(self._record)
        self._installation = Installation(
            self._record,
            self._switching,
            device,
            topics,
            rng,
            asks_owner=asks_owner,
            slow=slow or SlowLimit(),
            signed_time=self._time,
            models=models,
            waits=waits,
        )
        self._box = NoticeBox()
        self._review = NoticeReview(
            self._record, self._box, self._switching, self._installation, self._time, device
        )
        self._writes = NoticeWrites()
        self._set_back = SetBack(
            self._record, self._box, self._switching, self._installation, keeps=keeps_provisioned
        )
        self._by_hand = ByHand(
            self._record, self._box, self._switching, self._installation, self._set_back
        )
        self._is_ready = False
        self._is_start = True  # nothing of the durable state was read yet by this process
        self._verifying: act.Verify | None = None  # under way, counting or not
        self._signed_s = 0  # when the last notice that was not held back was signed
        self._is_unsaved = False  # an ending is known here that is not durable yet

    # --- what the shell asks --------------------------------------------------------------

    @property
    def state(self) -> ModelState:
        """The record as it is now."""
        return self._record.state

    def signed_s(self, now: Now) -> int:
        """Give the time by what this model's notices said of it; 0 where none did."""
        return self._time.own_s(now)

    @property
    def deadline_s(self) -> float | None:
        """When `Tick` is due, on the monotonic clock."""
        due = (
            self._installation.deadline_s,
            self._agenda.deadline_s,
            self._time.deadline_s,
            self._writes.deadline_s,
        )
        return min((d for d in due if d is not None), default=None)

    @property
    def notices_seen(self) -> int:
        """How many notices came."""
        return self._box.arrived_count

    @property
    def is_settled(self) -> bool:
        """Whether the notices that came are dealt with and nothing is under way."""
        return (
            self.notices_seen > 0
            and self._is_ready
            and self._agenda.job is None
            and self._verifying is None
            and self._box.is_empty
            and (
                self._record.phase in SETTLED
                or self._record.reason in {Reason.PAUSED, Reason.SET_BACK}
            )
        )

    @property
    def is_ready(self) -> bool:
        """Whether the durable state was read, so that there is something to change."""
        return self._is_ready

    @property
    def has_looked(self) -> bool:
        """Whether this process has read the durable state, or knows why it cannot.

        Until then `status` would say that nothing runs here.
        """
        return not self._is_start or self._record.phase is State.FAILED

    @property
    def is_at_rest(self) -> bool:
        """Whether no job runs."""
        return self._agenda.job is None

    @property
    def is_unreadable(self) -> bool:
        """Whether the last look at the durable state failed."""
        return (
            not self._is_ready and self._agenda.job is None and self._record.phase is State.FAILED
        )

    @property
    def transfer(self) -> Transfer | None:
        """The transfer under way."""
        return self._installation.collecting.transfer

    @property
    def is_fetching(self) -> bool:
        """Whether chunks are being collected."""
        return self.transfer is not None and self._record.phase is State.DOWNLOADING

    def status(self) -> ModelStatus:
        """Say where this model stands."""
        return model_status(
            self._record.state, self._installation.progress, is_stale=self._time.is_stale
        )

    # --- events ---------------------------------------------------------------------------

    def start(self) -> list[Action]:
        """Begin: look at what the last run left."""
        return self._agenda.run(act.Inspect())

    def stop(self, now: Now) -> list[Action]:
        """End in order: keep what a trial has come to; the start that follows is no restart."""
        if not self._is_ready:
            return []
        held = [act.Save(self._record.state)] if self._writes.is_holding else []
        return [*held, *self._switching.stop(now)]

    def handle(self, event: Event, now: Now) -> list[Action]:
        """Take an event, give what to do, in order."""
        before, job = self._record.state, self._agenda.job
        try:
            actions = self._dispatch(event, now)
        except IllegalMove as exc:
            actions = self._keep_state(before, job, exc, now)
        if len(actions) == 1 and isinstance(actions[0], StoreChunk):
            return actions  # most events by far: nothing came to an end, so nothing can begin
        if self._writes.is_holding and any(isinstance(action, act.Save) for action in actions):
            self._writes.written()
        return actions + (self._inspect_again() or self._go_on(event, now))

    def _go_on(self, event: Event, now: Now) -> list[Action]:
        """Do what no event asked for just now: the owner's wish, the next notice, a copy to keep.

        After an action that failed nothing is begun by itself: it would fail again at once.
        """
        may_begin = self._is_ready and not isinstance(event, ev.ActionFailed)
        actions = self._set_back.go_on(now) if may_begin else []
        actions += self._look_at_next_notice()
        if may_begin and self._agenda.job is None:
            actions += self._set_back.keep()
        return actions

    def _keep_state(
        self, before: ModelState, job: Job | None, error: IllegalMove, now: Now
    ) -> list[Action]:
        """Put back the state from before an event for which the table has no row.

        Such an event is a defect of this software, and no reason to end the process, which has
        other models to care for. Nothing that was decided for the event is carried out, and what
        serves stays as it is.

        Args:
            before: the record before the event.
            job: the job that was under way then.
            error: what has no row.
            now: the time.
        """
        self._record.restore(before)
        if self._agenda.job is not job:
            self._agenda.drop_job()
        if self._agenda.wake_s is None:
            self._agenda.retry_later(now)
        return [act.Log("critical", f"{Reason.INTERNAL_ERROR}: {error}; kept"), act.PublishStatus()]

    def _inspect_again(self) -> list[Action]:
        """Look at the whole disk, as at a start, once nothing else is being done with it."""
        if not (self._mending.must_inspect and self._is_ready and self._agenda.job is None):
            return []
        self._is_ready = False
        return self._agenda.run(act.Inspect())

    def _dispatch(self, event: Event, now: Now) -> list[Action]:
        try:
            if isinstance(event, ev.ChunkArrived):  # first, since most are
                return self._installation.collecting.chunk_arrived(event, now)
            return self._dispatch_other(event, now)
        except ChunkCorrupt as exc:
            return self._end_broken(exc, now)

    def _dispatch_other(self, event: OtherEvent, now: Now) -> list[Action]:
        if isinstance(event, ev.RequestEvent):
            return self._on_request(event, now)
        match event:
            case ev.Tick():
                return self._handle_tick(now)
            case ev.JobDone():
                return self._job_done(event, now)
            case ev.ActionFailed():
                return self._action_failed(event, now)
            case ev.NoticeArrived(data):
                return self._notice_arrived(data)
            case ev.LookDue():
                self._mending.look_at_all()
                return []
            case ev.SlotsChanged() | ev.ClockMoved():
                return self._on_device_event(event, now) if self._is_ready else []
            case _:
                return self._installation.collecting.handle(event, now)

    def _on_request(self, event: RequestEvent, now: Now) -> list[Action]:
        if not self._is_ready:
            return [act.Log("warning", "not ready: the durable state was not read (yet)")]
        return self._by_hand.handle(event, now)

    def _on_device_event(self, event: ev.SlotsChanged | ev.ClockMoved, now: Now) -> list[Action]:
        match event:
            case ev.SlotsChanged():
                return self._mending.found(event, now)
            case ev.ClockMoved():
                return self._review.clock_moved(now)

    def _notice_arrived(self, data: bytes) -> list[Action]:
        is_busy = self._record.phase in FETCHING | SWITCHED
        if not self._box.arrived(data, is_busy=is_busy):
            return []
        if not self._is_ready and self._agenda.job is None:
            return self._agenda.run(act.Inspect())  # the state could not be read: perhaps now
        return []

    def _look_at_next_notice(self) -> list[Action]:
        """Look at the notice that waits, once nothing else is being done."""
        if self._record.take_ending():
            self._box.update_ended()
        if self._box.is_empty or not self._is_ready or self._agenda.job is not None:
            return []
        notice = None if self._switching.is_between_steps else self._box.take()
        if notice is None:
            return []
        self._verifying = act.Verify(notice, self._record.state.signed_time)
        return self._agenda.run(self._verifying)

    def _handle_tick(self, now: Now) -> list[Action]:
        actions = self._installation.collecting.tick(now) + self._time.tick(now)
        held = self._writes.due(now) if self._is_ready else None
        if held is not None:
            actions += held + self._record.save()
        return actions + self._wake_up(now) if self._agenda.take_wake(now) else actions

    def _wake_up(self, now: Now) -> list[Action]:
        """A wait is over: first make durable what could not be saved, then look again."""
        if not self._is_ready:
            return self._agenda.run(act.Inspect())
        saved = self._record.save() if self._is_unsaved else []
        self._is_unsaved = False
        return saved + self._look_again(now)

    def _look_again(self, now: Now) -> list[Action]:
        """Look at the trial or the owner again, or at the last notice."""
        match self._record.phase:
            case State.TRIAL if not self._switching.is_between_steps:
                if self._review.has_waited_long(now):
                    self._box.update_ended()  # what was kept for the end is looked at after this
                return self._switching.watch(now)
            case State.TRIAL | State.ACTIVATING:
                self._is_ready = False
                return self._agenda.run(act.Inspect())
            case State.VERIFIED:
                return self._installation.ask_again()
        self._box.again()
        return []

    # --- jobs -----------------------------------------------------------------------------

    def _job_done(self, event: ev.JobDone, now: Now) -> list[Action]:
        if event.job is self._verifying:
            self._verifying = None
        if not self._agenda.finish(event.job):
            self._was_overtaken(event.job)
            return []
        if self._set_back.overtakes(event.job):
            return []
        if isinstance(event.job, act.KeepProvisioned | act.BuildProvisioned):
            return self._set_back.job_done(event, now)
        if event.error is not None:
            return self._job_failed(event.job, event.error, now)
        return self._job_gave(event.job, event.result, now)

    def _was_overtaken(self, job: Job) -> None:
        """Have a notice looked at again later, because the state changed while it was verified.

        The last chunk may have come meanwhile, for example. The notice may cancel what is now being
        built, and the broker has no reason to repeat it.
        """
        if isinstance(job, act.Verify):
            self._box.put_back(job.data)

    def _job_gave(self, job: Job, result: object, now: Now) -> list[Action]:
        match job, result:
            case act.Inspect(), Findings() as found:
                return self._recovered(found, now)
            case act.Verify(data), act.NoticeVerified() as verified:
                return self._notice_verified(data, verified, now)
            case act.OpenSpool(), act.Spooled() as spooled:
                return self._installation.spool_open(spooled, now)
            case act.ScanSpool(), set() as present:
                return self._installation.collecting.scanned(present, now)
            case (act.TakeKey() | act.Build()) as step, None:
                return self._installation.step_done(step, now)
            case act.ProbeSlot() as probe, act.Verdict() as verdict:
                return self._installation.probed(probe, verdict, now)
            case act.Watch(), act.Verdict() as verdict:
                return self._switching.watched(verdict, now)
            case act.CheckSlot(), None:
                return self._switching.fallback_verified(now)
            case act.AskHook() as asked, act.Answer() as answer:
                return self._installation.owner_answered(asked, answer, now)
        raise TypeError(f"{type(job).__name__} gave a {type(result).__name__}")

    def _notice_verified(self, data: bytes, verified: act.NoticeVerified, now: Now) -> list[Action]:
        """Go by a notice; where it newly vouches for a slot, the slots are looked at first."""
        if verified.proves_slot:
            self._mending.look_at_all()
        if verified.proves_slot and self._mending.must_inspect:
            self._box.put_back(data)
            return []
        return self._pace(self._review.verified(verified, now), now)

    def _pace(self, actions: list[Action], now: Now) -> list[Action]:
        """Have the outcome of a notice wait, if too many came; never one that is newly signed."""
        if self._record.state.signed_time > self._signed_s:
            self._signed_s = self._record.state.signed_time
            return actions
        return self._writes.pace(actions, now)

    def _job_failed(self, job: Job, error: SlotcastError, now: Now) -> list[Action]:
        match job:
            case act.Inspect():
                return self._unreadable(error, now)
            case act.Verify():
                return self._pace(self._review.refuse(error, now), now)
            case act.Build() if isinstance(error, (PayloadCorrupt, WrongBase)):
                return self._try_another_payload(error, now)
            case act.TakeKey() if isinstance(error, NoContentKey):
                return self._try_another_payload(error, now)
            case act.CheckSlot():
                return self._switching.fallback_damaged(error, now)
            case _ if self._record.phase in SWITCHED:
                return self._switching.storage_failed(error, now)
        return self._end_broken(error, now)

    def _action_failed(self, event: ev.ActionFailed, now: Now) -> list[Action]:
        record = self._record
        if any(action is self._agenda.job for action in event.dropped):
            self._agenda.drop_job()
        if any(action is self._verifying for action in event.dropped):
            self._verifying = None
        if self._switching.is_note(event.action):
            return [act.Log("warning", f"{event.error.reason}: {event.error}"), act.PublishStatus()]
        if isinstance(event.action, act.PutBack):
            return self._mending.failed(event.error, now)
        if record.phase in SWITCHED or isinstance(event.action, act.Activate):
            # The record in memory is ahead of the disk: only a look at the disk says how far.
            self._is_ready = False
            return self._switching.storage_failed(event.error, now)
        if isinstance(event.action, act.Save) and record.phase not in FETCHING:
            self._is_unsaved = True
            self._agenda.retry_later(now)
            return [act.Log("error", f"{event.error.reason}: {event.error}"), act.PublishStatus()]
        return self._end_broken(event.error, now)

    # --- start ----------------------------------------------------------------------------

    def _recovered(self, found: Findings, now: Now) -> list[Action]:
        record = self._record
        self._mending.must_inspect = False
        recovery = recover(self.model, found, is_start=self._is_start)
        if found.problem is not None:
            unsure = replace(recovery.state, floor=0)  # the floor is not known, and is never saved
            record.recovered(unsure, found.releases)
            return open_anyway(recovery, found) + self._unreadable(found.problem, now)
        record.recovered(recovery.state, found.releases)
        self._is_ready, self._is_start = True, False
        actions = self._installation.abandon() + self._time.recovered(now)
        if record.phase in FETCHING | {State.FAILED}:  # and nothing fetches any more: begin again
            self._box.again()
        actions += open_and_save(recovery, found)
        actions += [act.Log("warning", note) for note in (found.note, recovery.note) if note]
        return [*actions, act.PublishStatus(), *self._switching.resume(recovery.then, now)]

    def _unreadable(self, error: SlotcastError, now: Now) -> list[Action]:
        """Nothing can be begun; what serves, serves on. Time, or the next notice, tries again."""
        self._is_ready = False
        self._record.unreadable(error, now)
        self._agenda.retry_later(now)
        return [act.Log("error", f"{error.reason}: {error}"), act.PublishStatus()]

    # --- endings --------------------------------------------------------------------------

    def _try_another_payload(self, error: SlotcastError, now: Now) -> list[Action]:
        actions = self._installation.exclude_payload(error, now)
        if actions is None:
            return [act.DropSpool(), *self._end_broken(error, now)]
        self._box.again()  # plan anew, without that payload
        return actions

    def _end_broken(self, error: SlotcastError, now: Now) -> list[Action]:
        """Storage, payload or transfer failed before the switch: the old release is untouched."""
        record = self._record
        actions = self._installation.abandon()
        self._agenda.ignore_job()
        record.move(Happening.BROKEN, error.reason, now, detail=str(error))
        self._agenda.retry_later(now)
        self._mending.look_for_another()
        said = act.Log("error", f"failed: {error.reason}: {error}")
        if isinstance(error, ChunkCorrupt):  # another broker may have the true one
            actions.append(act.LeaveBroker(error))
        return [*actions, said, act.PublishStatus(), act.Save(record.state)]
