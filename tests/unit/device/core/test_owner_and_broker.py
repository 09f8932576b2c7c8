"""What holds an update up: its owner, a broker that refuses or keeps nothing, a slow link."""

from __future__ import annotations

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.transfer.broker_limits import BrokerLimits
from slotcast_device.core.transfer.slow_link import SlowLimit
from slotcast_device.core.transfer.transfer_actions import PublishWant, Subscribe, Unsubscribe
from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.reasons import Reason
from tests.support.core_story import (
    BROKER,
    CONTENT,
    FACTS,
    ISSUED_S,
    TOPICS,
    WALL_S,
    Content,
    Story,
    notice,
    serving,
)

TWO = notice(2)
FILTER = TOPICS.block(CONTENT.sha256, 0)
AGAIN = "it is asked for again and again"


def asking() -> Story:
    """A device whose owner is asked."""
    return Story(asks_owner=True).begun(serving())


# --- the owner ------------------------------------------------------------------------------------


def test_the_owner_is_asked_before_a_download() -> None:
    story = asking()
    assert story.offered(TWO) == [act.AskHook("before_download", TWO.release), *story.saved]
    assert story.words == ("QUEUED", "owner", "")
    assert (story.update.version, story.update.group) == ("2.0", "all")
    assert story.done(act.Answer("go")) == [
        *story.saved,
        act.OpenSpool(CONTENT.payload, TWO.release),
    ]
    assert story.words == ("DOWNLOADING", "downloading", "full+none")


def test_a_wait_before_a_download_is_planned_anew_when_it_is_over() -> None:
    story = asking()
    story.offered(TWO)
    answer = act.Answer("wait", Reason.WINDOW, "from 02:00 on", again_s=300.0)
    assert story.done(answer) == story.saved
    assert story.words == ("QUEUED", "window", "from 02:00 on")
    assert not story.core.is_settled
    waited_s, actions = story.wait()
    assert waited_s == 300.0
    assert isinstance(actions[0], act.Verify)
    assert story.done(act.NoticeVerified(TWO, FACTS))[0] == act.AskHook(
        "before_download", TWO.release
    )


def test_a_wait_without_a_reason_is_the_owners() -> None:
    story = asking()
    story.offered(TWO)
    story.done(act.Answer("wait"))
    assert story.words == ("QUEUED", "owner", "")
    assert story.wait()[0] == 60.0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (act.Answer("refuse"), ("REJECTED", "owner_refused", "")),
        (act.Answer("refuse", Reason.HOOK, "exit 3"), ("REJECTED", "hook", "exit 3")),
    ],
)
def test_a_release_that_the_owner_refuses_is_not_fetched(
    answer: act.Answer, words: tuple[str, str, str]
) -> None:
    story = asking()
    story.offered(TWO)
    story.pass_s(5)
    assert story.done(answer) == story.saved
    assert story.words == words
    assert story.update.since == WALL_S + 5
    assert story.core.is_settled
    assert story.core.deadline_s is None


def test_the_owner_is_asked_again_before_the_switch() -> None:
    story = asking()
    story.offered(TWO)
    story.done(act.Answer("go"))
    story.done(act.Spooled({0: CONTENT.map}, is_empty=True))
    story.tell(CONTENT.came(0))
    story.done()
    asked = act.AskHook("before_switch", TWO.release)
    assert story.done(act.Verdict(passed=True, reason="fit")) == [asked]
    assert story.words[0] == "VERIFIED"
    assert story.done(act.Answer("wait", Reason.CONSENT, "a file", again_s=30.0)) == story.saved
    assert story.words == ("VERIFIED", "consent", "a file")
    assert story.wait() == (30.0, [asked])

    story.done(act.Answer("wait", Reason.CONSENT, "a file", again_s=30.0))
    before = story.core.state
    more = notice(2, issued=ISSUED_S + 9)
    story.offered(more)
    assert story.core.state.update == before.update, "a newer notice of it changes nothing"
    assert isinstance(story.tell(ev.ClockMoved())[0], act.Verify)
    story.done(act.NoticeVerified(more, FACTS))
    story.tell(ev.Tick())
    assert story.job == asked, "a window may be open by the new time"

    actions = story.done(act.Answer("go"))
    assert act.Activate("b") in actions
    assert story.words[:2] == ("TRIAL", "on_trial")


