"""The core of one model: from a notice to a committed release, or cleanly back.

    notice -> verify -> plan -> collect -> build into standby -> probe -> switch -> watch -> commit

One job runs at a time; what arrives meanwhile waits (the last notice only: it is the truth). The
durable record is saved before anything it speaks of is done; the one commit point of the switch
is the renaming of `current`, that of the update is the record that says COMMITTED.
Which state may follow which is `lifecycle`'s table; what a restart makes of the record is
`recovery`'s.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device import transfer as tx
from slotcast_device.backoff import Backoff
from slotcast_device.core import events as ev
from slotcast_device.core.lifecycle import Happening, follow
from slotcast_device.core.recovery import Findings, Next, from_slots, recover
from slotcast_device.core.view import model_status, progress_of
from slotcast_device.credit import Credit
from slotcast_device.plan import (
    Canceled,
    Install,
    NothingToDo,
    Plan,
    Wait,
    make_plan,
    needed_chunks,
)
from slotcast_device.slots import record_of
from slotcast_device.state import ModelState, Update
from slotcast_device.transfer import Transfer
from slotcast_schemas.errors import (
    Benched,
    ChunkCorrupt,
    PayloadCorrupt,
    RefusedRelease,
    SlotcastError,
    StorageFailed,
    WrongBase,
)
from slotcast_schemas.messages.status import Benched as BenchedEntry
from slotcast_schemas.messages.status import Evidence, ModelStatus
from slotcast_schemas.states import SETTLED, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slotcast_device.core.events import Action, Event, Job, Now, Verdict
    from slotcast_device.state import SlotName
    from slotcast_device.trust import Trusted
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.status import Check
    from slotcast_schemas.topics import Topics

SYNC_EVERY_S: Final = 30.0
WATCH_EVERY_S: Final = 10.0
RETRY_FIRST_S: Final = 60.0
RETRY_CAP_S: Final = 3600.0
PROGRESS_EVERY_S: Final = 15.0
_FETCHING: Final = frozenset({State.DOWNLOADING, State.DOWNLOADED, State.VERIFIED})
_SWITCHED: Final = frozenset({State.ACTIVATING, State.TRIAL})


class ModelCore:
    """Decides for one model. Feed `handle`, carry out what it returns, in order.

    Args:
        model: the model's name.
        device: this device's id, named in wants.
        topics: where things are published.
        rng: jitter.
        asks_owner: whether windows, consent or hooks are configured (`AskHook` is sent).
    """

    def __init__(
        self,
        model: str,
        device: str,
        topics: Topics,
        rng: random.Random,
        *,
        asks_owner: bool = False,
    ) -> None:
        self.model = model
        self.state = ModelState(model=model)
        self.notices_seen = 0
        self._device = device
        self._topics = topics
        self._rng = rng
        self._asks_owner = asks_owner
        self._credit = Credit()
        self._retry = Backoff(rng, RETRY_FIRST_S, RETRY_CAP_S)
        self._transfer: Transfer | None = None
        self._trusted: Trusted | None = None
        self._install: Install | None = None
        self._notice: bytes | None = None  # the last one that was looked at
        self._inbox: bytes | None = None  # the last one that was not
        self._excluded: frozenset[bytes] = frozenset()
        self._held: bytes | None = None  # one that waits for the end of the trial
        self._releases: dict[SlotName, Release] = {}
        self._asked: ev.AskHook | None = None
        self._trial_mono_s = 0.0
        self._job: Job | None = None
        self._is_ready = False
        self._is_up = False
        self._wake_s: float | None = None  # retry, trial, or waiting for the owner
        self._sync_s: float | None = None
        self._report_s: float | None = None
        self._rate = 0.0
        self._rate_mark: tuple[float, int] | None = None

    # --- what the shell asks --------------------------------------------------------------

    @property
    def deadline_s(self) -> float | None:
        """When `Tick` is due, on the monotonic clock."""
        fetch = None if self._transfer is None else self._transfer.deadline_s
        due = [d for d in (fetch, self._wake_s, self._sync_s, self._report_s) if d is not None]
        return min(due, default=None)

    @property
    def is_settled(self) -> bool:
        """Whether the notices that came are dealt with and nothing is under way."""
        return (
            self.notices_seen > 0
            and self._is_ready
            and self._job is None
            and self._inbox is None
            and (self._phase in SETTLED or self._reason == "paused")
        )

    @property
    def is_switching(self) -> bool:
        """Whether `current` is being moved, or on trial."""
        return self._phase in _SWITCHED

    @property
    def transfer(self) -> Transfer | None:
        """The transfer under way."""
        return self._transfer

    def status(self) -> ModelStatus:
        """Say where this model stands."""
        if self._transfer is None or self._install is None:
            return model_status(self.state)
        progress = progress_of(self._transfer, self._install.saved_bytes, int(self._rate))
        return model_status(self.state, progress)

    @property
    def _phase(self) -> State:
        return State.IDLE if self.state.update is None else self.state.update.state

    @property
    def _reason(self) -> str:
        return "" if self.state.update is None else self.state.update.reason

    # --- events ---------------------------------------------------------------------------

    def start(self) -> list[Action]:
        """Begin: look at what the last run left."""
        return self._run(ev.Inspect())

    def handle(self, event: Event, now: Now) -> list[Action]:
        """Take an event, give what to do, in order."""
        try:
            actions = self._dispatch(event, now)
        except (ChunkCorrupt, StorageFailed) as exc:
            actions = self._broken(exc, now)
        return actions + self._next_notice()

    def _dispatch(self, event: Event, now: Now) -> list[Action]:  # noqa: C901 - one case an event
        match event:
            case ev.ChunkArrived():
                return self._chunk(event, now)
            case ev.BytesHeard():
                if self._transfer is not None:
                    self._transfer.heard(now.mono_s)
                return []
            case ev.MapArrived():
                fetch = self._transfer
                if fetch is None or fetch.payload.sha256 != event.payload:
                    return []
                return self._translate(fetch.receive_map(event.part, event.data, now.mono_s), now)
            case ev.NoticeArrived():
                return self._notice_arrived(event.data)
            case ev.LinkUp():
                return self._link_up(event, now)
            case ev.LinkDown():
                self._is_up = False
                if self._transfer is not None:
                    self._transfer.link_down()
                return []
            case ev.Tick():
                return self._tick(now)
            case ev.JobDone():
                return self._job_done(event, now)
            case ev.ActionFailed():
                return self._action_failed(event, now)
            case ev.RollBackAsked():
                return self._roll_back_by_hand(now)

    def _link_up(self, event: ev.LinkUp, now: Now) -> list[Action]:
        self._is_up = True
        self._credit.limit(event.credit_chunks)
        if self._transfer is None:
            return []
        return self._translate(self._transfer.link_up(now.mono_s), now)

    def _notice_arrived(self, data: bytes) -> list[Action]:
        self.notices_seen += 1
        if data == self._notice and (self._phase in _FETCHING or self._phase in _SWITCHED):
            return []  # the one we are busy with, sent again on a new connection
        self._inbox = data
        if not self._is_ready and self._job is None:
            return self._run(ev.Inspect())  # the state could not be read: perhaps it can now
        return []

    def _next_notice(self) -> list[Action]:
        """Look at the notice that waits, once nothing else is being done."""
        busy = self._job is not None or not self._is_ready or self.is_switching_for_good
        if busy or self._inbox is None:
            return []
        self._notice, self._inbox = self._inbox, None
        return self._run(ev.Verify(self._notice))

    @property
    def is_switching_for_good(self) -> bool:
        """Whether a roll back or a switch is in the middle of its steps."""
        update = self.state.update
        return update is not None and (
            update.state is State.ACTIVATING
            or (update.state is State.TRIAL and update.verdict != "")
        )

    def _tick(self, now: Now) -> list[Action]:
        actions: list[Action] = []
        fetch = self._transfer
        if fetch is not None and fetch.deadline_s is not None and fetch.deadline_s <= now.mono_s:
            actions += self._translate(fetch.timeout(now.mono_s), now)
            actions += self._note_stall(fetch)
        if self._sync_s is not None and self._sync_s <= now.mono_s:
            self._sync_s = now.mono_s + SYNC_EVERY_S
            actions.append(ev.SyncSpool())
        if self._report_s is not None and self._report_s <= now.mono_s:
            self._report_s = now.mono_s + PROGRESS_EVERY_S
            self._measure_rate(now)
            actions.append(ev.Report(urgent=False))
        if self._wake_s is not None and self._wake_s <= now.mono_s and self._job is None:
            self._wake_s = None
            actions += self._wake(now)
        return actions

    def _wake(self, now: Now) -> list[Action]:
        """A wait is over: look at the trial again, or take up the last notice again."""
        if self._phase is State.TRIAL:
            return self._watch(now)
        if self._phase is State.ACTIVATING:
            self._is_ready = False
            return self._run(ev.Inspect())
        if self._phase is State.VERIFIED and self._asked is not None:
            return self._run(self._asked)
        if self._inbox is None:
            self._inbox = self._notice
        return []

    # --- jobs -----------------------------------------------------------------------------

    def _run(self, job: Job) -> list[Action]:
        self._job = job
        return [job]

    def _job_done(self, event: ev.JobDone, now: Now) -> list[Action]:
        if event.job is not self._job:
            return []
        self._job = None
        if event.error is not None:
            return self._job_failed(event.job, event.error, now)
        return self._job_gave(event.job, event.result, now)

    def _job_gave(self, job: Job, result: object, now: Now) -> list[Action]:
        match job, result:
            case ev.Inspect(), Findings() as found:
                return self._recovered(found, now)
            case ev.Verify(), ev.Verified() as verified:
                return self._verified(verified, now)
            case ev.OpenSpool(), dict() as maps:
                return self._spool_open(maps, now)
            case ev.ScanSpool(), set() as present:
                return self._scanned(present, now)
            case ev.Build(), _:
                return self._built(now)
            case ev.Probe(), ev.Verdict() as verdict:
                return self._probed(verdict, now)
            case ev.Watch(), ev.Verdict() as verdict:
                return self._watched(verdict, now)
            case ev.CheckSlot(), _:
                return self._go_back(now)
            case ev.AskHook(), ev.Answer() as answer:
                return self._owner_answered(job, answer, now)
        raise TypeError(f"{type(job).__name__} gave a {type(result).__name__}")

    def _job_failed(self, job: Job, error: SlotcastError, now: Now) -> list[Action]:
        match job:
            case ev.Inspect():
                return self._unreadable(error, now)
            case ev.Verify():
                return self._refused(error, now)
            case ev.Build() if isinstance(error, (PayloadCorrupt, WrongBase)):
                return self._payload_useless(error, now)
            case ev.CheckSlot():
                return self._no_way_back(error, now)
            case ev.Watch() | ev.Probe() if self._phase is State.TRIAL:
                return self._stuck(error, now)
        return self._broken(error, now)

    def _action_failed(self, event: ev.ActionFailed, now: Now) -> list[Action]:
        if any(action is self._job for action in event.dropped):
            self._job = None
        if self._phase in _SWITCHED:
            return self._stuck(event.error, now)
        if isinstance(event.action, ev.Save) and self._phase not in _FETCHING:
            self._retry_later(now)
            return [ev.Log("error", f"{event.error.reason}: {event.error}"), ev.Report()]
        return self._broken(event.error, now)

    # --- start ----------------------------------------------------------------------------

    def _recovered(self, found: Findings, now: Now) -> list[Action]:
        self._releases = dict(found.releases)
        if found.problem is not None:
            self.state = from_slots(self.model, replace(found, state=None)).state
            return self._unreadable(found.problem, now)
        recovery = recover(self.model, found)
        self.state = recovery.state
        self._is_ready = True
        actions: list[Action] = []
        if recovery.activate is not None:
            actions.append(ev.Activate(recovery.activate))
        if recovery.state != found.state:
            actions.append(ev.Save(recovery.state))
        actions += [ev.Log("warning", note) for note in (found.note, recovery.note) if note]
        actions.append(ev.Report())
        return actions + self._resume(recovery.then, now)

    def _resume(self, then: Next, now: Now) -> list[Action]:
        match then:
            case Next.NOTHING:
                return []
            case Next.SWITCH:
                return self._switch(now)
            case Next.TRIAL:
                return [*self._enter_trial(now), *self._watch(now)]
            case Next.ROLL_BACK:
                return self._check_way_back()

    def _unreadable(self, error: SlotcastError, now: Now) -> list[Action]:
        """Nothing can be begun; what serves, serves on. The next notice tries again."""
        self._is_ready = False
        self._inbox = None
        update = Update(
            version="0",
            sequence=0,
            release_sha256=b"",
            state=State.FAILED,
            reason=error.reason,
            detail=str(error),
            since=now.wall_s,
        )
        self.state = msgspec.structs.replace(self.state, update=update)
        self._wake_s = None
        return [ev.Log("error", f"{error.reason}: {error}"), ev.Report()]

    @property
    def is_unreadable(self) -> bool:
        """Whether the last look at the durable state failed."""
        return not self._is_ready and self._job is None and self._phase is State.FAILED

    # --- a notice -------------------------------------------------------------------------

    def _verified(self, verified: ev.Verified, now: Now) -> list[Action]:
        trusted = verified.trusted
        if self._phase in _SWITCHED:
            return self._verified_on_trial(trusted, now)
        facts = replace(verified.facts, excluded=self._excluded)
        try:
            plan: Plan = make_plan(trusted, self.state, facts)
        except SlotcastError as exc:
            return self._refused(exc, now, trusted)
        match plan:
            case NothingToDo(reason):
                return self._settle(reason, trusted, now)
            case Wait(reason, group):
                return self._stand_by(Happening.HELD, reason, trusted, group, now)
            case Canceled(group):
                return self._stand_by(Happening.CANCELED, "canceled", trusted, group, now)
            case Install():
                return self._take_up(plan, trusted, now)

    def _stand_by(
        self, happening: Happening, reason: str, trusted: Trusted, group: str, now: Now
    ) -> list[Action]:
        """Stop what is under way: the publisher pauses or cancels it. Chunks of a pause stay."""
        before = self.state.update
        actions = self._abandon(now)
        self._set(trusted, happening, reason, now, group=group)
        if _same_end(before, self.state.update):
            self._change(since=0 if before is None else before.since)
            return actions
        if happening is Happening.CANCELED:
            actions.append(ev.DropSpool())
        return [*actions, ev.Save(self.state), ev.Report()]

    def _verified_on_trial(self, trusted: Trusted, now: Now) -> list[Action]:
        """On trial only a cancel counts; anything else is looked at when the trial is over."""
        update = self.state.update
        if update is None:
            return []
        if trusted.release_sha256 == update.release_sha256 and trusted.offer.state == "canceled":
            return self._roll_back("canceled", "the publisher canceled the rollout", (), now)
        if trusted.release_sha256 != update.release_sha256:
            self._held, self._notice = self._notice, None
        return []

    def _settle(self, reason: str, trusted: Trusted, now: Now) -> list[Action]:
        update = self.state.update
        same = update is not None and update.sequence == trusted.release.sequence
        if same and self._phase is State.COMMITTED and reason == "up_to_date":
            return []
        if same and self._phase is State.IDLE and self._reason == reason:
            return []
        actions = self._abandon(now)
        self._set(trusted, Happening.SETTLED, reason, now)
        return [*actions, ev.Save(self.state), ev.Report()]

    def _refused(
        self, error: SlotcastError, now: Now, trusted: Trusted | None = None
    ) -> list[Action]:
        """Say why; what is under way goes on, since a refused notice must not stop it."""
        said = ev.Log("warning", f"refused: {error.reason}: {error}")
        if isinstance(error, Benched) and self._phase in {State.ROLLED_BACK, State.FAILED}:
            return []  # the reason why it was benched says more
        if self._phase in _FETCHING or self._phase in _SWITCHED:
            self._note(f"another notice was refused: {error.reason}: {error}")
            self._notice = None
            return [said, ev.Report()]
        before = self.state.update
        if isinstance(error, RefusedRelease):
            self._set(trusted, Happening.REFUSED, error.reason, now, detail=str(error))
        else:
            self._set(trusted, Happening.BROKEN, error.reason, now, detail=str(error))
            self._retry_later(now)
        if _same_end(before, self.state.update):
            self.state = msgspec.structs.replace(self.state, update=before)
            return [said]
        return [said, ev.Save(self.state), ev.Report()]

    def _take_up(self, install: Install, trusted: Trusted, now: Now) -> list[Action]:
        going = self._install
        if (
            self._phase is State.DOWNLOADING
            and going is not None
            and self._trusted is not None
            and self._trusted.release_sha256 == trusted.release_sha256
            and going.payload == install.payload
        ):
            self._trusted = trusted  # the same release, offered anew: go on
            return []
        actions = self._abandon(now)
        self._trusted, self._install = trusted, install
        if self._asks_owner:
            self._set(trusted, Happening.HELD, "owner", now, group=install.group)
            return [*actions, *self._run(ev.AskHook("before_download", trusted.release))]
        return actions + self._begin(now)

    def _begin(self, now: Now) -> list[Action]:
        trusted, install = self._under_way()
        how = "reuse" if install.payload is None else install.payload.codec
        self._set(trusted, Happening.OFFERED, "downloading", now, group=install.group, detail=how)
        self._report_s = now.mono_s + PROGRESS_EVERY_S
        self._rate, self._rate_mark = 0.0, None
        began: list[Action] = [ev.Save(self.state), ev.Report()]
        if install.payload is None:
            return began + self._collected(now)
        return began + self._run(ev.OpenSpool(install.payload))

    def _under_way(self) -> tuple[Trusted, Install]:
        if self._trusted is None or self._install is None:
            raise TypeError("no update is under way")
        return self._trusted, self._install

    # --- collecting -----------------------------------------------------------------------

    def _spool_open(self, maps: dict[int, bytes], now: Now) -> list[Action]:
        trusted, install = self._under_way()
        payload = install.payload
        if payload is None:
            raise TypeError("a spool was opened for no payload")
        self._transfer = Transfer(
            payload=payload,
            needed=needed_chunks(payload, trusted.release, install.reuse),
            topics=self._topics,
            device=self._device,
            rng=self._rng,
            credit=self._credit,
        )
        self._sync_s = now.mono_s + SYNC_EVERY_S
        actions = self._transfer.start(maps, now.mono_s)
        if self._is_up:
            actions += self._transfer.link_up(now.mono_s)
        return self._translate(actions, now)

    def _scanned(self, present: set[int], now: Now) -> list[Action]:
        if self._transfer is None:
            return []
        return self._translate(self._transfer.scanned(present, now.mono_s), now)

    def _chunk(self, event: ev.ChunkArrived, now: Now) -> list[Action]:
        fetch = self._transfer
        if fetch is None or fetch.payload.sha256 != event.payload:
            return []
        return self._translate(fetch.receive_chunk(event.index, event.data, now.mono_s), now)

    def _translate(self, actions: Sequence[tx.Action], now: Now) -> list[Action]:
        """Turn the transfer's two questions to the shell into jobs and steps."""
        out: list[Action] = []
        for action in actions:
            if isinstance(action, tx.Scan):
                fetch = self._transfer
                if fetch is not None:
                    out += self._run(ev.ScanSpool(fetch.payload, dict(fetch.maps)))
            elif isinstance(action, tx.Complete):
                out += self._collected(now)
            else:
                out.append(action)
        return out

    def _note_stall(self, fetch: Transfer) -> list[Action]:
        if fetch.is_stalled and self._reason != "stalled":
            self._change(reason="stalled", detail="what was asked for does not come; asking on")
            return [ev.Log("warning", "stalled: nothing comes; asking the publisher"), ev.Report()]
        return []

    def _measure_rate(self, now: Now) -> None:
        if self._transfer is None:
            return
        done = self._transfer.counters.verified_bytes
        if self._rate_mark is not None:
            then, before = self._rate_mark
            self._rate = max(0.0, (done - before) / max(now.mono_s - then, 1e-6))
            if self._rate > 0 and self._reason == "stalled":
                self._change(reason="downloading", detail="")
        self._rate_mark = (now.mono_s, done)

    def _abandon(self, now: Now) -> list[Action]:
        """Let go of a transfer; its chunks stay until another payload needs the room."""
        actions = [] if self._transfer is None else self._translate(self._transfer.stop(), now)
        self._transfer = None
        self._sync_s = self._report_s = self._wake_s = None
        return actions

    # --- building and probing -------------------------------------------------------------

    def _collected(self, now: Now) -> list[Action]:
        trusted, install = self._under_way()
        self._move(Happening.COLLECTED, "building", now)
        # The record must not speak of the slot any more before the first file in it goes.
        before = self.state
        self.state = self.state.with_slot(install.slot, None)
        self._sync_s = self._report_s = None
        return [
            ev.Save(self.state),
            ev.Report(),
            *self._run(ev.Build(install, trusted, before)),
        ]

    def _built(self, now: Now) -> list[Action]:
        trusted, install = self._under_way()
        self._move(Happening.BUILT, "probing", now)
        self._releases[install.slot] = trusted.release
        record = record_of(trusted.release, trusted.release_sha256)
        self.state = self.state.with_slot(install.slot, record)
        beside = self.state.active if self.state.active_record is not None else None
        return [
            ev.Save(self.state),
            ev.DropSpool(),
            ev.Report(),
            *self._run(ev.Probe(install.slot, trusted.release, beside)),
        ]

    def _payload_useless(self, error: SlotcastError, now: Now) -> list[Action]:
        """A payload that does not give the signed image: pass it over, and plan again."""
        _, install = self._under_way()
        if install.payload is not None:
            self._excluded |= {install.payload.sha256}
        others = self._trusted is not None and any(
            payload.sha256 not in self._excluded for payload in self._trusted.offer.payloads
        )
        if not others:
            return [ev.DropSpool(), *self._broken(error, now)]
        text = f"{error.reason}: {error}; trying another payload"
        self._abandon(now)
        self._change(detail=text)
        self._inbox = self._inbox or self._notice
        return [ev.Log("warning", text), ev.DropSpool()]

    def _probed(self, verdict: Verdict, now: Now) -> list[Action]:
        trusted, _ = self._under_way()
        self._keep_evidence(verdict)
        if not verdict.passed:
            self._move(Happening.UNFIT, verdict.reason, now, detail=verdict.detail)
            self._bench(verdict.reason)
            text = f"the probe failed: {verdict.reason}: {verdict.detail}"
            return [ev.Log("warning", text), *self._end(), ev.Notify("refused", trusted.release)]
        if self._asks_owner:
            return self._run(ev.AskHook("before_switch", trusted.release))
        return self._activate(now)

    def _owner_answered(self, job: ev.AskHook, answer: ev.Answer, now: Now) -> list[Action]:
        if answer.word == "wait":
            self._change(reason=answer.reason or "owner", detail=answer.detail)
            self._wake_s = now.mono_s + answer.again_s
            if self._phase is State.VERIFIED:
                self._asked = job
            return [ev.Save(self.state), ev.Report()]
        if answer.word == "refuse":
            self._move(
                Happening.REFUSED, answer.reason or "owner_refused", now, detail=answer.detail
            )
            return self._end()
        return self._begin(now) if job.stage == "before_download" else self._activate(now)

    # --- the switch and the trial ---------------------------------------------------------

    def _activate(self, now: Now) -> list[Action]:
        _, install = self._under_way()
        self._move(Happening.FIT, "switching", now)
        self._change(slot=install.slot, fallback=self.state.active, verdict="", restarts=0)
        return [ev.Save(self.state), ev.Report(), *self._switch(now)]

    def _switch(self, now: Now) -> list[Action]:
        update = self.state.update
        if update is None or update.slot is None:
            raise TypeError("no candidate to switch to")
        actions: list[Action] = [ev.Activate(update.slot)]
        self.state = msgspec.structs.replace(self.state, active=update.slot)
        return [*actions, *self._enter_trial(now), *self._watch(now)]

    @property
    def _release_on_trial(self) -> Release | None:
        update = self.state.update
        return None if update is None or update.slot is None else self._releases.get(update.slot)

    def _enter_trial(self, now: Now) -> list[Action]:
        if self._phase is State.ACTIVATING:
            self._move(Happening.SWITCHED, "on_trial", now)
            self._change(trial_began=now.wall_s)
        self._trial_mono_s = now.mono_s
        return [ev.Save(self.state), ev.Report()]

    def _watch(self, now: Now) -> list[Action]:
        update, release = self.state.update, self._release_on_trial
        if update is None or update.slot is None:
            raise TypeError("nothing is on trial")
        elapsed = max(now.wall_s - update.trial_began, int(now.mono_s - self._trial_mono_s))
        if release is None:
            return self._roll_back("slot_damaged", "the signed release is missing", (), now)
        return self._run(
            ev.Watch(update.slot, update.fallback, release, float(elapsed), update.restarts)
        )

    def _watched(self, verdict: Verdict, now: Now) -> list[Action]:
        if verdict.passed is None:
            self._wake_s = now.mono_s + WATCH_EVERY_S
            return []
        if verdict.passed:
            return self._commit(verdict, now)
        return self._roll_back(verdict.reason, verdict.detail, verdict.checks, now)

    def _commit(self, verdict: Verdict, now: Now) -> list[Action]:
        self._keep_evidence(verdict)
        self._move(Happening.PASSED, "committed", now)
        update = self.state.update
        sequence = 0 if update is None else update.sequence
        self.state = msgspec.structs.replace(self.state, floor=max(self.state.floor, sequence))
        return [*self._end(), ev.Notify("after_commit", self._release_on_trial)]

    def _roll_back(
        self, reason: str, detail: str, checks: tuple[Check, ...], now: Now
    ) -> list[Action]:
        """Record the verdict first: a power cut on the way ends in the same roll back."""
        self._keep_evidence(ev.Verdict(passed=False, reason=reason, checks=checks))
        self._change(verdict=reason, detail=detail, since=now.wall_s)
        text = f"rolling back: {reason}: {detail}"
        return [ev.Log("warning", text), ev.Save(self.state), *self._check_way_back()]

    def _check_way_back(self) -> list[Action]:
        update = self.state.update
        return self._run(ev.CheckSlot(None if update is None else update.fallback))

    def _go_back(self, now: Now) -> list[Action]:
        update = self.state.update
        if update is None:
            return []
        self._move(Happening.UNFIT, update.verdict, now, detail=update.detail)
        self._bench(update.verdict)
        self.state = msgspec.structs.replace(self.state, active=update.fallback)
        back: list[Action] = [ev.Activate(update.fallback)]
        return [*back, *self._end(), ev.Notify("after_rollback", self._release_on_trial)]

    def _no_way_back(self, error: SlotcastError, now: Now) -> list[Action]:
        """The old slot is damaged: the new release, unfit as it is, is all there is."""
        update = self.state.update
        verdict = "" if update is None else update.verdict
        self._move(Happening.UNFIT, "no_way_back", now, detail=f"{verdict}, but {error}")
        return [ev.Log("critical", f"cannot roll back: {error}"), *self._end()]

    def _roll_back_by_hand(self, now: Now) -> list[Action]:
        if self._phase is State.TRIAL and self._job is None:
            return self._roll_back("by_hand", "asked for on this device", (), now)
        return [ev.Log("warning", "roll back was asked for, and nothing is on trial")]

    # --- endings --------------------------------------------------------------------------

    def _end(self) -> list[Action]:
        """Save and report an ending, and let go of what led there."""
        if self._held is not None and self._inbox is None:
            self._inbox = self._held
        self._held = self._asked = None
        self._retry.reset()
        self._transfer = self._install = None
        self._excluded = frozenset()
        self._sync_s = self._report_s = None
        return [ev.Save(self.state), ev.Report()]

    def _broken(self, error: SlotcastError, now: Now) -> list[Action]:
        """Storage, payload or transfer failed before the switch: the old release is untouched."""
        actions = self._abandon(now)
        self._install = None
        self._move(Happening.BROKEN, error.reason, now, detail=str(error))
        self._retry_later(now)
        said = ev.Log("error", f"failed: {error.reason}: {error}")
        return [*actions, said, ev.Report(), ev.Save(self.state)]

    def _stuck(self, error: SlotcastError, now: Now) -> list[Action]:
        """Storage failed in the middle of the switch: look again, as after a restart."""
        self._note(f"{error.reason}: {error}; trying again")
        self._job = None
        self._wake_s = now.mono_s + self._retry.next_s() / 4
        return [ev.Log("error", f"{error.reason}: {error}"), ev.Report()]

    def _retry_later(self, now: Now) -> None:
        self._wake_s = now.mono_s + self._retry.next_s()

    # --- the record -----------------------------------------------------------------------

    def _set(
        self,
        trusted: Trusted | None,
        happening: Happening,
        reason: str,
        now: Now,
        *,
        detail: str = "",
        group: str = "",
    ) -> None:
        """Begin a new update record for what a notice says."""
        state = follow(self._phase, happening)
        release = None if trusted is None else trusted.release
        update = Update(
            version="0" if release is None else release.version,
            sequence=0 if release is None else release.sequence,
            release_sha256=b"" if trusted is None else trusted.release_sha256,
            state=state,
            reason=reason,
            detail=detail,
            since=now.wall_s,
            attempt=1 if trusted is None else trusted.offer.attempt,
            deployment="" if trusted is None else trusted.offer.deployment,
            group=group,
        )
        signed = 0 if trusted is None else trusted.offer.issued
        self.state = msgspec.structs.replace(
            self.state, update=update, signed_time=max(self.state.signed_time, signed)
        )

    def _move(self, happening: Happening, reason: str, now: Now, *, detail: str = "") -> None:
        """Move the update on, by the table."""
        state = follow(self._phase, happening)
        self._change(state=state, reason=reason, detail=detail, since=now.wall_s)

    def _change(self, **fields: object) -> None:
        if self.state.update is not None:
            update = msgspec.structs.replace(self.state.update, **fields)
            self.state = msgspec.structs.replace(self.state, update=update)

    def _note(self, detail: str) -> None:
        self._change(detail=detail)

    def _keep_evidence(self, verdict: Verdict) -> None:
        update = self.state.update
        if update is not None and verdict.checks:
            evidence = Evidence(sequence=update.sequence, checks=verdict.checks)
            self._change(evidence=evidence)

    def _bench(self, reason: str) -> None:
        update = self.state.update
        if update is not None and update.sequence:
            entry = BenchedEntry(
                sequence=update.sequence,
                version=update.version,
                reason=reason,
                attempt=update.attempt,
            )
            self.state = self.state.benching(entry)


def _same_end(before: Update | None, after: Update | None) -> bool:
    """Whether two endings say the same, but for when: then nothing need be written again."""
    if before is None or after is None:
        return False
    return (before.state, before.reason, before.sequence, before.detail, before.deployment) == (
        after.state,
        after.reason,
        after.sequence,
        after.detail,
        after.deployment,
    )
