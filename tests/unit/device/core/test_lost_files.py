"""What is found lost while the agent runs, and when it is mended."""

from __future__ import annotations

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.recovery import CurrentLink, lost_text
from slotcast_device.core.transfer.transfer_actions import Unsubscribe
from slotcast_schemas.errors import StorageFailed
from tests.support.core_story import (
    CONTENT,
    ISSUED_S,
    TOPICS,
    Story,
    findings,
    notice,
    sealed,
    serving,
)

TWO = notice(2)
FILTER = TOPICS.block(CONTENT.sha256, 0)
BOTH = serving(slots={"a": sealed(1), "b": sealed(2)})
NOTHING = CurrentLink(None, "nothing")


def test_nothing_is_mended_before_the_disk_was_looked_at() -> None:
    assert Story().tell(ev.SlotsChanged(link=NOTHING, is_damaged=True)) == []


def test_the_detail_of_an_update_under_way_is_left_as_it_is() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    story.tell(ev.SlotsChanged(link=NOTHING))
    assert story.words == ("DOWNLOADING", "downloading", "full+none")


def test_an_ending_says_that_the_link_was_lost() -> None:
    story = Story().begun(serving())
    story.offered(notice(1))
    story.tell(ev.SlotsChanged(link=NOTHING))
    assert story.words[2] == lost_text(NOTHING, "a")
    story.tell(ev.ActionFailed(act.PutBack("a"), StorageFailed("read-only"), ()))
    assert story.words[2].endswith("cannot be put back: storage_failed: read-only")


def test_where_nothing_is_active_there_is_no_link_to_put_back() -> None:
    story = Story().begun()
    assert story.tell(ev.SlotsChanged(link=NOTHING)) == []


def test_a_lost_record_is_written_anew() -> None:
    story = Story().begun(serving())
    text = "the record was lost while this ran; written anew"
    assert story.tell(ev.SlotsChanged(is_record_lost=True)) == [
        *story.saved,
        act.Log("warning", text),
    ]


def test_files_that_are_gone_need_the_look_of_a_start_which_is_no_restart() -> None:
    story = Story().begun(BOTH)
    damaged = ev.SlotsChanged(is_damaged=True)
    assert story.tell(damaged) == [
        act.Log("warning", "slot a: its model file is gone"),
        act.Inspect(),
    ]
    assert (story.core.is_ready, story.core.is_at_rest) == (False, False)
    assert story.tell(damaged) == []
    story.done(findings(BOTH, "a"))
    assert (story.core.is_ready, story.core.is_at_rest) == (True, True)


def test_what_is_lost_at_once_is_mended_at_once_and_said_of_each() -> None:
    story = Story().begun(BOTH)
    gone = act.Log("warning", "slot a: its model file is gone")
    lost = act.Log("warning", lost_text(NOTHING, "a"))
    assert story.tell(ev.SlotsChanged(link=NOTHING, is_damaged=True, is_record_lost=True)) == [
        gone,
        act.PutBack("a"),
        lost,
        *story.saved,
        act.Inspect(),
    ]
    story = Story().begun(BOTH)
    text = "the record was lost while this ran; written anew"
    assert story.tell(ev.SlotsChanged(is_damaged=True, is_record_lost=True)) == [
        gone,
        *story.saved,
        act.Log("warning", text),
        act.Inspect(),
    ]


def test_that_look_waits_for_the_job_under_way() -> None:
    story = Story().begun(BOTH)
    story.tell(ev.NoticeArrived(b"x"))
    assert story.tell(ev.SlotsChanged(is_damaged=True)) == [
        act.Log("warning", "slot a: its model file is gone")
    ]
    assert story.tell(ev.SlotsChanged(is_damaged=True)) == []
    assert story.failed(StorageFailed("no"))[-1] == act.Inspect()


def test_a_look_that_waits_is_held_though_the_job_fails() -> None:
    story = Story().begun(serving())
    story.building(TWO)
    story.tell(ev.SlotsChanged(is_damaged=True))
    assert story.failed(StorageFailed("read-only"))[-1] == act.Inspect()


def test_where_all_that_served_is_lost_a_slot_that_was_built_is_looked_at() -> None:
    """Its probe could not be held, and says nothing against it: it may be all there is."""
    lost = serving(slots={})
    story = Story().begun(lost, "a")
    story.probing(TWO)
    assert story.failed(StorageFailed("no file"))[-1] == act.Inspect()

    story = Story().begun(lost, "a")
    story.building(TWO)
    assert act.Inspect() not in story.failed(StorageFailed("no file")), "nothing was built"

    story = Story().begun(serving())
    story.probing(TWO)
    assert act.Inspect() not in story.failed(StorageFailed("no file")), "the old one serves"


def test_what_was_collected_is_looked_at_again_after_a_look_at_the_disk() -> None:
    """Nothing fetches any more; the broker has no reason to repeat the notice."""
    story = Story().begun(serving())
    story.collecting(TWO)
    story.tell(ev.SlotsChanged(is_damaged=True))
    actions = story.done(findings(story.core.state, "a"))
    assert Unsubscribe((FILTER,)) in actions
    assert isinstance(actions[-1], act.Verify)
    assert actions[-1].signed_time == ISSUED_S


def test_a_job_that_gives_what_it_never_gives_is_a_defect() -> None:
    story = Story()
    with pytest.raises(TypeError, match="Inspect gave a int"):
        story.done(5)


def test_what_another_job_gave_is_passed_over() -> None:
    story = Story().begun(serving())
    story.building(TWO)
    assert story.tell(ev.JobDone(act.Inspect(), findings(None, None))) == []
    assert story.words[0] == "DOWNLOADED"