def test_a_switch_that_the_owner_refuses_is_not_made() -> None:
    story = asking()
    story.offered(TWO)
    story.done(act.Answer("go"))
    story.done(act.Spooled({0: CONTENT.map}, is_empty=True))
    story.tell(CONTENT.came(0))
    story.done()
    story.done(act.Verdict(passed=True, reason="fit"))
    story.done(act.Answer("refuse", Reason.HOOK, "not today"))
    assert story.words == ("REJECTED", "hook", "not today")
    assert story.core.state.active == "a"


# --- the broker -----------------------------------------------------------------------------------


def test_a_filter_that_the_broker_refuses_for_good_is_said_and_asked_for_again() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    refusal = ev.SubscriptionRefused(FILTER, "0x87 not authorized", is_final=True)
    detail = f"0x87 not authorized; {AGAIN}"
    assert story.tell(refusal) == [
        act.Log("warning", f"broker_refused: {detail}"),
        *story.saved,
    ]
    assert story.words == ("DOWNLOADING", "broker_refused", detail)
    waited_s, actions = story.wait()
    assert (waited_s, actions) == (10.0, [Subscribe((FILTER,))])
    assert story.tell(refusal) == [], "said once"
    stray = ev.SubscriptionRefused("t/else", "no", is_final=True)
    assert story.tell(stray) == []
    story.wait()
    story.tell(CONTENT.came(0))
    assert story.words == ("DOWNLOADED", "building", "")


def test_what_comes_after_all_ends_the_trouble() -> None:
    content = Content("two", chunks=2)
    story = Story().begun(serving())
    story.collecting(notice(2, payloads=(content.payload,)), content)
    name = TOPICS.block(content.sha256, 0)
    story.tell(ev.SubscriptionRefused(name, "no", is_final=True))
    actions = story.tell(content.came(0))
    assert actions[:3] == [act.Log("info", "what was asked for comes now"), *story.saved]
    assert story.words == ("DOWNLOADING", "downloading", "")
    assert not any(isinstance(action, act.Log) for action in story.tell(content.came(0)))


def test_a_refusal_with_another_way_is_no_trouble() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    assert story.tell(ev.LimitsChanged(BrokerLimits(wildcard_messages_max=0))) == []
    refusal = ev.SubscriptionRefused(FILTER, "no", is_final=False)
    assert story.tell(refusal) == [Subscribe((TOPICS.chunk(CONTENT.sha256, 0),))]
    assert story.words[:2] == ("DOWNLOADING", "downloading")


def test_a_broker_that_does_not_answer_a_subscribe_is_named() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    assert story.tell(ev.SubscriptionUnanswered(("t/else",))) == []
    detail = f"the broker does not answer SUBSCRIBE {FILTER}; {AGAIN}"
    assert story.tell(ev.SubscriptionUnanswered(("t/else", FILTER))) == [
        act.Log("warning", f"broker_refused: {detail}"),
        *story.saved,
    ]
    assert story.words == ("DOWNLOADING", "broker_refused", detail)


def test_trouble_ends_with_a_part_of_the_map_too() -> None:
    story = Story().begun(serving())
    story.offered(TWO)
    story.done(act.Spooled({}, is_empty=True))
    topic = TOPICS.map_part(CONTENT.sha256, 0)
    story.tell(ev.SubscriptionUnanswered((topic,)))
    assert story.words[1] == "broker_refused"
    actions = story.tell(ev.MapArrived(CONTENT.sha256, 0, CONTENT.map))
    assert actions[:3] == [act.Log("info", "what was asked for comes now"), *story.saved]
    assert story.words == ("DOWNLOADING", "downloading", "")


