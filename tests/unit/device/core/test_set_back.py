"""The owner sets a device back to the release that it was provisioned with, whatever it does."""

from __future__ import annotations

import hashlib

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import ModelState, ProvisionedRelease, SlotName, SlotRecord
from slotcast_schemas import wire
from slotcast_schemas.errors import SlotDamaged, StorageFailed
from slotcast_schemas.messages import Release
from slotcast_schemas.states import State
from tests.support.core_story import Story, findings, notice, release_of, sealed, serving

FIRST = ProvisionedRelease(
    version="1.0",
    sequence=1,
    release_sha256=hashlib.sha256(wire.encode(release_of(1))).digest(),
)
BUILT = act.SealedSlot(sealed(1), release_of(1))


def updated() -> ModelState:
    """A device that runs release 3, has 2 in standby, and keeps 1."""
    slots: dict[SlotName, SlotRecord] = {"a": sealed(3), "b": sealed(2)}
    return serving(3, slots=slots, provisioned=FIRST)


def begun(state: ModelState) -> Story:
    """Its core, after the look at the disk."""
    story = Story(keeps_provisioned=True)
    story.done(findings(state, state.active, provisioned=state.provisioned))
    story.tell(ev.ConnectionMade("mqtt://a", 64))
    return story


def set_back(story: Story) -> None:
    """What follows the wish once nothing else is under way."""
    assert story.asked(act.BuildProvisioned).slot == story.core.state.standby
    assert story.core.state.standby not in story.core.state.slots, "it is about to be emptied"
    story.done(BUILT)
    story.asked(act.CheckSlot)
    story.done()


def test_what_is_committed_first_is_kept_and_nothing_later() -> None:
    story = begun(ModelState(model="detector"))
    story.on_trial(notice(1))
    assert not isinstance(story.job, act.KeepProvisioned), "it has not proved itself yet"
    story.done(act.Verdict(passed=True, reason="passed"))
    assert story.job == act.KeepProvisioned("a", sealed(1))
    assert not story.core.is_settled, "`run --once` stays for it"
    story.done(act.Kept(FIRST))
    assert story.core.status().provisioned == "1.0"
    later = begun(story.core.state)
    assert isinstance(later.job, act.Inspect), "what is kept is not kept again"


def test_a_copy_that_cannot_be_made_changes_nothing_and_is_not_tried_again_and_again() -> None:
    story = begun(serving(1))
    story.asked(act.KeepProvisioned)
    before = story.core.state
    actions = story.failed(StorageFailed("no room"))
    assert [type(action) for action in actions] == [act.Log]
    assert story.core.state == before
    assert story.tell(ev.Tick()) == []


def test_the_owner_goes_back_below_the_floor_and_no_notice_brings_the_release_back() -> None:
    story = begun(updated())
    asked = story.tell(ev.ResetAsked())
    assert isinstance(asked[0], act.Save), "the wish is durable before anything is done about it"
    assert asked[0].state.set_back == "asked"
    set_back(story)
    state = story.core.state
    assert (state.set_back, state.active, state.floor) == ("done", "b", 3)
    assert story.words[:2] == ("ROLLED_BACK", "set_back")
    for number in (3, 4):  # the one it left, and a newer one
        story.offered(notice(number))
        assert story.words[:2] == ("QUEUED", "set_back")
        assert story.core.is_settled
    assert story.core.state.active == "b"


def test_updates_go_on_when_the_owner_says_so_also_to_the_release_that_was_left() -> None:
    story = begun(updated())
    story.tell(ev.ResetAsked())
    set_back(story)
    story.offered(notice(3))
    assert isinstance(story.tell(ev.ResumeAsked())[0], act.Save)
    assert story.core.state.benched == ()
    assert isinstance(story.job, act.Verify), "the last notice is looked at again"
    story.offered(notice(3))
    assert story.words[0] in {"DOWNLOADING", "DOWNLOADED"}


def test_a_trial_is_rolled_back_first_and_a_transfer_is_let_go_of() -> None:
    trial = begun(updated())
    trial.on_trial(notice(4))
    trial.tell(ev.ResetAsked())
    assert trial.core.state.update is not None
    assert trial.core.state.update.verdict == "set_back"
    trial.done()  # the old slot is whole: back to 3, and on
    set_back(trial)
    assert trial.core.state.active_record == sealed(1)

    fetching = begun(updated())
    fetching.collecting(notice(4))
    actions = fetching.tell(ev.ResetAsked())
    assert act.DropSpool() in actions
    set_back(fetching)
    assert fetching.core.state.active_record == sealed(1)


def test_a_build_under_way_ends_first_and_what_it_gives_does_not_count() -> None:
    story = begun(updated())
    story.building(notice(4))
    building = story.asked(act.Build)
    assert story.tell(ev.ResetAsked()) == story.saved, "the wish is durable at once"
    assert story.job is building, "two jobs never touch one slot"
    story.done()
    set_back(story)
    assert story.core.state.active_record == sealed(1)


