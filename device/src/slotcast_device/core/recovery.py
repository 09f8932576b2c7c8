"""What a start makes of what the last run left: a pure function of record, link and slots.

| update's state in the record | `current` opens | what is done |
|---|---|---|
| ACTIVATING | the candidate | the switch had happened: go on with the trial |
| ACTIVATING | the fallback | switch again, if the candidate is sound; else FAILED |
| TRIAL, verdict set | the candidate | go on rolling back, for the verdict's reason |
| TRIAL, verdict set | the fallback | the roll back had happened: record it, and bench it |
| TRIAL, stopped in order | the candidate | go on with the trial |
| TRIAL | the candidate | one more restart; over the limit: roll back; else go on |
| TRIAL | the fallback | somebody switched by hand: record ROLLED_BACK |
| any other | the record's slot, sound | nothing; a transfer goes on when the notice comes |
| any other | the other slot, sound | somebody switched by hand: take it as active |
| any | a damaged slot | open the other slot if it is sound; report `slot_damaged` |
| any | a slot that is not sound, and no other is | open nothing until it is mended |
| none, or nothing was ever committed | what is no slot | take it out of the way |
| any | a damaged slot, and the other was never committed | put that one on trial |
| any | nothing, or what is no slot | put it back at the slot below, then as above |

A look at the disk in the middle of a run, after storage failed, goes by the same table, and is no
restart. A state that is not listed here means: serve what `current` opens, begin nothing.

Where `current` names no slot, these say which one it is put back at, the first that knows:

| what is known | slot |
|---|---|
| TRIAL, verdict set, the fallback is sound | the fallback: a roll back may have begun |
| the record names an active slot | that one; if it is damaged, the row above opens the other |
| a release was committed, and the record names none | the slot that holds it, else the oldest one |
| there is no record | the oldest sound release: it was committed before the other was built |
| nothing was ever committed | none: there is nothing to serve yet |
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from slotcast_device.core import actions as act
from slotcast_device.core.state import (
    ModelState,
    ProvisionedRelease,
    SlotName,
    SlotRecord,
    Update,
    other_slot,
    unknown_release,
)
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotcast_device.core.actions import Action
    from slotcast_schemas.errors import SlotcastError
    from slotcast_schemas.messages import Release


class CurrentLink(msgspec.Struct, frozen=True):
    """What is in the place of `current`.

    Attributes:
        slot: the slot that it names; None where it names none.
        text: what is there, in words.
        is_right: it is the relative link that applications are promised.
        has_files: a plain file or folder is there: perhaps a copy of a model, and no link.
    """

    slot: SlotName | None
    text: str
    is_right: bool = False
    has_files: bool = False


NO_LINK: Final = CurrentLink(None, "nothing")
"""What a look finds where there is no `current`."""


class Findings(msgspec.Struct, frozen=True):
    """What a look at the disk found.

    Attributes:
        state: the record; None where there is none that can be read.
        current: the slot that `current` opens.
        sealed: what each slot's own copy of its release says it holds.
        releases: the same releases, whole.
        sound: slots whose files were hashed and are what `sealed` says.
        tampered: slots whose release the pinned root does not vouch for, and how that was seen.
        problem: why the record cannot be used; nothing may be begun while it is there.
        note: what was mended on the way, for the log.
        link: what is in the place of `current`, where somebody looked closer.
        provisioned: the release that is kept beside the slots.
    """

    state: ModelState | None
    current: SlotName | None
    sealed: Mapping[SlotName, SlotRecord]
    releases: Mapping[SlotName, Release]
    sound: frozenset[SlotName]
    problem: SlotcastError | None = None
    note: str = ""
    link: CurrentLink | None = None
    tampered: Mapping[SlotName, str] = msgspec.field(default_factory=dict)
    provisioned: ProvisionedRelease | None = None

    @property
    def is_lost(self) -> bool:
        """Whether `current` is not the link that applications are promised."""
        return self.current is None or (self.link is not None and not self.link.is_right)

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


class Recovery(msgspec.Struct, frozen=True):
    """The record to go on from.

    Attributes:
        activate: point `current` here before anything else; None leaves it.
        closes: take `current` away instead: what it opens is not to serve.
        note: a line for the log where something had to be mended.
    """

    state: ModelState
    then: Next = Next.NOTHING
    activate: SlotName | None = None
    note: str = ""
    closes: bool = False


def recover(model: str, found: Findings, *, is_start: bool = True) -> Recovery:
    """Decide how to go on: after a start, after storage failed, or where something was lost.

    Args:
        model: the model's name.
        found: what a look at the disk found.
        is_start: whether the process has just begun.
    """
    notes = []
    if found.state is None:
        state = from_slots(model, found)
        notes += ["the record was missing; rebuilt it from the slots"] if state.slots else []
    else:
        state = _believe_slots(found.state, found)
    state = replace(state, provisioned=found.provisioned)
    current = found.current or _find_last_active(state, found)
    recovery = _go_on(state, msgspec.structs.replace(found, current=current), is_start=is_start)
    recovery = _close_what_is_no_slot(recovery, found)
    notes.append(recovery.note)
    if current is not None and found.is_lost and not recovery.closes and not _is_shut(state, found):
        recovery = _put_link_back(recovery, current, found)
        notes.append(recovery.note)
    return msgspec.structs.replace(recovery, note="; ".join(filter(None, notes)))


def _go_on(state: ModelState, found: Findings, *, is_start: bool) -> Recovery:
    """Decide by the first of this module's tables."""
    if found.current is not None and found.current not in found.sound:
        return _leave_damaged(state, found)
    update = state.update
    if found.current is not None and _is_shut(state, found):
        return _open_again(state, found.current)
    if update is not None and update.state is State.ACTIVATING:
        return _resume_switch(state, update, found)
    if update is not None and update.state is State.TRIAL:
        return _resume_trial(state, update, found, is_start=is_start)
    if state.active != found.current:
        return _believe_hand(state, found)
    return Recovery(state)


