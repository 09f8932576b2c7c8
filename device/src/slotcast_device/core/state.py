"""What a device knows of one model, durably: slots, floor, the update under way, what was benched.

Pure: types and what follows from them. `storage.state_file` reads and writes the record.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_device.core.dropped_bytes import DroppedBytes
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.floor_word import FloorWord
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.status import BenchedRelease, Evidence, StatusFile
from slotcast_schemas.states import State

FORMAT: Final = 1
"""The version of the record's format; a record with another one is refused."""
BENCHED_MAX: Final = 16
"""The most benched releases that are remembered; the oldest is forgotten first, whose sequence is
below the floor by then, or superseded."""

SlotName = Literal["a", "b"]
"""The name of one of a model's two slots, and of its folder."""
SLOT_NAMES: Final[tuple[SlotName, SlotName]] = ("a", "b")
"""The names of both slots."""


def other_slot(slot: SlotName) -> SlotName:
    """Give the other slot of the pair."""
    return "b" if slot == "a" else "a"


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A release that a slot holds, whole, verified and read-only.

    `size_bytes` and `sha256` are of the image; `release_sha256` is of the signed release.
    """

    version: str
    sequence: int
    release_sha256: bytes
    sha256: bytes
    size_bytes: int
    entry: str
    files: tuple[StatusFile, ...]


class ProvisionedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The release that is kept beside the slots, and that the device can be set back to."""

    version: str
    sequence: int
    release_sha256: bytes


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """The update under way, or how the last one ended.

    Attributes:
        slot: where the release was, or is being, built.
        fallback: the slot to go back to; null on a first install.
        verdict: set before a roll back begins, so that a power cut in the middle of it ends in
            the same roll back with the same reason.
        restarts: starts of the agent that found this update in TRIAL, and no orderly stop before.
        trial_began: when, by this device's clock: for people, nothing is decided by it.
        trial_s: how long the trial was watched, up to the last save, by a clock that does not jump.
        application_restarts: that were seen in the trial, up to the last save.
        stopped: the agent was stopped in order: the next start is no restart.
    """

    version: str
    sequence: int
    release_sha256: bytes
    state: State
    reason: str
    detail: str = ""
    since: int = 0
    attempt: int = 1
    deployment: str = ""
    group: str = ""
    slot: SlotName | None = None
    fallback: SlotName | None = None
    verdict: str = ""
    restarts: int = 0
    trial_began: int = 0
    evidence: Evidence | None = None
    trial_s: float = 0.0
    stopped: bool = False
    application_restarts: int = 0

    def benched(self, reason: str) -> BenchedRelease:
        """Give the entry that keeps this release from being tried again by itself."""
        return BenchedRelease(
            sequence=self.sequence, version=self.version, reason=reason, attempt=self.attempt
        )