@pytest.mark.parametrize("stage", ["asked", "between", "switched"])
def test_a_power_cut_anywhere_goes_on_to_the_same_end(stage: str) -> None:
    story = begun(updated())
    saves = story.tell(ev.ResetAsked())
    if stage != "asked":
        saves = story.done(BUILT)
    durable = [action.state for action in saves if isinstance(action, act.Save)][-1]
    current: SlotName = "a"
    if stage == "switched":  # the rename is done, the ending is not saved
        current = "b"
    slots: dict[SlotName, SlotRecord] = {"a": sealed(3), "b": sealed(1)}
    releases: dict[SlotName, Release] = {"a": release_of(3), "b": release_of(1)}
    again = Story(keeps_provisioned=True)
    again.done(Findings(durable, current, slots, releases, frozenset(slots), provisioned=FIRST))
    while again.core.state.set_back == "asked":
        again.done(BUILT if isinstance(again.job, act.BuildProvisioned) else None)
    assert again.core.state.active_record == sealed(1)
    assert again.core.state.set_back == "done"


@pytest.mark.parametrize("tampered", [{"a": "somebody changed it"}, {}], ids=["changed", "damaged"])
def test_it_works_where_nothing_whole_serves_any_more(tampered: dict[SlotName, str]) -> None:
    story = Story(keeps_provisioned=True)
    alone = serving(3)  # the record does not know yet what the disk keeps
    story.done(Findings(alone, "a", {}, {}, frozenset(), tampered=tampered, provisioned=FIRST))
    assert story.core.state.active is None
    assert story.core.status().provisioned == "1.0"
    story.tell(ev.ResetAsked())  # while it is about to stand in anyway
    actions = story.done(BUILT)
    assert [type(action) for action in actions[:2]] == [act.Save, act.Activate]
    assert story.words[:2] == ("IDLE", "set_back")
    assert story.core.state.set_back == "done"
    assert story.core.state.active_record == sealed(1)


def damaged_alone() -> Story:
    """The core of a device whose only slot is damaged, and which keeps release 1."""
    story = Story(keeps_provisioned=True)
    state = serving(3, provisioned=FIRST)
    story.done(Findings(state, "a", {}, {}, frozenset(), provisioned=FIRST))
    assert story.core.state.active is None
    return story


def test_where_nothing_serves_what_is_kept_stands_in_and_the_next_notice_mends() -> None:
    story = damaged_alone()
    assert story.asked(act.BuildProvisioned).slot == "a", "nobody has to ask, no broker has to be"
    actions = story.done(BUILT)
    assert [type(action) for action in actions[:2]] == [act.Save, act.Activate]
    assert story.words[:2] == ("FAILED", "slot_damaged"), "what happened is not forgotten"
    assert story.core.state.active_record == sealed(1)
    assert story.core.state.set_back == "", "nobody wished for it, so nothing waits"
    story.tell(ev.ConnectionMade("mqtt://a", 64))
    story.offered(notice(3))
    assert story.words[0] in {"DOWNLOADING", "DOWNLOADED"}


def test_a_power_cut_before_what_stands_in_is_opened_opens_it_at_the_next_start() -> None:
    story = damaged_alone()
    saved = [a.state for a in story.done(BUILT) if isinstance(a, act.Save)][-1]
    again = Story(keeps_provisioned=True)
    kept: dict[SlotName, SlotRecord] = {"a": sealed(1)}
    look = Findings(saved, None, kept, {"a": release_of(1)}, frozenset(kept), provisioned=FIRST)
    opened = again.done(look)
    assert any(isinstance(action, (act.Activate, act.PutBack)) for action in opened)
    assert again.core.state.active_record == sealed(1)


def test_what_is_kept_and_is_damaged_too_is_tried_once_a_start_and_a_notice_mends() -> None:
    story = damaged_alone()
    story.failed(SlotDamaged("model.onnx: its bytes have changed"))
    assert story.tell(ev.Tick()) == []
    assert story.words[:2] == ("FAILED", "slot_damaged")
    story.tell(ev.ConnectionMade("mqtt://a", 64))
    story.offered(notice(3))
    assert story.words[0] in {"DOWNLOADING", "DOWNLOADED"}


def test_without_a_copy_or_with_a_damaged_one_what_serves_serves_on() -> None:
    none = begun(serving(3, provisioned=None))
    none.done(act.Kept(None, "no room"))
    assert "no provisioned release is kept" in str(none.tell(ev.ResetAsked()))
    assert none.core.state.set_back == ""

    story = begun(updated())
    story.tell(ev.ResetAsked())
    story.failed(SlotDamaged("model.onnx: its bytes have changed"))
    assert story.words == (
        "FAILED",
        "slot_damaged",
        "cannot set back: model.onnx: its bytes have changed",
    )
    assert (story.core.state.active, story.core.state.set_back) == ("a", "")


def test_a_disk_that_damages_what_is_built_is_not_written_for_ever() -> None:
    story = begun(updated())
    story.tell(ev.ResetAsked())
    for _ in range(2):
        story.done(BUILT)
        story.failed(SlotDamaged("slot b, model.onnx: its bytes have changed"))
    assert story.core.state.update is not None
    assert story.core.state.update.state is State.FAILED
    assert story.core.state.active == "a"


def test_a_wish_that_cannot_be_saved_does_not_spin() -> None:
    story = begun(updated())
    save, *rest = story.tell(ev.ResetAsked())
    failed = ev.ActionFailed(save, StorageFailed("full"), tuple(rest))
    assert not any(isinstance(a, act.Job | act.Save) for a in story.tell(failed))
