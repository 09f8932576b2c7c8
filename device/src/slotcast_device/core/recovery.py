"""What a start makes of what the last run left: a pure function of record, link and slots.

| update's state in the record | `current` opens | what is done |
|---|---|---|
| ACTIVATING | the candidate | the switch had happened: go on with the trial |
| ACTIVATING | the fallback | switch again, if the candidate is sound; else FAILED |
| TRIAL, verdict set | the candidate | go on rolling back, for the verdict's reason |
| TRIAL, verdict set | the fallback | the roll back had happened: record it |
| TRIAL, stopped in order | the candidate | go on with the trial |
| TRIAL | the candidate | one more restart; over the limit: roll back; else go on |
| TRIAL | the fallback | somebody switched by hand: record ROLLED_BACK |
| any other | a sound slot | nothing; a transfer goes on when the notice comes again |
| any | a damaged slot | open the other slot if it is sound; report `slot_damaged` |

A look at the disk in the middle of a run, after storage failed, goes by the same table, and is no
restart. A state that is not listed here means: serve what `current` opens, begin nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slotcast_device.core.state import ModelState, SlotName, SlotRecord, Update, other
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotcast_schemas.errors import SlotcastError
    from slotcast_schemas.messages import Release


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at the disk found.

    Attributes:
        state: the record; None where there is none that can be read.
        current: the slot that `current` opens.
        sealed: what each slot's own copy of its release says it holds.
        releases: the same releases, whole.
        sound: slots whose files were hashed and are what `sealed` says.
        problem: why the record cannot be used; nothing may be begun while it is there.
        note: what was mended on the way, for the log.
    """

    state: ModelState | None
    current: SlotName | None
    sealed: Mapping[SlotName, SlotRecord]
    releases: Mapping[SlotName, Release]
    sound: frozenset[SlotName]
    problem: SlotcastError | None = None
    note: str = ""

    def max_restarts(self, slot: SlotName | None) -> int:
        """Give how many restarts the release on trial in a slot may see."""
        release = None if slot is None else self.releases.get(slot)
        return 0 if release is None else release.trial.max_restarts


class Next(Enum):
    """What the core does after recovery."""

    NOTHING = "nothing"
    SWITCH = "switch to the candidate"
    TRIAL = "go on with the trial"
    ROLL_BACK = "go on rolling back"


@dataclass(frozen=True, slots=True)
class Recovery:
    """The record to go on from.

    Attributes:
        activate: point `current` here before anything else; None leaves it.
        note: a line for the log where something had to be mended.
    """

    state: ModelState
    then: Next = Next.NOTHING
    activate: SlotName | None = None
    note: str = ""


def recover(model: str, found: Findings, *, is_start: bool = True) -> Recovery:
    """Decide how to go on after a start, or after storage failed in the middle of a run.

    Args:
        model: the model's name.
        found: what a look at the disk found.
        is_start: whether the process has just begun.
    """
    if found.state is None:
        return from_slots(model, found)
    state = _believe_slots(found.state, found)
    damaged = found.current is not None and found.current not in found.sound
    if damaged:
        return _leave_damaged(state, found)
    update = state.update
    if update is not None and update.state is State.ACTIVATING:
        return _activating(state, update, found)
    if update is not None and update.state is State.TRIAL:
        return _on_trial(state, update, found, is_start=is_start)
    if state.active != found.current:
        state = replace(state, active=found.current)
        return Recovery(state, note=f"took slot {found.current} as active: `current` opens it")
    return Recovery(state)


def from_slots(model: str, found: Findings) -> Recovery:
    """Rebuild a lost record from the slots; the floor is what is active, never less."""
    slots = {slot: found.sealed[slot] for slot in found.sound if slot in found.sealed}
    active = found.current
    record = slots.get(active) if active is not None else None
    state = ModelState(
        model=model,
        active=active,
        slots=slots,
        floor=0 if record is None else record.sequence,
    )
    note = "" if record is None else "the record was missing; rebuilt it from the slots"
    return Recovery(state, note=note)


def _believe_slots(state: ModelState, found: Findings) -> ModelState:
    """Keep the records of slots that are sound; a slot's own release is the authority."""
    for slot in ("a", "b"):
        name: SlotName = slot
        state = state.with_slot(name, found.sealed.get(name) if name in found.sound else None)
    return state


def _leave_damaged(state: ModelState, found: Findings) -> Recovery:
    """The active slot's files have changed: serve the other slot, if it is sound."""
    current = found.current
    if current is None:  # the caller looked; this is for the type checker
        return Recovery(state)
    spare = other(current)
    update = _ended(state.update, State.FAILED, "slot_damaged", f"slot {current} was damaged")
    if spare not in found.sound:
        # Keep `current`: a damaged file may still load, and no file certainly does not.
        state = replace(state, active=current, update=update)
        return Recovery(state, note=f"slot {current} is damaged, and no other slot is sound")
    state = replace(state, active=spare, update=update)
    return Recovery(state, activate=spare, note=f"slot {current} is damaged; slot {spare} serves")


def _activating(state: ModelState, update: Update, found: Findings) -> Recovery:
    if update.slot is not None and found.current == update.slot:
        return Recovery(replace(state, active=update.slot), Next.TRIAL)
    if update.slot in found.sound:
        return Recovery(replace(state, active=found.current), Next.SWITCH)
    ended = _ended(update, State.FAILED, "slot_damaged", "the candidate was damaged")
    return Recovery(replace(state, active=found.current, update=ended))


def _on_trial(state: ModelState, update: Update, found: Findings, *, is_start: bool) -> Recovery:
    state = replace(state, active=found.current)
    if found.current != update.slot:
        reason = update.verdict or "switched_by_hand"
        detail = update.detail if update.verdict else ""  # else it says what the trial waited for
        return Recovery(
            replace(state, update=_ended(update, State.ROLLED_BACK, reason, detail)),
            note=f"the roll back had happened ({reason})",
        )
    if update.verdict:
        return Recovery(state, Next.ROLL_BACK)
    if update.stopped or not is_start:
        return Recovery(replace(state, update=replace(update, stopped=False)), Next.TRIAL)
    update = replace(update, restarts=update.restarts + 1)
    allowed = found.max_restarts(update.slot)
    if update.restarts > allowed:
        update = replace(
            update,
            verdict="restarts",
            detail=f"{update.restarts} restarts on trial, {allowed} are allowed",
        )
        return Recovery(replace(state, update=update), Next.ROLL_BACK)
    return Recovery(replace(state, update=update), Next.TRIAL)


def _ended(update: Update | None, state: State, reason: str, detail: str) -> Update:
    if update is None:
        return Update(
            version="0", sequence=0, release_sha256=b"", state=state, reason=reason, detail=detail
        )
    return replace(update, state=state, reason=reason, detail=detail)
