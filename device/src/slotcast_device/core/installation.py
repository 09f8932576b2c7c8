"""From an accepted plan to a probed standby slot: ask the owner, collect, rebuild, probe.

Which payload is fetched is decided by `plan`, and how its chunks are asked for by `collecting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_device.core import actions as act
from slotcast_device.core.collecting import Collecting
from slotcast_device.core.content_key import VainLists
from slotcast_device.core.needed_chunks import fetch_bytes, needed_chunks
from slotcast_device.core.state import record_of
from slotcast_device.core.state_table import Happening
from slotcast_device.core.waits import USUAL, Waits
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.content_key import KEYS_CODEC
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    import random

    from slotcast_device.core.actions import Action, Spooled, Verdict
    from slotcast_device.core.events import Now
    from slotcast_device.core.plan import Install
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.signed_time import SignedTime
    from slotcast_device.core.switch_and_commit import Switching
    from slotcast_device.core.transfer.slow_link import SlowLimit
    from slotcast_schemas.errors import SlotcastError
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.messages.status import Progress
    from slotcast_schemas.topics import Topics
    from slotcast_schemas.verify import Trusted

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
        asks_owner: whether windows, consent or hooks are configured.
        slow: what is reported as too slow.
        signed_time: what day it is.
        models: how many share the connection, this one included.
        waits: how long to wait.

    Attributes:
        collecting: its transfer, and what the link tells of it.
        trusted: the notice that asked for it.
        install: what the plan decided; None while nothing is under way.
        excluded: digests of payloads that did not decode here, and of lists without its key.
        vain_lists: how many lists were without its key, by day.
    """

    def __init__(
        self,
        record: UpdateRecord,
        switching: Switching,
        device: str,
        topics: Topics,
        rng: random.Random,
        *,
        asks_owner: bool,
        slow: SlowLimit,
        signed_time: SignedTime,
        models: int,
        waits: Waits = USUAL,
    ) -> None:
        self._record = record
        self._agenda = record.agenda
        self._switching = switching
        self._asks_owner = asks_owner
        self._time = signed_time
        self._is_key_awaited = False  # the list with the content key is collected first
        self._is_settled = False  # what came of the payload was of use, or is counted as broken
        self._waiting: act.AskHook | act.ProbeSlot | None = None
        self._busy = Backoff(rng, BUSY_FIRST_S, BUSY_CAP_S)
        self.collecting = Collecting(
            record,
            device,
            topics,
            rng,
            models=models,
            slow=slow,
            collected=self._collected,
            waits=waits,
        )
        self.trusted: Trusted | None = None
        self.install: Install | None = None
        self.excluded: frozenset[bytes] = frozenset()
        self.vain_lists = VainLists()

    # --- what the core asks -------------------------------------------------------------------

    @property
    def deadline_s(self) -> float | None:
        """When `Collecting.tick` is due."""
        return self.collecting.deadline_s

    @property
    def progress(self) -> Progress | None:
        """How far the transfer is."""
        return None if self.install is None else self.collecting.progress(self.install.saved_bytes)

    def is_busy_with(self, install: Install, trusted: Trusted) -> bool:
        """Whether this very release is fetched with this very payload, or waits for consent."""
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
        actions = self.abandon()
        self.trusted, self.install = trusted, install
        self._is_settled = False
        if self._asks_owner:
            self._record.begin(trusted, Happening.HELD, Reason.OWNER, now, group=install.group)
            return [*actions, *self._agenda.run(act.AskHook("before_download", trusted.release))]
        return actions + self._begin_update(now)

    def _begin_update(self, now: Now) -> list[Action]:
        trusted, install = self._what_is_under_way()
        how = "reuse" if install.payload is None else _said(install.payload, install.why)
        self._record.begin(
            trusted, Happening.OFFERED, Reason.DOWNLOADING, now, group=install.group, detail=how
        )
        self.collecting.begin(now)
        if install.payload is None:
            return self._record.save() + self._collected(now)
        if install.keys is not None:
            self._is_key_awaited = True
            job = act.OpenSpool(install.keys.payload)
            return self._record.save() + self._agenda.run(job)
        return self._open_payload(install.payload, now)

    def _open_payload(self, payload: Payload, now: Now) -> list[Action]:
        trusted, install = self._what_is_under_way()
        self.drop_chunks(now, payload.sha256, trusted.release.sequence)
        cost = fetch_bytes(payload, trusted.release, install.reuse)
        self._record.take_up(payload, cost, self._time.day(now))
        began = self._record.save()
        is_whole = payload.base is None and not install.reuse
        whole = trusted.release if is_whole else None
        return began + self._agenda.run(act.OpenSpool(payload, whole))

    def _what_is_under_way(self) -> tuple[Trusted, Install]:
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
            return [*self.abandon(), *record.end()]
        if job.stage == "before_download":
            return self._begin_update(now)
        return self._switching.activate(self._what_is_under_way()[1].slot, now)

    def ask_again(self) -> list[Action]:
        """The wait is over, for the owner or for a device that was busy.

        Before a download the plan is made anew instead.
        """
        return [] if self._waiting is None else self._agenda.run(self._waiting)

    # --- collecting ---------------------------------------------------------------------------

    def spool_open(self, spooled: Spooled, now: Now) -> list[Action]:
        """The spool is there, with this in it: ask for the rest."""
        trusted, install = self._what_is_under_way()
        asks_by_name = trusted.offer.want_topic == "device"
        if self._is_key_awaited and install.keys is not None:
            keys = install.keys
            return self.collecting.open(
                keys.payload, [keys.chunk], spooled, now, asks_by_name=asks_by_name
            )
        payload = install.payload
        if payload is None:
            raise TypeError("a spool was opened for no payload")
        needed = needed_chunks(payload, trusted.release, install.reuse)
        actions = self.collecting.open(payload, needed, spooled, now, asks_by_name=asks_by_name)
        size_bytes = sum(map(payload.chunk_bytes, needed))
        how = _said(payload, install.why)
        text = f"collecting {trusted.release.version}: {size_bytes} bytes, {how}"
        return [act.Log("info", text), *actions]

    def step_done(self, step: act.TakeKey | act.Build, now: Now) -> list[Action]:
        """Go on from what was done with a collected payload.

        Args:
            step: what was done.
            now: the time.
        """
        return self._built(now) if isinstance(step, act.Build) else self._key_taken(now)

    def _key_taken(self, now: Now) -> list[Action]:
        """The content key is here: go on with what it opens."""
        _, install = self._what_is_under_way()
        if install.payload is None:
            raise TypeError("a content key was taken for no payload")
        self._is_key_awaited = False
        actions = self.collecting.abandon()
        self.collecting.begin(now)
        return actions + self._open_payload(install.payload, now)

    # --- ending -------------------------------------------------------------------------------

    def abandon(self) -> list[Action]:
        """Let go of a transfer; its chunks stay until another payload needs the room."""
        payload = None if self.install is None else self.install.payload
        if payload is not None and not self._is_key_awaited and not self._is_settled:
            self._record.keep_chunks(payload, self.collecting.received_bytes)
        actions = self.collecting.abandon()
        self.install = None
        self._is_key_awaited = False
        self._waiting = None
        self._agenda.sleep()
        return actions

    # --- building and probing -----------------------------------------------------------------

    def drop_chunks(self, now: Now, instead: bytes = b"", sequence: int = 0) -> None:
        """Count what lies on the disk of a payload that is not gone on with.

        Args:
            now: the time.
            instead: the digest of the payload that takes its place; empty if none does.
            sequence: of that payload's release.
        """
        self._record.drop_chunks(self._time.day(now), instead, sequence)

    def _settle(self) -> None:
        self._is_settled = True
        self._record.settle_chunks()

    def _collected(self, now: Now) -> list[Action]:
        trusted, install = self._what_is_under_way()
        if self._is_key_awaited and install.keys is not None:
            return self._agenda.run(act.TakeKey(install.keys, trusted.release))
        record = self._record
        record.move(Happening.COLLECTED, Reason.BUILDING, now)
        # The record must not speak of the slot any more before the first file in it goes.
        before = record.state
        record.set_slot(install.slot, None)
        record.note_link(self.collecting.link_bytes_per_s(now))
        self.collecting.end()
        build = self._agenda.run(act.Build(install, trusted, before))
        return [act.Save(record.state), *build, act.PublishStatus()]  # the job need not wait

    def _built(self, now: Now) -> list[Action]:
        """Every file in the standby slot is the signed one: probe it."""
        trusted, install = self._what_is_under_way()
        record = self._record
        record.move(Happening.BUILT, Reason.PROBING, now)
        self._settle()
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
        trusted, install = self._what_is_under_way()
        payload = install.payload
        if self._is_key_awaited and install.keys is not None:
            self.excluded |= {install.keys.payload.sha256}
            self.vain_lists.add(self._time.day(now))
        elif payload is not None:
            self.excluded |= {payload.sha256}
            self._settle()
            uncounted = payload.size_bytes if payload.base is not None else 0
            self._record.count_broken(uncounted, self._time.day(now))
        images = [each for each in trusted.offer.payloads if each.codec != KEYS_CODEC]
        if all(payload.sha256 in self.excluded for payload in images):
            return None
        again = "" if self._is_key_awaited else "; trying another payload"
        text = f"{error.reason}: {error}{again}"
        actions = self.abandon()
        # Not under way any more: if no other payload will do, the plan's refusal is the ending.
        self._record.move(Happening.BROKEN, error.reason, now, detail=text)
        return [*actions, act.Log("warning", text), act.DropSpool(), act.Save(self._record.state)]

    def probed(self, job: act.ProbeSlot, verdict: Verdict, now: Now) -> list[Action]:
        """Switch, end without having switched, or probe again later.

        Args:
            job: the probe.
            verdict: what it found.
            now: the time.
        """
        trusted, install = self._what_is_under_way()
        record = self._record
        record.keep_evidence(verdict.checks)
        if verdict.passed is None and not record.has_lost_what_served:
            return self._probe_later(job, verdict, now)
        self._waiting = None
        self._busy.reset()
        if verdict.passed is False:
            record.move(Happening.UNFIT, verdict.reason, now, detail=verdict.detail)
            record.bench(verdict.reason, self._time.day(now))
            said = act.Log("warning", f"the probe failed: {verdict.reason}: {verdict.detail}")
            ended = [*self.abandon(), *record.end()]
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


def _said(payload: Payload, why: str) -> str:
    """The payload that was chosen, and why, where there was a choice."""
    return f"{payload.codec}: {why}" if why else payload.codec
