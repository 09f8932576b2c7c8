"""Refused notices by the thousand cost few writes, few statuses and few lines in the log."""

from __future__ import annotations

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.notice_writes import AT_ONCE_MAX, EVERY_S
from slotcast_schemas.errors import BadSignature, Inconsistent
from tests.support.core_story import Story, notice, serving

FLOOD = 4000


def refused(story: Story, number: int) -> list[act.Action]:
    """Give a notice that is refused in other words than the one before it."""
    story.tell(ev.NoticeArrived(b"false %d" % number))
    return story.failed((BadSignature, Inconsistent)[number % 2](f"false {number}"))


def count(actions: list[act.Action], kind: type) -> int:
    return sum(isinstance(action, kind) for action in actions)


def test_thousands_of_refused_notices_are_written_and_said_a_few_times() -> None:
    story = Story().begun(serving())
    actions = [action for number in range(FLOOD) for action in refused(story, number)]
    for kind in (act.Save, act.PublishStatus, act.Log):
        assert 0 < count(actions, kind) <= AT_ONCE_MAX
    story.pass_s(EVERY_S)
    late = story.tell(ev.Tick())
    assert count(late, act.Save) == 1
    assert f"{FLOOD - AT_ONCE_MAX} more notices" in str(late)
    assert story.words == ("REJECTED", "inconsistent", f"false {FLOOD - 1}")


def test_a_true_notice_between_them_does_not_bring_a_write_for_each() -> None:
    story = Story().begun(serving())
    actions: list[act.Action] = []
    for number in range(200):
        actions += refused(story, number)
        actions += story.offered(notice(1))
    assert count(actions, act.Save) <= AT_ONCE_MAX + 2


def test_a_good_notice_after_thousands_is_taken_at_once() -> None:
    story = Story().begun(serving())
    for number in range(FLOOD):
        refused(story, number)
    actions = story.offered(notice(2))
    assert count(actions, act.OpenSpool) == 1
    assert story.words[0] == "DOWNLOADING"


def test_what_was_not_written_is_written_when_the_agent_ends() -> None:
    story = Story().begun(serving())
    for number in range(AT_ONCE_MAX + 1):
        refused(story, number)
    assert count(story.core.stop(story.now), act.Save) == 1
