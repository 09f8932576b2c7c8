"""From an accepted plan to a probed standby slot: ask the owner, collect, rebuild, probe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.lifecycle import Happening
from slotcast_device.core.plan import fetch_bytes, needed_chunks
from slotcast_device.core.state import record_of
from slotcast_device.core.status import progress_of
from slotcast_device.core.transfer import transfer_actions
from slotcast_device.core.transfer.transfer import Transfer
from slotcast_device.core.transfer_watch import TransferWatch
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from slotcast_device.core.actions import Action, Spooled, Verdict
    from slotcast_device.core.events import Now
    from slotcast_device.core.plan import Install
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.signed_time import SignedTime
    from slotcast_device.core.switching import Switching
    from slotcast_device.core.transfer.broker_limits import Allowance
    from slotcast_device.core.transfer.credit import Credit
    from slotcast_device.core.transfer.slow_link import SlowLimit
    from slotcast_schemas.errors import SlotcastError
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.messages.status import Progress
    from slotcast_schemas.topics import Topics
    from slotcast_schemas.verify import Trusted

SYNC_EVERY_S: Final = 30.0
"""The seconds between two times that chunks are made durable: it bounds what a power cut takes, and
on a fast link an update is over before."""
PROGRESS_EVERY_S: Final = 15.0
"""The seconds between two reports of how far a transfer is."""
BUSY_FIRST_S: Final = 60.0
"""The first wait in seconds before a model is probed again that the device was too busy to
judge."""
BUSY_CAP_S: Final = 900.0
"""The longest of these waits, in seconds."""


class Installation:
    """The update under way, up to the decision to switch.

    Args:
        record: what is known of the model.
        switching: what comes after that decision.
        device: this device's id, named in wants.
        topics: where things are published.
        rng: jitter of waits.
        credit: how many chunks may be under way.
        asks_owner: whether windows, consent or hooks are configured.
        slow: what is reported as too slow.
        signed_time: what day it is.
        allowance: what the present broker allows.
    """

    def __init__(
        self,
        record: UpdateRecord,
        switching: Switching,
        device: str,
        topics: Topics,
        rng: random.Random,
        credit: Credit,
        *,
        asks_owner: bool,
        slow: SlowLimit,
        signed_time: SignedTime,
        allowance: Allowance,
    ) -> None:
        self._record = record
        self._agenda = record.agenda
        self._switching = switching
        self._device = device
        self._topics = topics
        self._rng = rng
        self._credit = credit
        self._asks_owner = asks_owner
        self._time = signed_time
        self._waiting: act.AskHook | act.ProbeSlot | None = None
        self._busy = Backoff(rng, BUSY_FIRST_S, BUSY_CAP_S)
        self._allowance = allowance
        self._watch = TransferWatch(record, allowance, slow)
        self._sync_s: float | None = None
        self._report_s: float | None = None
        self.trusted: Trusted | None = None
        self.install: Install | None = None
        self.transfer: Transfer | None = None
        self.excluded: frozenset[bytes] = frozenset()
        self.is_link_up = False

    # --- what the core asks -------------------------------------------------------------------

    @property
    def deadline_s(self) -> float | None:
        """When `tick` is due."""
        fetch_s = None if self.transfer is None else self.transfer.deadline_s
        due = [
            d
            for d in (fetch_s, self._sync_s, self._report_s, self._watch.deadline_s)
            if d is not None
        ]
        return min(due, default=None)

    @property
    def progress(self) -> Progress | None:
        """How far the transfer is."""
        if self.transfer is None or self.install is None:
            return None
        return progress_of(
            self.transfer, self.install.saved_bytes, int(self._watch.rate_bytes_per_s)
        )

    def is_busy_with(self, install: Install, trusted: Trusted) -> bool:
        """Whether just this release is being collected by just this payload, or waits for a yes."""
        if self.install is None or self.trusted is None:
            return False
        if self.trusted.release_sha256 != trusted.release_sha256:
            return False
        is_collecting = self._record.phase is State.DOWNLOADING
        is_waiting = self._record.phase is State.VERIFIED and self._waiting is not None
        return is_waiting or (is_collecting and self.install.payload == install.payload)

    # --- beginning ----------------------------------------------------------------------------

    def take_up(self, install: Install, trusted: Trusted, now: Now) -> list[Action]:
        """Begin an update, or go on with it where it is the same.

        Args:
            install: what the plan decided.
            trusted: the notice that asks for it.
            now: the time.
        """
        if self.is_busy_with(install, trusted):
            self.trusted = trusted
            return []
        actions = self.abandon(now)
        self.trusted, self.install = trusted, install
        if self._asks_owner:
            self._record.begin(trusted, Happening.HELD, Reason.OWNER, now, group=install.group)
            return [*actions, *self._agenda.run(act.AskHook("before_download", trusted.release))]
        return actions + self._begin(now)

    def _begin(self, now: Now) -> list[Action]:
        trusted, install = self._under_way()
        how = "reuse" if install.payload is None else install.payload.codec
        self._record.begin(
            trusted, Happening.OFFERED, Reason.DOWNLOADING, now, group=install.group, detail=how
        )
        self._report_s = now.mono_s + PROGRESS_EVERY_S
        self._watch.begin()
        if install.payload is not None and install.payload.base is None:
            cost = fetch_bytes(install.payload, trusted.release, install.reuse)
            self._record.count_full(install.payload.sha256, cost, self._time.day(now))
        began = self._record.save()
        if install.payload is None:
            return began + self._collected(now)
        is_whole = install.payload.base is None and not install.reuse
        whole = trusted.release if is_whole else None
        return began + self._agenda.run(act.OpenSpool(install.payload, whole))

    def _under_way(self) -> tuple[Trusted, Install]:
        if self.trusted is None or self.install is None:
            raise TypeError("no update is under way")
        return self.trusted, self.install

    def owner_answered(self, job: act.AskHook, answer: act.Answer, now: Now) -> list[Action]:
        """Go on, wait, or stop, as the device's owner says.

        Args:
            job: what was asked.
            answer: what the owner says to it.
            now: the time.
        """
        record = self._record
        if answer.word == "wait":
            record.note(answer.reason or Reason.OWNER, answer.detail)
            self._agenda.wake_in(answer.again_s, now)
            self._waiting = job
            return record.save()
        self._waiting = None
        if answer.word == "refuse":
            reason = answer.reason or Reason.OWNER_REFUSED
            record.move(Happening.REFUSED, reason, now, detail=answer.detail)
            return [*self.abandon(now), *record.end()]
        if job.stage == "before_download":
            return self._begin(now)
        return self._switching.activate(self._under_way()[1].slot, now)

    def ask_again(self) -> list[Action]:
        """The wait is over, for the owner or for a device that was busy.

        Before a download the plan is made anew instead.
        """
        if self._record.phase is State.VERIFIED and self._waiting is not None:
            return self._agenda.run(self._waiting)
        return []

    # --- collecting ---------------------------------------------------------------------------

    def spool_open(self, spooled: Spooled, now: Now) -> list[Action]:
        """The spool is there, with this in it: ask for the rest."""
        trusted, install = self._under_way()
        if install.payload is None:
            raise TypeError("a spool was opened for no payload")
        self.transfer = self._new_transfer(install.payload, trusted, install)
        self._sync_s = now.mono_s + SYNC_EVERY_S
        actions = self.transfer.start(spooled.maps, now.mono_s, is_empty=spooled.is_empty)
        if self.is_link_up:
            actions += self.transfer.connection_made(now.mono_s)
        if spooled.is_empty:
            self._measure_pace(now)
        size, codec = self.transfer.needed_bytes, install.payload.codec
        said = act.Log("info", f"collecting {trusted.release.version}: {size} bytes, {codec}")
        return [said, *self._translate(actions, now)]

    def _new_transfer(self, payload: Payload, trusted: Trusted, install: Install) -> Transfer:
        return Transfer(
            payload=payload,
            needed=needed_chunks(payload, trusted.release, install.reuse),
            topics=self._topics,
            device=self._device,
            rng=self._rng,
            credit=self._credit,
            allowance=self._allowance,
        )

    def scanned(self, present: set[int], now: Now) -> list[Action]:
        """These chunks are on disk already."""
        if self.transfer is None:
            return []
        actions = self._translate(self.transfer.scanned(present, now.mono_s), now)
        self._measure_pace(now)
        return actions

    def connection_made(self, now: Now) -> list[Action]:
        """A connection is there."""
        self.is_link_up = True
        if self.transfer is None:
            return []
        self._measure_pace(now)
        return self._translate(self.transfer.connection_made(now.mono_s), now)

    def connection_lost(self) -> None:
        """The connection is gone."""
        self.is_link_up = False
        self._watch.stop()
        if self.transfer is not None:
            self.transfer.connection_lost()

    def chunk(self, event: ev.ChunkArrived, now: Now) -> list[Action]:
        """A chunk came.

        Raises:
            ChunkCorrupt: it came wrong again and again.
        """
        fetch = self.transfer
        if fetch is None or fetch.payload.sha256 != event.payload:
            return []
        actions = self._translate(fetch.receive_chunk(event.index, event.data, now.mono_s), now)
        return self._watch.something_came() + actions

    def map_part(self, event: ev.MapArrived, now: Now) -> list[Action]:
        """A part of the chunk map came."""
        fetch = self.transfer
        if fetch is None or fetch.payload.sha256 != event.payload:
            return []
        actions = self._translate(fetch.receive_map(event.part, event.data, now.mono_s), now)
        return self._watch.something_came() + actions

    def bytes_arrived(self, now: Now) -> None:
        """The link carries bytes."""
        if self.transfer is not None:
            self.transfer.bytes_arrived(now.mono_s)

    def subscription_answered(self, event: ev.SubscriptionAnswered, now: Now) -> None:
        """The broker took a subscription."""
        self._credit.answered(event.filters, event.took_s)
        self.bytes_arrived(now)

    def subscription_refused(self, event: ev.SubscriptionRefused, now: Now) -> list[Action]:
        """The broker refused a filter."""
        fetch = self.transfer
        if fetch is None or not fetch.holds(event.filter):
            return []
        actions = fetch.subscription_refused(event.filter, now.mono_s, is_final=event.is_final)
        said: list[Action] = []
        if event.is_final:
            said = self._watch.broker_refused(event.text)
        return [*self._translate(actions, now), *said]

    def subscription_unanswered(self, event: ev.SubscriptionUnanswered) -> list[Action]:
        """The broker does not answer a SUBSCRIBE."""
        fetch = self.transfer
        asked = [] if fetch is None else [name for name in event.filters if fetch.holds(name)]
        if not asked:
            return []
        return self._watch.broker_refused(f"the broker does not answer SUBSCRIBE {asked[0]}")

    def tick(self, now: Now) -> list[Action]:
        """Do what is due: ask again, sync, report progress."""
        fetch = self.transfer
        actions: list[Action] = [] if fetch is None else self._watch.note_pace(fetch, now)
        if fetch is not None and fetch.deadline_s is not None and fetch.deadline_s <= now.mono_s:
            actions += self._translate(fetch.timeout(now.mono_s), now)
            actions += self._watch.note_stall(fetch)
        if self._sync_s is not None and self._sync_s <= now.mono_s:
            self._sync_s = now.mono_s + SYNC_EVERY_S
            actions.append(act.SyncSpool())
        if self._report_s is not None and self._report_s <= now.mono_s:
            self._report_s = now.mono_s + PROGRESS_EVERY_S
            if fetch is not None:
                self._watch.measure_rate(fetch, now)
            actions.append(act.PublishStatus())
        return actions

    def _translate(
        self, actions: Sequence[transfer_actions.TransferAction], now: Now
    ) -> list[Action]:
        """Turn the transfer's two questions to the shell into a job and the next step."""
        out: list[Action] = []
        for action in actions:
            if isinstance(action, transfer_actions.Scan):
                if self.transfer is not None:
                    job = act.ScanSpool(self.transfer.payload, dict(self.transfer.maps))
                    out += self._agenda.run(job)
            elif isinstance(action, transfer_actions.Complete):
                out += self._collected(now)
            else:
                out.append(action)
        return out

    def _measure_pace(self, now: Now) -> None:
        if self.transfer is not None and self.is_link_up:
            self._watch.measure_pace(self.transfer, now)

    # --- ending -------------------------------------------------------------------------------

    def abandon(self, now: Now) -> list[Action]:
        """Let go of a transfer; its chunks stay until another payload needs the room."""
        actions: list[Action] = []
        if self.transfer is not None:
            actions = self._translate(self.transfer.stop(), now)
        self.transfer = None
        self.install = None
        self._waiting = None
        self._sync_s = self._report_s = None
        self._watch.stop()
        self._agenda.sleep()
        return actions

    # --- building and probing -----------------------------------------------------------------

    def _collected(self, now: Now) -> list[Action]:
        trusted, install = self._under_way()
        record = self._record
        record.move(Happening.COLLECTED, Reason.BUILDING, now)
        # The record must not speak of the slot any more before the first file in it goes.
        before = record.state
        record.set_slot(install.slot, None)
        self._sync_s = self._report_s = None
        self._watch.stop()
        return [*record.save(), *self._agenda.run(act.Build(install, trusted, before))]

    def built(self, now: Now) -> list[Action]:
        """Every file in the standby slot is the signed one: probe it."""
        trusted, install = self._under_way()
        record = self._record
        record.move(Happening.BUILT, Reason.PROBING, now)
        record.learn_release(install.slot, trusted.release)
        record.set_slot(install.slot, record_of(trusted.release, trusted.release_sha256))
        beside = record.state.active if record.state.active_record is not None else None
        return [
            act.Log("info", f"{trusted.release.version} is verified in slot {install.slot}"),
            act.Save(record.state),
            act.DropSpool(),
            act.PublishStatus(),
            *self._agenda.run(act.ProbeSlot(install.slot, trusted.release, beside)),
        ]

    def exclude_payload(self, error: SlotcastError, now: Now) -> list[Action] | None:
        """Pass over a payload that does not give the signed image; None if it was the last."""
        trusted, install = self._under_way()
        if install.payload is not None:
            self.excluded |= {install.payload.sha256}
        if all(payload.sha256 in self.excluded for payload in trusted.offer.payloads):
            return None
        text = f"{error.reason}: {error}; trying another payload"
        actions = self.abandon(now)
        # Not under way any more: if no other payload will do, the plan's refusal is the ending.
        self._record.move(Happening.BROKEN, error.reason, now, detail=text)
        return [*actions, act.Log("warning", text), act.DropSpool()]

    def probed(self, job: act.ProbeSlot, verdict: Verdict, now: Now) -> list[Action]:
        """Switch, end without having switched, or probe again later.

        Args:
            job: the probe.
            verdict: what it found.
            now: the time.
        """
        trusted, install = self._under_way()
        record = self._record
        record.keep_evidence(verdict)
        if verdict.passed is None and not record.has_lost_what_served:
            return self._probe_later(job, verdict, now)
        self._waiting = None
        self._busy.reset()
        if verdict.passed is False:
            record.move(Happening.UNFIT, verdict.reason, now, detail=verdict.detail)
            record.bench(verdict.reason)
            said = act.Log("warning", f"the probe failed: {verdict.reason}: {verdict.detail}")
            ended = [*self.abandon(now), *record.end()]
            return [said, *ended, act.Notify("refused", trusted.release)]
        if self._asks_owner:
            return self._agenda.run(act.AskHook("before_switch", trusted.release))
        return self._switching.activate(install.slot, now)

    def _probe_later(self, job: act.ProbeSlot, verdict: Verdict, now: Now) -> list[Action]:
        """The device could not judge the model now: that says nothing against it."""
        record = self._record
        self._waiting = job
        wait_s = self._busy.next_s()
        self._agenda.wake_in(wait_s, now)
        record.note(verdict.reason, verdict.detail)
        said = f"{verdict.reason}: {verdict.detail}; it is probed again in {wait_s:.0f} s"
        return [act.Log("warning", said), *record.save()]