def _is_shut(state: ModelState, found: Findings) -> bool:
    """Whether nothing served because nothing was sound, and nothing is under way."""
    update = state.update
    is_between = update is not None and update.state in {State.ACTIVATING, State.TRIAL}
    link = found.link or NO_LINK
    return state.active is None and link.slot is None and not is_between


def _open_again(state: ModelState, slot: SlotName) -> Recovery:
    """Serve a slot that came to be sound while nothing served; on trial what is new here."""
    if _is_unproven(state, state.slots[slot]):
        update = _put_on_trial(state, slot, None)
        note = f"nothing served; slot {slot} serves on trial"
        return Recovery(replace(state, update=update), Next.SWITCH, note=note)
    note = f"slot {slot} is whole, and serves again"
    return Recovery(replace(state, active=slot), activate=slot, note=note)


def _close_what_is_no_slot(recovery: Recovery, found: Findings) -> Recovery:
    """Take away what stands in the place of `current` where nothing was ever to serve."""
    link, is_idle = found.link or NO_LINK, recovery.then is Next.NOTHING
    serves = recovery.activate is not None or recovery.state.active is not None
    if serves or recovery.closes or not is_idle or link.slot is not None or link == NO_LINK:
        return recovery
    note = f"`current` was {link.text}, which nobody vouches for, and was taken away"
    return msgspec.structs.replace(recovery, closes=True, note=note)


def _believe_hand(state: ModelState, found: Findings) -> Recovery:
    """Take the sound slot that `current` opens as active: somebody switched by hand."""
    slot, update = found.current, state.update
    note = f"took slot {slot} as active: `current` opens it"
    if update is not None and update.state is State.COMMITTED:
        update = _end_as(update, State.ROLLED_BACK, Reason.SWITCHED_BY_HAND, note)
    return Recovery(replace(state, active=slot, update=update), note=note)


def _find_last_active(state: ModelState, found: Findings) -> SlotName | None:
    """Say which slot `current` opened before it was lost, by the second of the tables."""
    update = state.update
    is_going_back = update is not None and update.state is State.TRIAL and update.verdict
    if update is not None and is_going_back and update.fallback in {None, *found.sound}:
        return update.fallback
    if state.active is None and state.floor:
        return _find_proven(state)
    return state.active


def _find_proven(state: ModelState) -> SlotName | None:
    """Give the sound slot with the last committed release, else with the oldest one."""
    by_age = sorted(state.slots, key=lambda slot: state.slots[slot].sequence)
    last = [slot for slot in by_age if state.slots[slot].sequence == state.floor]
    return next(iter([*last, *by_age]), None)


def _put_link_back(recovery: Recovery, current: SlotName, found: Findings) -> Recovery:
    """Have the link made anew; a plain folder in its place stays if no slot is sound."""
    slot = recovery.activate or current
    link = found.link or NO_LINK
    if slot not in found.sound and link.has_files:
        return msgspec.structs.replace(recovery, note=f"`current` is {link.text}, and was left so")
    note = lost_text(link, slot)
    state = recovery.state
    if state.update is not None and state.update.state is State.COMMITTED:
        state = state.with_update(replace(state.update, detail=note))
    return msgspec.structs.replace(recovery, state=state, activate=slot, note=note)


def open_and_save(recovery: Recovery, found: Findings) -> list[Action]:
    """Open what recovery says, and save the record: first, where it does not say so yet.

    Where the record on disk names that slot already, a full disk does not keep it closed.
    """
    opened: list[Action] = []
    if recovery.closes:
        return [act.Activate(None), act.Save(recovery.state)]
    if recovery.activate is not None:
        opened.append(act.Activate(recovery.activate))
    saved: list[Action] = [] if recovery.state == found.state else [act.Save(recovery.state)]
    knows = found.state is not None and found.state.active == recovery.activate
    return opened + saved if knows else saved + opened


