"""What a core makes of a look at the disk, of storage that fails, of what was lost meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.recovery import CurrentLink, lost_text
from slotcast_device.core.state import ModelState, Update
from slotcast_device.core.transfer.transfer_actions import Unsubscribe
from slotcast_schemas.errors import ChunkCorrupt, DiskFull, StateTooNew, StorageFailed
from slotcast_schemas.messages.status import BenchedRelease
from slotcast_schemas.states import State
from tests.support.core_story import (
    CONTENT,
    FACTS,
    TOPICS,
    WALL_S,
    Content,
    Story,
    findings,
    notice,
    release_of,
    sealed,
    serving,
)

TWO = notice(2)
FILTER = TOPICS.block(CONTENT.sha256, 0)
BOTH = serving(slots={"a": sealed(1), "b": sealed(2)})
NOTHING = CurrentLink(None, "nothing")


def updating(state: State, reason: str = "before", **fields: Any) -> ModelState:
    """The record of an update from 1.0, in slot a, to 2.0, in slot b."""
    update = Update(
        version="2.0",
        sequence=2,
        release_sha256=TWO.release_sha256,
        state=state,
        reason=reason,
        slot="b",
        fallback="a",
    )
    return BOTH.with_update(replace(update, **fields))


# --- a start --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.DOWNLOADING, State.DOWNLOADED, State.VERIFIED])
def test_what_was_being_fetched_begins_again_when_the_notice_comes(state: State) -> None:
    story = Story()
    assert story.done(findings(updating(state), "a")) == [act.PublishStatus()]
    assert story.core.deadline_s is None
    assert not story.core.is_fetching
    assert not story.core.is_settled
    assert story.tell(ev.NoticeArrived(b"two")) == [act.Verify(b"two", 0)]
    story.done(act.NoticeVerified(TWO, FACTS))
    assert story.update.state is State.DOWNLOADED, "the files of both slots are whole"


def test_a_notice_that_came_before_the_disk_was_looked_at_waits_for_that() -> None:
    story = Story()
    assert story.tell(ev.NoticeArrived(b"two")) == []
    assert story.done(findings(serving(), "a")) == [act.PublishStatus(), act.Verify(b"two", 0)]


def test_a_switch_that_had_happened_goes_on_with_the_trial() -> None:
    story = Story()
    actions = story.done(findings(updating(State.ACTIVATING), "b"))
    saved = actions[0]
    assert isinstance(saved, act.Save)
    assert (saved.state.active, saved.state.update) == ("b", updating(State.ACTIVATING).update)
    assert actions[1:] == [
        act.PublishStatus(),
        *story.saved,
        act.Watch("b", "a", release_of(2), 0.0, 0),
    ]
    assert (story.update.state, story.update.reason) == (State.TRIAL, "on_trial")
    assert (story.update.since, story.update.trial_began) == (WALL_S, WALL_S)


def test_a_switch_that_had_not_happened_is_made() -> None:
    story = Story()
    actions = story.done(findings(updating(State.ACTIVATING), "a"))
    assert actions == [
        act.PublishStatus(),
        act.Activate("b"),
        *story.saved,
        act.Watch("b", "a", release_of(2), 0.0, 0),
    ]
    assert story.core.state.active == "b"


def test_a_trial_goes_on_and_its_start_counts() -> None:
    before = updating(State.TRIAL, trial_s=40.0, trial_began=7, application_restarts=1)
    story = Story()
    actions = story.done(findings(replace(before, active="b"), "b"))
    saved = actions[0]
    assert isinstance(saved, act.Save)
    assert saved.state.update is not None
    assert saved.state.update.restarts == 1
    assert actions[1:] == [
        act.PublishStatus(),
        *story.saved,
        act.Watch("b", "a", release_of(2), 40.0, 2),
    ]
    assert story.update.trial_began == 7


def test_a_roll_back_that_had_not_happened_is_made() -> None:
    story = Story()
    before = replace(updating(State.TRIAL, verdict="errors", detail="5 of 10"), active="b")
    actions = story.done(findings(before, "b"))
    assert actions == [act.PublishStatus(), act.CheckSlot("a")]
    assert story.asked(act.CheckSlot).record == sealed(1)
    story.done()
    assert story.words == ("ROLLED_BACK", "errors", "5 of 10")


def test_a_trial_whose_signed_release_is_lost_goes_back() -> None:
    story = Story()
    before = replace(updating(State.TRIAL, stopped=True), active="b")
    actions = story.done(findings(before, "b", releases={"a": release_of(1)}))
    text = "rolling back: slot_damaged: the signed release is missing"
    assert act.Log("warning", text) in actions
    assert isinstance(story.job, act.CheckSlot)
    story.done()
    assert story.words == ("ROLLED_BACK", "slot_damaged", "the signed release is missing")


def test_a_change_of_slot_is_saved_before_it_is_made() -> None:
    story = Story()
    actions = story.done(findings(BOTH, "a", sound=frozenset("b"), sealed={"b": sealed(2)}))
    assert [type(action) for action in actions][:4] == [
        act.Save,
        act.Log,
        act.PublishStatus,
        act.Activate,
    ]
    entry = BenchedRelease(sequence=2, version="2.0", reason="x")
    benched = replace(BOTH, benched=(entry,))
    story = Story()
    actions = story.done(findings(benched, "a", sound=frozenset("b"), sealed={"b": sealed(2)}))
    assert actions == [
        act.Save(story.core.state),
        act.Activate("b"),
        act.Log("warning", "slot a is damaged; slot b serves"),
        act.PublishStatus(),
    ]
    assert story.words == ("FAILED", "slot_damaged", "slot a was damaged")


def test_a_lost_link_is_put_back_before_anything_is_saved() -> None:
    committed = replace(updating(State.COMMITTED), active="b", floor=2)
    story = Story()
    actions = story.done(findings(committed, None, link=NOTHING))
    text = "`current` was lost (found nothing) and put back: it opens slots/b"
    assert actions == [
        act.Activate("b"),
        act.Save(story.core.state),
        act.Log("warning", text),
        act.PublishStatus(),
    ]
    assert story.words == ("COMMITTED", "before", text)


def test_what_was_mended_on_the_way_is_said() -> None:
    story = Story()
    actions = story.done(findings(serving(), "a", note="a file was put back"))
    assert actions == [act.Log("warning", "a file was put back"), act.PublishStatus()]


# --- a record that cannot be read -----------------------------------------------------------------


def test_where_the_record_cannot_be_read_nothing_begins_and_time_or_a_notice_tries_again() -> None:
    story = Story()
    problem = StateTooNew("format 99")
    said = [act.Log("error", "state_too_new: format 99"), act.PublishStatus()]
    look = msgspec.structs.replace(findings(serving(), "a"), state=None, problem=problem)
    assert story.done(look) == said
    assert story.words == ("FAILED", "state_too_new", "format 99")
    assert (story.update.version, story.update.sequence) == ("0", 0)
    assert (story.update.release_sha256, story.update.since) == (b"", WALL_S)
    assert story.core.state.floor == 0
    assert (story.core.is_ready, story.core.is_unreadable) == (False, True)
    assert not story.core.is_settled
    assert story.wait() == (60.0, [act.Inspect()])
    assert story.done(look) == said
    assert story.tell(ev.NoticeArrived(b"two")) == [act.Inspect()]
    assert story.done(findings(serving(), "a")) == [act.PublishStatus(), act.Verify(b"two", 0)]
    assert story.core.is_ready


def test_a_look_that_fails_is_the_same() -> None:
    story = Story()
    assert story.failed(StorageFailed("no disk")) == [
        act.Log("error", "storage_failed: no disk"),
        act.PublishStatus(),
    ]
    assert story.words == ("FAILED", "storage_failed", "no disk")
    assert story.core.deadline_s == story.mono_s + 60.0


def test_a_lost_link_is_put_back_though_the_record_cannot_be_read() -> None:
    story = Story()
    seen = findings(
        None,
        None,
        problem=StateTooNew("format 99"),
        sealed={"a": sealed(1)},
        releases={"a": release_of(1)},
        sound=frozenset("a"),
        link=NOTHING,
    )
    actions = story.done(seen)
    assert actions[0] == act.PutBack("a")
    assert isinstance(actions[1], act.Log)
    assert actions[1].level == "warning"
    assert actions[1].text.endswith(lost_text(NOTHING, "a"))
    assert actions[2:] == [act.Log("error", "state_too_new: format 99"), act.PublishStatus()]


# --- storage that fails ---------------------------------------------------------------------------


def test_a_transfer_that_storage_ends_is_begun_again_later_and_the_old_release_untouched() -> None:
    story = Story().begun(serving())
    story.offered(TWO)
    assert story.failed(DiskFull("no room")) == [
        act.Log("error", "failed: disk_full: no room"),
        act.PublishStatus(),
        act.Save(story.core.state),
    ]
    assert story.words == ("FAILED", "disk_full", "no room")
    assert story.core.state.active == "a"
    waited_s, actions = story.wait()
    assert waited_s == 60.0
    assert isinstance(actions[0], act.Verify)


def test_a_chunk_that_cannot_be_written_ends_the_transfer() -> None:
    content = Content("two", chunks=2)
    story = Story().begun(serving())
    story.collecting(notice(2, payloads=(content.payload,)), content)
    (store,) = story.tell(content.came(0))
    assert story.tell(ev.ActionFailed(store, StorageFailed("read-only"), ())) == [
        Unsubscribe((TOPICS.block(content.sha256, 0),)),
        act.Log("error", "failed: storage_failed: read-only"),
        act.PublishStatus(),
        act.Save(story.core.state),
    ]
    assert story.core.transfer is None


def test_a_chunk_that_comes_wrong_again_and_again_ends_the_transfer() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    wrong = ev.ChunkArrived(CONTENT.sha256, 0, b"x" * 1024)
    story.tell(wrong)
    story.tell(wrong)
    actions = story.tell(wrong)
    assert story.words[:2] == ("FAILED", ChunkCorrupt.reason)
    (left,) = (action for action in actions if isinstance(action, act.LeaveBroker))
    assert left.error.reason == ChunkCorrupt.reason
    assert actions == [
        Unsubscribe((FILTER,)),
        left,
        act.Log("error", f"failed: chunk_corrupt: {story.update.detail}"),
        act.PublishStatus(),
        act.Save(story.core.state),
    ]
    assert story.core.deadline_s == story.mono_s + 60.0


def test_a_job_that_was_dropped_with_a_failed_action_is_not_waited_for() -> None:
    story = Story().begun(serving())
    actions = story.building(TWO)
    save = next(action for action in actions if isinstance(action, act.Save))
    rest = tuple(actions[actions.index(save) + 1 :])
    said = story.tell(ev.ActionFailed(save, DiskFull("no room"), rest))
    assert said[0] == act.Log("error", "failed: disk_full: no room")
    assert story.core.is_at_rest
    assert story.words == ("FAILED", "disk_full", "no room")


def test_an_ending_that_cannot_be_saved_is_saved_later() -> None:
    story = Story().begun(serving())
    story.on_trial(TWO)
    save, report, notify = story.done(act.Verdict(passed=True, reason="passed"))
    said = story.tell(ev.ActionFailed(save, StorageFailed("read-only"), (report, notify)))
    assert said == [act.Log("error", "storage_failed: read-only"), act.PublishStatus()]
    assert story.words[:2] == ("COMMITTED", "committed")
    waited_s, actions = story.wait()
    assert waited_s == 60.0
    assert actions[:2] == story.saved
    assert isinstance(actions[2], act.Verify)
    story.done(act.NoticeVerified(TWO, FACTS))
    story.tell(ev.UnbenchAsked(None))
    assert story.core.deadline_s is None, "once is enough"


def test_a_link_that_cannot_be_put_back_is_tried_again_half_a_minute_later() -> None:
    story = Story().begun(serving())
    lost = ev.SlotsChanged(link=NOTHING)
    text = lost_text(NOTHING, "a")
    assert story.tell(lost) == [act.PutBack("a"), act.Log("warning", text), *story.saved]
    put_back = act.PutBack("a")
    said = story.tell(ev.ActionFailed(put_back, StorageFailed("read-only"), ()))
    text = "`current` is lost and cannot be put back: storage_failed: read-only"
    assert said == [act.Log("error", text), act.PublishStatus()]
    story.pass_s(29.9)
    assert story.tell(lost) == []
    story.pass_s(0.1)
    assert story.tell(lost)[0] == put_back
