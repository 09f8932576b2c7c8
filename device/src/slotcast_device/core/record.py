"""What the parts of a model's core share: the record, the one job under way, and when to wake.

The record changes only through here, and its state only by `lifecycle`'s table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from slotcast_device.core import events as ev
from slotcast_device.core.lifecycle import Happening, follow
from slotcast_device.core.state import ModelState, Update
from slotcast_schemas.messages.status import Evidence
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.core.events import Action, Job, Now, Verdict
    from slotcast_device.core.state import SlotName, SlotRecord
    from slotcast_schemas.backoff import Backoff
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.status import Check
    from slotcast_schemas.verify import Trusted


class UpdateRecord:
    """The shared part of a model's core.

    Attributes:
        state: the record as it is now; `save` gives the action that makes it durable.
        job: the one job under way.
        wake_s: when the last notice, the trial or the owner is to be looked at again.
        releases: the releases that the slots hold.
        has_ended: an update ended since the core last looked.
    """

    def __init__(self, model: str, retry: Backoff) -> None:
        self.model = model
        self.state = ModelState(model=model)
        self.job: Job | None = None
        self.wake_s: float | None = None
        self.releases: dict[SlotName, Release] = {}
        self.has_ended = False
        self._retry = retry

    # --- jobs and waits -----------------------------------------------------------------------

    def run(self, job: Job) -> list[Action]:
        """Begin a job; nothing else is begun until it is done."""
        self.job = job
        return [job]

    def retry_later(self, now: Now) -> None:
        """Look at the last notice again after a wait that grows."""
        self.wake_s = now.mono_s + self._retry.next_s()

    # --- reading the record -------------------------------------------------------------------

    @property
    def update(self) -> Update | None:
        """The update under way, or the last one."""
        return self.state.update

    @property
    def phase(self) -> State:
        """Where the update stands."""
        return State.IDLE if self.state.update is None else self.state.update.state

    @property
    def reason(self) -> str:
        """The reason that goes with it."""
        return "" if self.state.update is None else self.state.update.reason

    @property
    def release_on_trial(self) -> Release | None:
        """The release in the update's slot."""
        update = self.state.update
        return None if update is None or update.slot is None else self.releases.get(update.slot)

    # --- changing it --------------------------------------------------------------------------

    def save(self) -> list[Action]:
        """Make the record durable, then say so."""
        return [ev.Save(self.state), ev.Report()]

    def begin(
        self,
        trusted: Trusted | None,
        happening: Happening,
        reason: str,
        now: Now,
        *,
        detail: str = "",
        group: str = "",
    ) -> None:
        """Begin a new update record for what a notice says.

        Raises:
            IllegalMove: the table has no such row.
        """
        state = follow(self.phase, happening)
        release = None if trusted is None else trusted.release
        offer = None if trusted is None else trusted.offer
        update = Update(
            version="0" if release is None else release.version,
            sequence=0 if release is None else release.sequence,
            release_sha256=b"" if trusted is None else trusted.release_sha256,
            state=state,
            reason=reason,
            detail=detail,
            since=now.wall_s,
            attempt=1 if offer is None else offer.attempt,
            deployment="" if offer is None else offer.deployment,
            group=group,
        )
        self.set_update(update)

    def move(self, happening: Happening, reason: str, now: Now, *, detail: str = "") -> None:
        """Move the update on, by the table.

        Raises:
            IllegalMove: the table has no such row.
        """
        state = follow(self.phase, happening)
        self.change(state=state, reason=reason, detail=detail, since=now.wall_s)

    def change(self, **fields: object) -> None:
        """Change fields of the update, but for its state."""
        if self.state.update is not None:
            update = msgspec.structs.replace(self.state.update, **fields)
            self.state = msgspec.structs.replace(self.state, update=update)

    def set_update(self, update: Update | None) -> None:
        """Put back an update record, or one of an ending that no notice brought."""
        self.state = msgspec.structs.replace(self.state, update=update)

    def set_active(self, slot: SlotName | None) -> None:
        """Record which slot `current` opens."""
        self.state = msgspec.structs.replace(self.state, active=slot)

    def set_slot(self, slot: SlotName, record: SlotRecord | None) -> None:
        """Record what a slot holds."""
        self.state = self.state.with_slot(slot, record)

    def count_full(self, payload: bytes, size_bytes: int, day: int) -> None:
        """Count a whole image that is begun against the day's bound; days since 1970, UTC."""
        self.state = self.state.counting_full(payload, size_bytes, day)

    def note_signed(self, signed_s: int, expires_s: int) -> None:
        """Remember when the newest notice was signed, and when its first signature ends."""
        self.state = msgspec.structs.replace(
            self.state, signed_time=signed_s, notice_expires=expires_s
        )

    def raise_floor(self) -> None:
        """A release was committed: nothing older is accepted again."""
        update = self.state.update
        sequence = 0 if update is None else update.sequence
        self.state = msgspec.structs.replace(self.state, floor=max(self.state.floor, sequence))

    def keep_evidence(self, verdict: Verdict) -> None:
        """Keep what a probe or a trial found, to be reported."""
        update = self.state.update
        if update is not None and verdict.checks:
            checks = tuple(_finite(check) for check in verdict.checks)
            self.change(evidence=Evidence(sequence=update.sequence, checks=checks))

    def bench(self, reason: str) -> None:
        """Do not try this release again by itself."""
        update = self.state.update
        if update is not None and update.sequence:
            self.state = self.state.benching(update.benched(reason))

    def unbench(self, sequence: int | None) -> None:
        """Forget that a release was benched; None forgets all."""
        kept = tuple(b for b in self.state.benched if sequence not in {None, b.sequence})
        self.state = msgspec.structs.replace(self.state, benched=kept)

    def recall(self, slot: SlotName, fallback: SlotName, now: Now) -> None:
        """Begin the roll back of the active release, which is not on trial."""
        record = self.state.slots[slot]
        update = Update(
            version=record.version,
            sequence=record.sequence,
            release_sha256=record.release_sha256,
            state=follow(self.phase, Happening.RECALLED),
            reason=Reason.BY_HAND,
            since=now.wall_s,
            slot=slot,
            fallback=fallback,
        )
        self.state = msgspec.structs.replace(self.state, update=update)

    def end(self) -> list[Action]:
        """Save and report an ending."""
        self.has_ended = True
        self._retry.reset()
        return self.save()


def _finite(check: Check) -> Check:
    """A model that answers NaN gives figures that are none; messages carry finite ones only."""
    return msgspec.structs.replace(
        check,
        **{
            name: None
            for name in ("value", "limit", "reference")
            if not math.isfinite(getattr(check, name) or 0.0)
        },
    )


def same_end(before: Update | None, after: Update | None) -> bool:
    """Whether two records say the same, but for when: then nothing need be written again."""
    if before is None or after is None:
        return False
    return (before.state, before.reason, before.sequence, before.detail, before.deployment) == (
        after.state,
        after.reason,
        after.sequence,
        after.detail,
        after.deployment,
    )