def open_anyway(recovery: Recovery, found: Findings) -> list[Action]:
    """Do what `current` needs while the record cannot be read.

    A slot that is not sound is closed: otherwise whoever changes a slot would only have to spoil
    the record as well. A link that is lost is put back.
    """
    opened = found.current
    if opened is not None and opened not in found.sound:
        spare = other_slot(opened) if other_slot(opened) in found.sound else None
        text = f"slot {opened} is not sound; {f'slot {spare}' if spare else 'nothing'} serves"
        return [act.Activate(spare), act.Log("warning", text)]
    if recovery.closes:
        return [act.Activate(None), act.Log("warning", recovery.note)]
    if not found.is_lost or recovery.activate is None:
        return []
    return [act.PutBack(recovery.activate), act.Log("warning", recovery.note)]


def lost_text(link: CurrentLink, slot: SlotName) -> str:
    """Say that `current` was lost and is put back."""
    return f"`current` was lost (found {link.text}) and put back: it opens slots/{slot}"


def from_slots(model: str, found: Findings) -> ModelState:
    """Rebuild a lost record from the slots; the floor is the sequence of the active one."""
    slots = {slot: found.sealed[slot] for slot in found.sound if slot in found.sealed}
    state = ModelState(model=model, slots=slots)
    active = found.current if found.current in slots else _find_proven(state)
    record = slots.get(active) if active is not None else None
    return replace(state, active=active, floor=0 if record is None else record.sequence)


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
    spare = other_slot(current)
    if spare in found.sound and _is_unproven(state, state.slots[spare]):
        update = _put_on_trial(state, spare, current)
        note = f"slot {current} is damaged; slot {spare} serves on trial"
        return Recovery(replace(state, active=current, update=update), Next.SWITCH, note=note)
    reason, text = _what_is_wrong(current, found)
    update = _end_as(state.update, State.FAILED, reason, text)
    if spare not in found.sound:
        # Nobody can tell a bit that the disk lost from one that somebody changed.
        state = replace(state, active=None, update=update)
        return Recovery(state, closes=True, note=f"{text}; nothing serves until it is mended")
    state = replace(state, active=spare, update=update)
    note = f"slot {current} is damaged; slot {spare} serves"
    if current in found.tampered:
        note = f"{text}; slot {spare} serves"
    return Recovery(state, activate=spare, note=note)


def _what_is_wrong(slot: SlotName, found: Findings) -> tuple[Reason, str]:
    if slot in found.tampered:
        return Reason.SLOT_TAMPERED, f"slot {slot} was tampered with: {found.tampered[slot]}"
    return Reason.SLOT_DAMAGED, f"slot {slot} was damaged"


def _is_unproven(state: ModelState, record: SlotRecord) -> bool:
    """Whether a release was neither committed here nor refused: it was stopped on its way."""
    refused = {entry.sequence for entry in state.benched}
    return record.sequence > state.floor and record.sequence not in refused


def _put_on_trial(state: ModelState, slot: SlotName, fallback: SlotName | None) -> Update:
    """Give the record of a switch to a release that nobody decided on, but that is all there is."""
    record, before = state.slots[slot], state.update
    if before is not None and before.release_sha256 != record.release_sha256:
        before = None
    return Update(
        version=record.version,
        sequence=record.sequence,
        release_sha256=record.release_sha256,
        state=State.ACTIVATING,
        reason=Reason.SWITCHING,
        attempt=1 if before is None else before.attempt,
        deployment="" if before is None else before.deployment,
        group="" if before is None else before.group,
        slot=slot,
        fallback=fallback,
    )


def _resume_switch(state: ModelState, update: Update, found: Findings) -> Recovery:
    if update.slot is not None and found.current == update.slot:
        return Recovery(replace(state, active=update.slot), Next.TRIAL)
    if update.slot in found.sound:
        return Recovery(replace(state, active=found.current), Next.SWITCH)
    ended = _end_as(update, State.FAILED, Reason.SLOT_DAMAGED, "the candidate was damaged")
    return Recovery(replace(state, active=found.current, update=ended))


def _resume_trial(
    state: ModelState, update: Update, found: Findings, *, is_start: bool
) -> Recovery:
    state = replace(state, active=found.current)
    if found.current != update.slot:
        reason = update.verdict or Reason.SWITCHED_BY_HAND
        detail = update.detail if update.verdict else ""  # else it says what the trial waited for
        if update.verdict:
            state = state.benching(update.benched(update.verdict))
        return Recovery(
            replace(state, update=_end_as(update, State.ROLLED_BACK, reason, detail)),
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
            verdict=Reason.RESTARTS,
            detail=f"{update.restarts} restarts on trial, {allowed} are allowed",
        )
        return Recovery(replace(state, update=update), Next.ROLL_BACK)
    return Recovery(replace(state, update=update), Next.TRIAL)


def _end_as(update: Update | None, state: State, reason: str, detail: str) -> Update:
    if update is None:
        return unknown_release(state, reason, detail)
    return replace(update, state=state, reason=reason, detail=detail)