def test_a_long_refusal_is_cut_to_what_a_status_may_carry() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    story.tell(ev.SubscriptionRefused(FILTER, "x" * 5000, is_final=True))
    assert story.update.detail == "x" * DETAIL_MAX_CHARS


def stall(story: Story) -> tuple[list[float], list[act.Action]]:
    """Nothing comes until the core says so; gives the waits, and what it said with."""
    waits = []
    for _ in range(6):
        waited_s, actions = story.wait()
        waits.append(waited_s)
        if any(isinstance(action, act.Log) for action in actions):
            return waits, actions
    raise AssertionError("it never said so")


def test_what_neither_the_broker_keeps_nor_anybody_sends_is_a_stall() -> None:
    content = Content("two", chunks=2)
    story = Story().begun(serving())
    story.collecting(notice(2, payloads=(content.payload,)), content)
    story.tell(content.came(0))
    waits, actions = stall(story)
    assert waits == [5.0, 10.0, 15.0]
    detail = (
        "what was asked for does not come, neither kept by the broker nor for a want: publish it"
        f" to this broker, or run `slotcast serve`; {AGAIN}"
    )
    assert actions[-5:] == [
        act.Log("warning", f"stalled: {detail}"),
        *story.saved,
        act.SyncSpool(),
        act.PublishStatus(),
    ]
    assert story.words == ("DOWNLOADING", "stalled", detail)
    assert not any(isinstance(action, act.Log) for action in story.wait()[1]), "said once"


def test_where_no_full_chunk_ever_came_the_packet_limit_is_suspected() -> None:
    story = Story().begun(serving())
    content = Content("three", chunks=3)
    story.collecting(notice(2, payloads=(content.payload,)), content)
    stall(story)
    hint = "; no message of 1152 bytes ever came: perhaps the broker's packet limit; "
    assert hint + AGAIN in story.update.detail


def test_a_broker_that_keeps_nothing_needs_the_publishers_service() -> None:
    story = Story().begun(serving())
    story.tell(ev.ConnectionMade(BROKER, 64, BrokerLimits(retained=False)))
    story.collecting(TWO)
    waits, actions = stall(story)
    assert waits[0] == 1.0, "a want goes first where nothing else brings anything"
    assert story.words == (
        "DOWNLOADING",
        "stalled",
        (
            "this broker keeps no retained messages, and nobody answers wants;"
            " `slotcast serve` must run for it"
        ),
    )
    assert any(isinstance(action, PublishWant) for action in actions)


def test_a_packet_limit_below_the_chunks_is_said_sooner() -> None:
    story = Story().begun(serving())
    story.tell(ev.ConnectionMade(BROKER, 64, BrokerLimits(packet_max_bytes=1000)))
    story.collecting(TWO)
    waits, _ = stall(story)
    assert waits == [5.0, 10.0]
    assert story.words == (
        "DOWNLOADING",
        "packet_limit",
        (
            "the broker takes packets of at most 1000 bytes, this payload needs 1152: raise the"
            " broker's limit, or release with a smaller chunk_size_bytes"
        ),
    )
    exact = Story().begun(serving())
    exact.tell(ev.ConnectionMade(BROKER, 64, BrokerLimits(packet_max_bytes=1152)))
    exact.collecting(TWO)
    stall(exact)
    assert exact.words[1] == "stalled"


def test_a_new_try_forgets_the_trouble() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    story.tell(ev.SubscriptionRefused(FILTER, "no", is_final=True))
    other = Content("other", chunks=2)
    story.collecting(notice(3, payloads=(other.payload,)), other)
    assert not any(isinstance(action, act.Log) for action in story.tell(other.came(0)))
    assert story.words[:2] == ("DOWNLOADING", "downloading")


# --- the pace -------------------------------------------------------------------------------------


