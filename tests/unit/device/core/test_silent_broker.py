"""A broker that takes subscriptions and gives nothing is left for another one of the list."""

from __future__ import annotations

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.collecting import SILENCE_FIRST_S
from slotcast_device.core.transfer.transfer_actions import Subscribe
from slotcast_device.core.waits import USUAL
from tests.support.core_story import Content, Story, notice, serving

CONTENT = Content("four", chunks=4)


def fetching() -> Story:
    story = Story().begun(serving())
    story.collecting(notice(2, payloads=(CONTENT.payload,)), CONTENT)
    story.tell(CONTENT.came(0))
    return story


def silent_s(story: Story, *, parts_every_s: float | None = None) -> float:
    """Let the broker answer each SUBSCRIBE and no more; gives when it is left."""
    began_s, next_part_s = story.mono_s, story.mono_s
    while story.mono_s - began_s < 2 * USUAL.patience_s:
        story.pass_s(1)
        if parts_every_s is not None and story.mono_s >= next_part_s:
            next_part_s += parts_every_s
            story.tell(ev.BytesArrived())
        actions = story.tell(ev.Tick())
        if any(isinstance(action, act.LeaveBroker) for action in actions):
            return story.mono_s - began_s
        for action in actions:
            if isinstance(action, Subscribe):
                story.tell(ev.SubscriptionAnswered(len(action.filters), 0.01))
    raise AssertionError("it waits for ever")


def moved_on(story: Story, to: str) -> None:
    story.tell(ev.ConnectionLost())
    story.tell(ev.ConnectionMade(to, 64))


def test_it_is_left_after_a_minute_and_later_where_the_others_give_nothing_either() -> None:
    story, waits = fetching(), []
    for number in range(6):
        waits.append(silent_s(story))
        moved_on(story, f"mqtt://{number}")
    assert SILENCE_FIRST_S < waits[0] < 2 * SILENCE_FIRST_S
    assert waits == sorted(waits)
    assert USUAL.patience_s <= waits[-1] < 2 * USUAL.patience_s


def test_what_comes_makes_it_soon_again() -> None:
    story = fetching()
    for number in range(4):
        silent_s(story)
        moved_on(story, f"mqtt://{number}")
    story.tell(CONTENT.came(1))
    assert silent_s(story) < 2 * SILENCE_FIRST_S


def test_a_chunk_that_is_on_its_way_over_a_slow_link_is_waited_for() -> None:
    assert silent_s(fetching(), parts_every_s=5.0) > USUAL.patience_s
