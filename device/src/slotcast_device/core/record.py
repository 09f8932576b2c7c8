"""What the parts of a model's core share: the durable record, and the agenda.

The record changes only through the named operations here, and its state only by the rows of
`state_table`; what a restart makes of it is decided by `recovery` and taken as a whole.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slotcast_device.core import actions as act
from slotcast_device.core.agenda import Agenda
from slotcast_device.core.state import ModelState, Update, unknown_release
from slotcast_device.core.state_table import Happening, follow
from slotcast_schemas.messages.status import Evidence
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotcast_device.core.actions import Action
    from slotcast_device.core.events import Now
    from slotcast_device.core.state import ProvisionedRelease, SlotName, SlotRecord
    from slotcast_schemas.backoff import Backoff
    from slotcast_schemas.errors import SlotcastError
    from slotcast_schemas.floor_word import FloorWord
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.messages.status import Check
    from slotcast_schemas.verify import Trusted


class UpdateRecord:
    """What is known of one model durably, and what was read from its slots.

    Args:
        model: the model's name.
        retry: the waits before the last notice is looked at again; they begin anew at each ending.

    Attributes:
        model: the model's name.
        agenda: the one job under way, and when to look again.
    """

    def __init__(self, model: str, retry: Backoff) -> None:
        self.model = model
        self.agenda = Agenda(retry)
        self._state = ModelState(model=model)
        self._releases: dict[SlotName, Release] = {}
        self._has_ended = False

    # --- reading ------------------------------------------------------------------------------

    @property
    def state(self) -> ModelState:
        """The record as it is now; `save` gives the action that makes it durable."""
        return self._state

    @property
    def releases(self) -> Mapping[SlotName, Release]:
        """The releases that the slots hold."""
        return MappingProxyType(self._releases)

    @property
    def update(self) -> Update | None:
        """The update under way, or the last one."""
        return self._state.update

    @property
    def phase(self) -> State:
        """Where the update stands."""
        return State.IDLE if self._state.update is None else self._state.update.state

    @property
    def reason(self) -> str:
        """The reason that goes with it."""
        return "" if self._state.update is None else self._state.update.reason

    @property
    def release_on_trial(self) -> Release | None:
        """The release in the update's slot."""
        update = self._state.update
        return None if update is None or update.slot is None else self._releases.get(update.slot)

    @property
    def has_lost_what_served(self) -> bool:
        """Whether something was committed here, and no slot that `current` opens is whole now.

        Then a release that was rebuilt is not kept waiting because the device is too busy to
        judge its speed: on trial it serves meanwhile.
        """
        return self._state.floor > 0 and self._state.active_record is None

    def take_ending(self) -> bool:
        """Whether an update ended since this was asked last."""
        has_ended, self._has_ended = self._has_ended, False
        return has_ended

    # --- saving -------------------------------------------------------------------------------

    def save(self) -> list[Action]:
        """Make the record durable, then say so."""
        return [act.Save(self._state), act.PublishStatus()]

    def end(self) -> list[Action]:
        """Save and report an ending."""
        self._has_ended = True
        self.agenda.begin_waits_anew()
        return self.save()

    # --- moving by the table ------------------------------------------------------------------

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
        """Begin a new update for what a notice says.

        Args:
            trusted: the notice; None where none could be verified.
            happening: what it asks for.
            reason: the word that goes with it.
            now: the time.
            detail: one sentence for people.
            group: the offer's group that this device is in.

        Raises:
            IllegalMove: the table has no such row.
        """
        state = follow(self.phase, happening)
        release = None if trusted is None else trusted.release
        offer = None if trusted is None else trusted.offer
        self._put_update(
            Update(
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
        )

    def move(self, happening: Happening, reason: str, now: Now, *, detail: str = "") -> None:
        """Move the update on.

        Args:
            happening: what happened to it.
            reason: the word that goes with the new state.
            now: the time.
            detail: one sentence for people.

        Raises:
            IllegalMove: the table has no such row.
        """
        state = follow(self.phase, happening)
        if self.update is not None:
            changes = {"reason": reason, "detail": detail, "since": now.wall_s}
            self._put_update(replace(self.update, state=state, **changes))

    def recall(self, slot: SlotName, fallback: SlotName) -> None:
        """Begin the roll back of the active release, which is not on trial; `set_verdict` follows.

        Args:
            slot: that serves now.
            fallback: that a person wants back.

        Raises:
            IllegalMove: the table has no such row.
        """
        serving = self._state.slots[slot]
        self._put_update(
            Update(
                version=serving.version,
                sequence=serving.sequence,
                release_sha256=serving.release_sha256,
                state=follow(self.phase, Happening.RECALLED),
                reason=Reason.BY_HAND,
                slot=slot,
                fallback=fallback,
            )
        )

    # --- what is said of the update -----------------------------------------------------------

    def note(self, reason: str, detail: str) -> None:
        """Say something else of the state that the update is in."""
        if self.update is not None:
            self._put_update(replace(self.update, reason=reason, detail=detail))

    def note_detail(self, detail: str) -> None:
        """Say more of the reason that the update has."""
        if self.update is not None:
            self._put_update(replace(self.update, detail=detail))

    def keep_since(self, before: Update) -> None:
        """Say that the update has been where it is for as long as the one before it."""
        if self.update is not None:
            self._put_update(replace(self.update, since=before.since))

    def keep_evidence(self, checks: tuple[Check, ...]) -> None:
        """Keep what a probe or a trial found, to be reported; nothing found keeps what was."""
        if self.update is not None and checks:
            finite = tuple(_drop_nonfinite(check) for check in checks)
            evidence = Evidence(sequence=self.update.sequence, checks=finite)
            self._put_update(replace(self.update, evidence=evidence))

    # --- switch and trial ---------------------------------------------------------------------

    def set_candidate(self, slot: SlotName) -> None:
        """Record which slot is to serve, and which one to go back to."""
        if self.update is not None:
            self._put_update(replace(self.update, slot=slot, fallback=self._state.active))

    def trial_began(self, now: Now) -> None:
        """Record when the trial began, for people."""
        if self.update is not None:
            self._put_update(replace(self.update, trial_began=now.wall_s))

    def note_trial(self, detail: str, application_restarts: int) -> None:
        """Record what the trial waits for, and how often the application began anew."""
        if self.update is not None:
            restarts = application_restarts
            self._put_update(replace(self.update, detail=detail, application_restarts=restarts))

    def note_watched(self, trial_s: float, *, stopped: bool) -> None:
        """Record how long the trial was watched, and whether the agent ends in order."""
        if self.update is not None:
            self._put_update(replace(self.update, trial_s=trial_s, stopped=stopped))

    def set_verdict(self, reason: str, detail: str, now: Now) -> None:
        """Record why the release is to be rolled back, before anything is done about it.

        Args:
            reason: the word that it ends with.
            detail: one sentence for people.
            now: the time.
        """
        if self.update is not None:
            changes = {"detail": detail, "since": now.wall_s}
            self._put_update(replace(self.update, verdict=reason, **changes))

    # --- the model ----------------------------------------------------------------------------

    def set_active(self, slot: SlotName | None) -> None:
        """Record which slot `current` opens."""
        self._state = replace(self._state, active=slot)

    def set_slot(self, slot: SlotName, held: SlotRecord | None) -> None:
        """Record what a slot holds."""
        self._state = self._state.with_slot(slot, held)

    def learn_release(self, slot: SlotName, release: Release) -> None:
        """Take the release that a slot holds."""
        self._releases[slot] = release

    def take_up(self, payload: Payload, fetch_bytes: int, day: int) -> None:
        """Record that a payload is taken up; a whole image counts against the day's bound.

        Args:
            payload: which.
            fetch_bytes: what of it is to be fetched.
            day: since 1970-01-01, UTC.
        """
        if payload.base is None:
            self._state = self._state.counting_full(payload.sha256, fetch_bytes, day)
        dropped = self._state.dropped.taking_up(payload, fetch_bytes)
        self._state = replace(self._state, dropped=dropped)

    def keep_chunks(self, payload: Payload, received_bytes: int) -> None:
        """Record how much came of a payload that is let go of, and stays on the disk."""
        dropped = self._state.dropped.keeping(payload, received_bytes)
        self._state = replace(self._state, dropped=dropped)

    def settle_chunks(self) -> None:
        """Record that the payload taken up last was of use, or is counted as broken."""
        self._state = replace(self._state, dropped=self._state.dropped.forgetting())

    def drop_chunks(self, day: int, instead: bytes, sequence: int) -> None:
        """Count what lies on the disk as lost, unless it is of the payload that comes now.

        Args:
            day: since 1970-01-01, UTC.
            instead: the digest of that payload; empty if none comes.
            sequence: of its release; 0 if none comes.
        """
        self._state = self._state.dropping(day, instead, sequence)

    def count_broken(self, size_bytes: int, day: int) -> None:
        """Count a payload that came to nothing; its bytes are counted against the day's bound.

        Args:
            size_bytes: what of it was fetched, if that was not counted when it was begun.
            day: since 1970-01-01, UTC.
        """
        self._state = self._state.counting_broken(size_bytes, day)

    def note_link(self, bytes_per_s: float | None) -> None:
        """Remember how fast a transfer was, from its beginning to its end, where that is known."""
        if bytes_per_s is not None:
            self._state = replace(self._state, link_bytes_per_s=int(bytes_per_s))

    def note_signed(self, signed_s: int, expires_s: int, notice_sha256: bytes) -> None:
        """Remember when the newest notice was signed, when its first signature ends, and its bytes.

        The same signatures in another envelope are no news: a broker could make any number of them,
        and each would be a write.

        Args:
            signed_s: seconds since 1970.
            expires_s: seconds since 1970.
            notice_sha256: of the bytes that came.
        """
        state = self._state
        is_known = (state.signed_time, state.notice_expires) == (signed_s, expires_s)
        if is_known and state.notice_sha256:
            return
        self._state = replace(
            state,
            signed_time=signed_s,
            notice_expires=expires_s,
            notice_sha256=notice_sha256,
        )

    def raise_floor(self) -> None:
        """Raise the floor to the release that was committed, if its sequence still counts."""
        if self.update is not None and self._state.counts(self.update.sequence):
            floor = max(self._state.floor, self.update.sequence)
            self._state = replace(self._state, floor=floor)

    def heed_floor(self, word: FloorWord) -> bool:
        """Heed a signed word on the floor; says whether the floor was moved by it."""
        before = self._state.floor
        self._state = self._state.heeding(word)
        return self._state.floor != before

    def bench(self, reason: str, day: int) -> None:
        """Do not try this release again by itself.

        Args:
            reason: why it failed.
            day: since 1970-01-01, UTC.
        """
        if self.update is not None:
            counted = self._state.counting_retry(self.update.sequence, day)
            self._state = counted.benching(self.update.benched(reason))

    def keep_provisioned(self, provisioned: ProvisionedRelease | None) -> None:
        """Record which release is kept to be set back to."""
        self._state = replace(self._state, provisioned=provisioned)

    def want_set_back(self) -> None:
        """Record that the owner wants the provisioned release back."""
        self._state = replace(self._state, set_back="asked")

    def was_set_back(self) -> None:
        """Record that it serves, and that updates wait for the owner."""
        self._state = replace(self._state, set_back="done")

    def end_set_back(self) -> None:
        """Let updates go on, also to what was left for the provisioned release."""
        kept = tuple(b for b in self._state.benched if b.reason != Reason.SET_BACK)
        self._state = replace(self._state, set_back="", benched=kept)

    def unbench(self, sequence: int | None) -> None:
        """Forget that a release was benched; None forgets all."""
        kept = tuple(b for b in self._state.benched if sequence not in {None, b.sequence})
        self._state = replace(self._state, benched=kept)

    # --- taken as a whole ---------------------------------------------------------------------

    def recovered(self, state: ModelState, releases: Mapping[SlotName, Release]) -> None:
        """Take what a look at the disk made of the record, and the releases in the slots."""
        self._state = state
        self._releases = dict(releases)

    def unreadable(self, error: SlotcastError, now: Now) -> None:
        """Say why the durable record cannot be used. In memory only: this is never saved."""
        self._put_update(unknown_release(State.FAILED, error.reason, str(error), since=now.wall_s))

    def put_back(self, update: Update | None) -> None:
        """Take back what was begun: it said nothing new."""
        self._put_update(update)

    def restore(self, state: ModelState) -> None:
        """Take back all changes since the record was this one."""
        self._state = state

    def _put_update(self, update: Update | None) -> None:
        self._state = self._state.with_update(update)


def _drop_nonfinite(check: Check) -> Check:
    """Leave out figures that are not finite, which messages cannot say."""
    figures = {name: getattr(check, name) for name in ("value", "limit", "reference")}
    none = [name for name, figure in figures.items() if figure and not math.isfinite(figure)]
    return replace(check, **dict.fromkeys(none))


def same_end(before: Update | None, after: Update | None) -> bool:
    """Whether two records differ only in their times: then nothing need be written again."""
    if before is None or after is None:
        return False
    return (before.state, before.reason, before.sequence, before.detail, before.deployment) == (
        after.state,
        after.reason,
        after.sequence,
        after.detail,
        after.deployment,
    )