def unknown_release(state: State, reason: str, detail: str, *, since: int = 0) -> Update:
    """Give the update of an ending that no notice brought, so that its release is not known.

    Args:
        state: where it ended.
        reason: the word that goes with it.
        detail: one sentence for people.
        since: when, by this device's clock.
    """
    return Update(
        version="0",
        sequence=0,
        release_sha256=b"",
        state=state,
        reason=reason,
        detail=detail,
        since=since,
    )


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """What this device knows of one model, durably.

    Attributes:
        floor: the highest sequence ever committed, but for those that a signed word took out;
            nothing lower is accepted again.
        active: the slot that `current` opens.
        slots: what each slot holds; a slot missing here holds nothing to rely on.
        signed_time: the time at which the newest notice was signed: a lower bound of now for a
            device whose clock does not run while it is off.
        full_day, full_bytes: whole images begun on that day (since 1970-01-01 UTC), in bytes.
        full_payload: the last of them, which may be gone on with.
        notice_expires: when the first signature of the last good notice ends; 0: not known.
        link_bytes_per_s: what the last transfer came to, waits and all; 0: not known.
        broken_day, broken_payloads: payloads that gave something else than the signed image on
            that day.
        floor_word: the newest word of the targets key on which sequences count.
        notice_sha256: of the bytes of the last good notice.
        provisioned: what is kept to be set back to; None where nothing is.
        retried_day, retries: releases that failed here again on that day, after they had before.
        dropped: what was fetched of payloads that came to nothing.
        set_back: `asked`: the owner wants the provisioned release back; `done`: it serves, and no
            notice begins anything until the owner says so.
    """

    format: int = FORMAT
    model: str
    floor: int = 0
    active: SlotName | None = None
    slots: dict[SlotName, SlotRecord] = {}
    update: Update | None = None
    benched: Annotated[tuple[BenchedRelease, ...], Meta(max_length=BENCHED_MAX)] = ()
    signed_time: int = 0
    full_day: int = 0
    full_bytes: int = 0
    full_payload: bytes = b""
    notice_expires: int = 0
    link_bytes_per_s: int = 0
    broken_day: int = 0
    broken_payloads: int = 0
    floor_word: FloorWord | None = None
    notice_sha256: bytes = b""
    provisioned: ProvisionedRelease | None = None
    set_back: Literal["", "asked", "done"] = ""
    dropped: DroppedBytes = DroppedBytes()
    retried_day: int = 0
    retries: int = 0

    @property
    def active_record(self) -> SlotRecord | None:
        """What the active slot holds."""
        return None if self.active is None else self.slots.get(self.active)

    @property
    def standby(self) -> SlotName:
        """The slot that may be written: the one that `current` does not open."""
        return "a" if self.active is None else other_slot(self.active)

    def with_slot(self, slot: SlotName, record: SlotRecord | None) -> ModelState:
        """Give the state with one slot's record set, or taken away."""
        slots = {name: kept for name, kept in self.slots.items() if name != slot}
        if record is not None:
            slots[slot] = record
        return msgspec.structs.replace(self, slots=slots)

    def with_update(self, update: Update | None) -> ModelState:
        """Give the state with another update record."""
        return msgspec.structs.replace(self, update=update)

    def counts(self, sequence: int) -> bool:
        """Whether a sequence is one of those that count, by the newest signed word."""
        return self.floor_word is None or self.floor_word.counts(sequence)

    def heeding(self, word: FloorWord) -> ModelState:
        """Give the state that heeds a signed word on the floor, if the word is a newer one."""
        if not word.is_above(self.floor_word):
            return self
        floor = self.floor if word.counts(self.floor) else word.sequence
        return msgspec.structs.replace(self, floor=floor, floor_word=word)

    def counting_full(self, payload: bytes, size_bytes: int, day: int) -> ModelState:
        """Give the state with a whole image begun; one whose transfer goes on counts once.

        Args:
            payload: its digest.
            size_bytes: what of it is to be fetched.
            day: since 1970-01-01, UTC.
        """
        if payload == self.full_payload:
            return self
        full_bytes = self.full_bytes_on(day) + size_bytes
        return msgspec.structs.replace(
            self, full_day=day, full_bytes=full_bytes, full_payload=payload
        )

    def counting_broken(self, size_bytes: int, day: int) -> ModelState:
        """Give the state with a payload that came to nothing; its bytes count as a whole image's.

        Args:
            size_bytes: what of it was fetched, if that was not counted when it was begun.
            day: since 1970-01-01, UTC.
        """
        broken = self.broken_payloads if self.broken_day == day else 0
        return msgspec.structs.replace(
            self,
            broken_day=day,
            broken_payloads=broken + 1,
            full_day=day,
            full_bytes=self.full_bytes_on(day) + size_bytes,
        )

    def dropping(self, day: int, instead: bytes, sequence: int) -> ModelState:
        """Give the state after another payload took the place of the bytes on the disk.

        They count against the day's bound, unless they were counted when their transfer began. If
        that payload is begun again, it counts again.

        Args:
            day: since 1970-01-01, UTC.
            instead: the digest of the payload that comes; empty if none does.
            sequence: of its release; 0 if none comes.
        """
        before = self.dropped
        state = msgspec.structs.replace(self, dropped=before.dropping(day, instead, sequence))
        if not before.is_lost_to(instead):
            return state
        is_counted = before.payload == self.full_payload
        full_bytes = self.full_bytes_on(day) + (0 if is_counted else before.at_risk_bytes)
        return msgspec.structs.replace(state, full_day=day, full_bytes=full_bytes, full_payload=b"")

    def full_bytes_on(self, day: int) -> int:
        """Give what counts against a day's bound; days since 1970-01-01, UTC."""
        return self.full_bytes if self.full_day == day else 0

    def counting_retry(self, sequence: int, day: int) -> ModelState:
        """Give the state with a release that failed, counted if it had failed before.

        Args:
            sequence: of the release.
            day: since 1970-01-01, UTC.
        """
        if all(entry.sequence != sequence for entry in self.benched):
            return self
        return msgspec.structs.replace(self, retried_day=day, retries=self.retries_on(day) + 1)

    def retries_on(self, day: int) -> int:
        """Give how many releases failed again on a day."""
        return self.retries if self.retried_day == day else 0

    def benching(self, entry: BenchedRelease) -> ModelState:
        """Give the state with one more benched release, the oldest forgotten past the bound."""
        kept = [b for b in self.benched if b.sequence != entry.sequence]
        return msgspec.structs.replace(self, benched=(*kept, entry)[-BENCHED_MAX:])


make_decoders(ModelState)


def record_of(release: Release, release_sha256: bytes) -> SlotRecord:
    """Give the record of a slot that holds this release."""
    return SlotRecord(
        version=release.version,
        sequence=release.sequence,
        release_sha256=release_sha256,
        sha256=release.image_sha256,
        size_bytes=release.image_size_bytes,
        entry=release.entry,
        files=tuple(
            StatusFile(path=f.path, size_bytes=f.size_bytes, sha256=f.sha256) for f in release.files
        ),
    )