def slow_story() -> tuple[Story, Content]:
    """At least 1 kB a second over a minute is expected of 100 chunks."""
    content = Content("long", chunks=100)
    story = Story(slow=SlowLimit(bytes_per_s=1000.0, window_s=60.0)).begun(serving())
    story.collecting(notice(2, payloads=(content.payload,)), content)
    return story, content


def windows(story: Story, content: Content, first: int, count: int) -> list[act.Action]:
    """So many chunks come in the next minute; gives what is said at its end."""
    start_s = story.mono_s
    for number in range(count):
        story.mono_s = start_s + 60.0 * (number + 1) / (count + 1)
        story.tell(content.came(first + number))
    story.mono_s = start_s + 60.0
    return [a for a in story.tell(ev.Tick()) if isinstance(a, (act.Log, act.Save))]


def test_a_transfer_below_the_owners_pace_says_so_until_it_is_faster() -> None:
    story, content = slow_story()
    detail = (
        "171 verified bytes a second over 60 s, expected at least 1000; it goes on, look at the"
        " link and the broker"
    )
    assert windows(story, content, 0, 10) == [act.Log("warning", f"slow: {detail}")]
    assert story.words == ("DOWNLOADING", "slow", detail)
    assert windows(story, content, 10, 10) == [], "said once"
    assert windows(story, content, 20, 59) == []
    assert story.words == ("DOWNLOADING", "downloading", "")
    assert windows(story, content, 79, 10) == [act.Log("warning", f"slow: {detail}")]


def test_trouble_says_more_than_slow() -> None:
    story, content = slow_story()
    name = TOPICS.block(content.sha256, 0)
    story.tell(ev.SubscriptionUnanswered((name,)))
    windows(story, content, 0, 0)
    assert story.words[1] == "broker_refused"


def test_a_cut_begins_the_window_anew() -> None:
    story, _ = slow_story()
    story.pass_s(59)
    story.tell(ev.ConnectionLost())
    story.pass_s(5)
    story.tell(ev.Tick())
    assert story.words[1] == "downloading"
    story.tell(ev.ConnectionMade(BROKER, 64))
    story.pass_s(59)
    story.tell(ev.Tick())
    assert story.words[1] != "slow"
    story.pass_s(1)
    story.tell(ev.Tick())
    assert story.words[1] == "slow"


def test_without_a_bound_nothing_is_slow() -> None:
    content = Content("long", chunks=100)
    story = Story().begun(serving())
    story.collecting(notice(2, payloads=(content.payload,)), content)
    for index in range(50):
        story.pass_s(3)
        story.tell(content.came(index))
        story.tell(ev.Tick())
    assert story.words == ("DOWNLOADING", "downloading", "full+none")


def test_bytes_that_are_heard_put_off_asking_again() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    story.pass_s(4)
    assert story.tell(ev.BytesArrived()) == []
    assert story.core.deadline_s == story.mono_s + 5.0
    story.pass_s(4)
    story.tell(ev.SubscriptionAnswered(1, 0.0))
    assert story.core.deadline_s == story.mono_s + 5.0


def test_filters_that_take_a_broker_long_are_waited_for() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    story.tell(ev.SubscriptionAnswered(2, 3.0))
    assert story.core.deadline_s == story.mono_s + 5.0 + 2 * 1.5


def test_what_several_models_ask_for_is_shared() -> None:
    content = Content("hundred", chunks=100)
    alone, shared = Story(), Story(models=48)
    asked = []
    for story in (alone, shared):
        story.begun(serving())
        story.tell(ev.ConnectionMade(BROKER, 1000, BrokerLimits(wildcard_messages_max=0)))
        actions = story.collecting(notice(2, payloads=(content.payload,)), content)
        asked.append(sum(len(a.filters) for a in actions if isinstance(a, Subscribe)))
    assert asked == [12, 2]
    assert not any(isinstance(a, Unsubscribe) for a in actions)
