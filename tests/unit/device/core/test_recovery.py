"""What a start makes of what the last run left: the table in `recovery`, row by row."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from slotcast_device.core.recovery import (
    NO_LINK,
    CurrentLink,
    Findings,
    Next,
    Recovery,
    lost_text,
    recover,
)
from slotcast_device.core.state import ModelState, SlotName, Update, record_of, unknown_release
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import BenchedRelease
from slotcast_schemas.states import State
from tests.support import messages

OLD = messages.release(version="1", sequence=1, trial=Trial(max_restarts=2))
NEW = messages.release(version="2", sequence=2, trial=Trial(max_restarts=2))
RELEASES: dict[SlotName, Any] = {"a": OLD, "b": NEW}
SEALED = {slot: record_of(release, bytes([n]) * 32) for n, (slot, release) in
          enumerate(RELEASES.items())}  # fmt: skip


def update(state: State, **fields: Any) -> Update:
    """The update from 1, in slot a, to 2, in slot b."""
    given: dict[str, Any] = {"reason": "before", "slot": "b", "fallback": "a"}
    given["release_sha256"] = SEALED["b"].release_sha256
    return Update(version="2", sequence=2, state=state, **{**given, **fields})


def found(
    happened: Update | None, current: SlotName | None, sound: str = "ab", *, lost: bool = False
) -> Findings:
    """What a look at the disk gives."""
    state = ModelState(model="clf", floor=1, active="a", slots=dict(SEALED), update=happened)
    return Findings(
        state=None if lost else state,
        current=current,
        sealed=SEALED,
        releases=RELEASES,
        sound=frozenset(slot for slot in RELEASES if slot in sound),
    )


@pytest.mark.parametrize(
    ("happened", "current", "then"),
    [
        (update(State.ACTIVATING), "b", Next.TRIAL),
        (update(State.ACTIVATING), "a", Next.SWITCH),
        (update(State.TRIAL, verdict="latency"), "b", Next.ROLL_BACK),
        (update(State.TRIAL, verdict="latency"), "a", Next.NOTHING),
        (update(State.TRIAL), "b", Next.TRIAL),
        (update(State.TRIAL, restarts=2), "b", Next.ROLL_BACK),
        (update(State.TRIAL), "a", Next.NOTHING),
        (update(State.DOWNLOADING), "a", Next.NOTHING),
        (update(State.DOWNLOADED), "a", Next.NOTHING),
        (update(State.VERIFIED), "a", Next.NOTHING),
        (update(State.COMMITTED), "b", Next.NOTHING),
        (None, "a", Next.NOTHING),
    ],
)
def test_each_row_of_the_table_with_sound_slots(
    happened: Update | None, current: SlotName, then: Next
) -> None:
    recovery = recover("clf", found(happened, current))
    assert recovery.then is then
    assert recovery.state.active == current
    assert recovery.activate is None
    assert recovery.state.floor == 1


@pytest.mark.parametrize(
    ("verdict", "reason", "detail"),
    [("latency", "latency", "3 x as slow"), ("", "switched_by_hand", "")],
)
def test_a_roll_back_that_had_happened_keeps_its_verdict(
    verdict: str, reason: str, detail: str
) -> None:
    """Without one somebody switched; what the trial waited for is no reason for that."""
    happened = update(State.TRIAL, verdict=verdict, detail="3 x as slow", deployment="d")
    recovery = recover("clf", found(happened, "a"))
    assert recovery.state.update == replace(
        happened, state=State.ROLLED_BACK, reason=reason, detail=detail
    )
    assert recovery.note == f"the roll back had happened ({reason})"


def test_a_trial_whose_signed_release_is_lost_may_see_no_restart() -> None:
    seen = msgspec.structs.replace(found(update(State.TRIAL), "b"), releases={"a": OLD})
    recovery = recover("clf", seen)
    assert recovery.then is Next.ROLL_BACK
    assert recovery.state.update is not None
    assert recovery.state.update.detail == "1 restarts on trial, 0 are allowed"


def test_a_release_whose_roll_back_lost_its_power_is_benched_all_the_same() -> None:
    recovery = recover("clf", found(update(State.TRIAL, verdict="latency"), "a"))
    assert [(b.sequence, b.reason) for b in recovery.state.benched] == [(2, "latency")]
    assert recover("clf", found(update(State.TRIAL), "a")).state.benched == ()


def test_each_start_on_trial_counts_and_too_many_end_it() -> None:
    happened = update(State.TRIAL)
    thens = []
    for _ in range(3):
        recovery = recover("clf", found(happened, "b"))
        assert recovery.state.update is not None
        happened = recovery.state.update
        thens.append(recovery.then)
    assert thens == [Next.TRIAL, Next.TRIAL, Next.ROLL_BACK]
    assert happened.verdict == "restarts"
    assert "3 restarts" in happened.detail


def test_a_candidate_damaged_before_the_switch_is_not_switched_to() -> None:
    recovery = recover("clf", found(update(State.ACTIVATING), "a", sound="a"))
    assert recovery.then is Next.NOTHING
    assert recovery.state.update is not None
    assert (recovery.state.update.state, recovery.state.update.reason) == (
        State.FAILED,
        "slot_damaged",
    )
    assert "b" not in recovery.state.slots


@pytest.mark.parametrize("happened", [None, update(State.COMMITTED), update(State.TRIAL)])
def test_where_the_active_slot_is_damaged_the_other_serves(happened: Update | None) -> None:
    """What ended so is known by its release, where an update was recorded at all."""
    damaged = (State.FAILED, "slot_damaged", "slot b was damaged")
    ended = unknown_release(*damaged, since=0)
    if happened is not None:
        ended = replace(happened, state=damaged[0], reason=damaged[1], detail=damaged[2])
    seen = found(happened, "b", sound="a")
    assert seen.state is not None
    seen = msgspec.structs.replace(seen, state=replace(seen.state, active="b"))
    assert recover("clf", seen) == Recovery(
        ModelState(model="clf", floor=1, active="a", slots={"a": SEALED["a"]}, update=ended),
        activate="a",
        note="slot b is damaged; slot a serves",
    )


BEFORE = {"deployment": "d", "group": "g", "attempt": 3}


@pytest.mark.parametrize(
    ("happened", "kept"),
    [
        (update(State.VERIFIED, **BEFORE), BEFORE),
        (update(State.VERIFIED, **BEFORE, release_sha256=b"another"), {}),
        (None, {}),
    ],
    ids=["it was on its way", "another was", "none was"],
)
def test_an_unproven_release_that_is_all_there_is_serves_on_trial(
    happened: Update | None, kept: dict[str, Any]
) -> None:
    """It is opened, and must still pass: nobody decided to switch to it."""
    new = SEALED["b"]
    expected = Update(
        version=new.version,
        sequence=new.sequence,
        release_sha256=new.release_sha256,
        state=State.ACTIVATING,
        reason="switching",
        slot="b",
        fallback="a",
        **kept,
    )
    seen = found(happened, "a", sound="b")
    assert seen.state is not None
    seen = msgspec.structs.replace(seen, state=replace(seen.state, active="b"))
    assert recover("clf", seen) == Recovery(
        ModelState(model="clf", floor=1, active="a", slots={"b": new}, update=expected),
        Next.SWITCH,
        note="slot a is damaged; slot b serves on trial",
    )


def test_a_refused_release_that_is_all_there_is_serves_without_another_trial() -> None:
    refused = BenchedRelease(sequence=2, version="2", reason="errors")
    seen = found(update(State.FAILED), "a", sound="b")
    assert seen.state is not None
    benched = msgspec.structs.replace(seen, state=seen.state.benching(refused))
    recovery = recover("clf", benched)
    assert (recovery.then, recovery.activate) == (Next.NOTHING, "b")


def test_where_both_are_damaged_nothing_is_open_whatever_the_record_says() -> None:
    ended = replace(
        update(State.COMMITTED),
        state=State.FAILED,
        reason="slot_damaged",
        detail="slot b was damaged",
    )
    assert recover("clf", found(update(State.COMMITTED), "b", sound="")) == Recovery(
        ModelState(model="clf", floor=1, active=None, update=ended),
        note="slot b was damaged; nothing serves until it is mended",
        closes=True,
    )


def test_a_lost_record_is_rebuilt_and_the_floor_is_what_is_active() -> None:
    recovery = recover("clf", found(None, "b", lost=True))
    assert recovery.state.floor == 2
    assert recovery.state.active == "b"
    assert set(recovery.state.slots) == {"a", "b"}
    assert "rebuilt" in recovery.note


def test_the_first_start_of_all_finds_nothing_and_says_nothing() -> None:
    recovery = recover("clf", Findings(None, None, {}, {}, frozenset()))
    assert recovery.state == ModelState(model="clf")
    assert recovery.note == ""


NOTE = "took slot b as active: `current` opens it"
"""What is said where somebody moved the link."""


@pytest.mark.parametrize("happened", [None, update(State.REJECTED), update(State.DOWNLOADING)])
def test_a_link_moved_by_hand_is_believed(happened: Update | None) -> None:
    assert recover("clf", found(happened, "b")) == Recovery(
        ModelState(model="clf", floor=1, active="b", slots=dict(SEALED), update=happened),
        note=NOTE,
    )


def test_what_was_committed_is_not_said_to_serve_where_a_hand_moved_the_link() -> None:
    committed = update(State.COMMITTED, deployment="d")
    recovery = recover("clf", found(committed, "b"))
    assert recovery.note == NOTE
    assert recovery.state.update == replace(
        committed, state=State.ROLLED_BACK, reason="switched_by_hand", detail=NOTE
    )


# --- `current` is lost ----------------------------------------------------------------------------


def lost(link: CurrentLink, sound: str = "ab", happened: Update | None = None) -> Findings:
    """`current` names no slot; the record says that slot a is active."""
    return msgspec.structs.replace(found(happened, None, sound), link=link)


@pytest.mark.parametrize(
    "link",
    [CurrentLink(None, "nothing"), CurrentLink(None, "a folder", has_files=True)],
    ids=["nothing is there", "a copy is there"],
)
def test_a_lost_link_is_put_back_at_a_sound_slot_whatever_lies_there(link: CurrentLink) -> None:
    committed = update(State.COMMITTED, slot="a")
    recovery = recover("clf", lost(link, happened=committed))
    note = f"`current` was lost (found {link.text}) and put back: it opens slots/a"
    assert (recovery.activate, recovery.note) == ("a", note)
    assert recovery.note == lost_text(link, "a")
    assert recovery.state.update == replace(committed, detail=note)


@pytest.mark.parametrize(
    ("verdict", "sound", "opened"),
    [("latency", "ab", "a"), ("latency", "b", "b"), ("", "ab", "b")],
    ids=["the way back had begun", "the old slot is damaged", "the trial goes on"],
)
def test_a_link_lost_on_trial_is_put_back_where_the_verdict_sends_it(
    verdict: str, sound: str, opened: SlotName
) -> None:
    happened = update(State.TRIAL, verdict=verdict)
    seen = lost(CurrentLink(None, "nothing"), sound, happened)
    assert seen.state is not None
    seen = msgspec.structs.replace(seen, state=replace(seen.state, active="b"))
    assert recover("clf", seen).activate == opened


def test_a_first_install_on_its_way_back_to_nothing_goes_on_to_nothing() -> None:
    happened = update(State.TRIAL, verdict="latency", fallback=None)
    recovery = recover("clf", lost(CurrentLink(None, "nothing"), "b", happened))
    assert recovery.activate is None
    assert recovery.state.active is None
    assert recovery.state.update is not None
    assert recovery.state.update.state is State.ROLLED_BACK


def without_record(sequences: dict[SlotName, int], state: ModelState | None = None) -> Findings:
    """Sound slots with these releases, a lost link, and perhaps a record that names no slot."""
    releases = {slot: messages.release(version=f"{n}", sequence=n) for slot, n in sequences.items()}
    sealed = {slot: record_of(release, b"") for slot, release in releases.items()}
    return Findings(state, None, sealed, releases, frozenset(sealed))


@pytest.mark.parametrize(
    ("sequences", "active", "floor"),
    [({"a": 5, "b": 3}, "b", 3), ({"a": 3, "b": 5}, "a", 3), ({"b": 4}, "b", 4)],
)
def test_with_record_and_link_lost_the_oldest_release_was_committed_before_the_other_was_built(
    sequences: dict[SlotName, int], active: SlotName, floor: int
) -> None:
    seen = without_record(sequences)
    assert recover("clf", seen) == Recovery(
        ModelState(model="clf", floor=floor, active=active, slots=dict(seen.sealed)),
        activate=active,
        note=(
            "the record was missing; rebuilt it from the slots;"
            f" `current` was lost (found nothing) and put back: it opens slots/{active}"
        ),
    )


@pytest.mark.parametrize(("floor", "active"), [(5, "a"), (3, "b"), (4, "b"), (0, None)])
def test_where_the_record_names_no_slot_the_committed_release_is_opened_else_the_oldest(
    floor: int, active: SlotName | None
) -> None:
    state = ModelState(model="clf", floor=floor)
    assert recover("clf", without_record({"a": 5, "b": 3}, state)).activate == active


def test_what_is_whole_again_while_nothing_serves_is_opened_and_what_is_new_here_tried() -> None:
    shut = ModelState(model="clf", floor=5, update=update(State.FAILED))
    again = recover("clf", without_record({"a": 5}, shut))
    assert (again.activate, again.then) == ("a", Next.NOTHING)
    assert again.note == "slot a is whole, and serves again"
    new = recover("clf", without_record({"a": 6}, shut))
    assert (new.activate, new.then) == (None, Next.SWITCH)
    assert new.state.update is not None
    assert (new.state.update.slot, new.state.update.fallback) == ("a", None)


def test_a_copy_of_a_model_does_not_serve_where_a_slot_is_damaged() -> None:
    """Nobody knows whose copy it is."""
    link = CurrentLink(None, "a folder", has_files=True)
    recovery = recover("clf", lost(link, sound=""))
    assert recovery.activate is None
    assert recovery.closes
    assert recovery.state.active is None


@pytest.mark.parametrize("text", ["a folder", "a link to '/tmp/x'"])
def test_what_stands_in_the_place_of_current_of_a_device_without_a_release_goes(text: str) -> None:
    link = CurrentLink(None, text, has_files=text == "a folder")
    fresh = Findings(None, None, {}, {}, frozenset(), link=link)
    assert recover("clf", fresh).closes
    assert not recover("clf", msgspec.structs.replace(fresh, link=NO_LINK)).closes


def test_where_no_slot_is_sound_a_missing_link_is_not_put_back() -> None:
    recovery = recover("clf", lost(CurrentLink(None, "nothing"), sound=""))
    assert recovery.activate is None
    assert recovery.state.active is None
