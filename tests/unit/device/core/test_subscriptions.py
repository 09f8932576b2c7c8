"""What is asked for by which filter, how many at once, and what is learnt where little comes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slotcast_device.core.transfer.broker_limits import Allowance, BrokerLimits
from slotcast_device.core.transfer.credit import Credit
from slotcast_device.core.transfer.transfer_actions import Subscribe
from tests.support.transfer_story import TransferStory


def slow_broker() -> Credit:
    """The broker takes half a second for each filter."""
    credit = Credit()
    credit.answered(1, 0.5)
    return credit


# --- one filter for everything --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("came", "messages_max", "singles"),
    [
        (7, None, "0/7 1/8 1/9 1/10"),
        (8, 8, "1/8 1/9 1/10 1/11"),
        (30, 30, "3/30 3/31 4/32 4/33"),
    ],
)
def test_where_one_filter_ends_early_it_is_learnt_how_much_it_brought(
    came: int, messages_max: int | None, singles: str
) -> None:
    """Less than a block says nothing: a cut or a loss looks the same."""
    allowance = Allowance()
    story = TransferStory(40, credit=slow_broker(), allowance=allowance)
    assert story.asking() == ["subscribe +/+"]
    assert story.left_s() == 5.0 + 1.0, "the broker needs its time for the filter"
    assert story.comes(*range(came), each_s=0.01) == []
    learnt = [] if messages_max is None else [f"learn {messages_max}"]
    one_by_one = [f"subscribe {name}" for name in singles.split()]
    assert story.waits() == (6.0, [*learnt, "unsubscribe +/+", *one_by_one])
    assert allowance.is_wildcard_proven is (messages_max is not None)
    if messages_max is not None:
        assert allowance.limits == BrokerLimits(wildcard_messages_max=messages_max)


@pytest.mark.parametrize(("each_s", "asked"), [(1.0, "1/10"), (0.01, "+/+")])
def test_after_a_cut_everything_is_asked_for_again_only_on_a_fast_link(
    each_s: float, asked: str
) -> None:
    """It brings again what is there: cheaper than filters where a second brings much."""
    story = TransferStory(40, credit=slow_broker())
    story.now_s = 5000.0
    story.asking()
    story.comes(*range(10), each_s=each_s)
    story.transfer.connection_lost()
    assert story.connects()[0] == f"subscribe {asked}"


@pytest.mark.parametrize(
    ("chunks", "allowed", "asked"),
    [(8, 512, "0/+"), (9, 512, "+/+"), (512, 512, "+/+"), (513, 600, "0/+"), (20, 19, "0/+")],
)
def test_one_filter_is_asked_for_more_than_a_block_and_no_more_than_brokers_keep_waiting(
    chunks: int, allowed: int, asked: str
) -> None:
    allowance = Allowance(limits=BrokerLimits(wildcard_messages_max=allowed))
    story = TransferStory(chunks, credit=slow_broker(), allowance=allowance)
    assert story.asking()[0] == f"subscribe {asked}"


def test_one_filter_is_not_asked_for_where_some_chunks_are_not_needed() -> None:
    story = TransferStory(40, needed=range(39), credit=slow_broker())
    assert story.asking() == ["subscribe 0/+"]


# --- filters for blocks ---------------------------------------------------------------------------


def test_what_a_block_lacks_is_asked_for_chunk_by_chunk_and_then_blocks_again() -> None:
    """A want brought it: that says nothing of what the broker gives for a wildcard."""
    story = TransferStory(40)
    assert story.asking() == ["subscribe 0/+"]
    story.comes(0, 1, each_s=1.0)
    singles = "subscribe 0/2 0/3 0/4 0/5 0/6 0/7"
    assert story.waits()[1] == ["unsubscribe 0/+", singles]
    assert story.waits()[1] == ["want 2 3 4 5 6 7", singles]
    assert story.finishes() == [
        "subscribe 1/8",
        "subscribe 1/9",
        "subscribe 1/10",
        "subscribe 1/11 1/12 1/13 1/14",
        "unsubscribe 0/2 0/3 0/4 0/5 0/6 0/7 1/8 1/9",
        "subscribe 1/15",
        "subscribe 2/+ 3/+",
        "subscribe 4/+",
        "unsubscribe 1/10 1/11 1/12 1/13 1/14 1/15 2/+ 3/+",
        "unsubscribe 4/+",
        "complete",
    ]


def test_a_broker_that_gives_too_little_for_a_wildcard_is_known_by_what_single_filters_bring() -> (
    None
):
    allowance = Allowance()
    story = TransferStory(40, allowance=allowance)
    story.asking()
    story.comes(0, 1, each_s=1.0)
    story.waits()
    learnt = [text for index in range(2, 8) for text in story.comes(index)]
    assert learnt[0] == "learn 2"
    assert allowance.limits.wildcard_messages_max == 2
    assert not any("/+" in text for text in learnt)


@pytest.mark.parametrize(
    ("came", "make_credit", "asked"),
    [
        (0, Credit, ["subscribe 0/+"]),
        (1, Credit, ["unsubscribe 0/+", "subscribe 0/1 0/2 0/3 0/4 0/5 0/6"]),
        (1, slow_broker, ["subscribe 0/+"]),
    ],
    ids=["nothing came", "a part came", "a part came, and filters are dear"],
)
def test_where_wildcards_are_proven_what_a_block_lacks_was_lost_on_the_way(
    came: int, make_credit: Callable[[], Credit], asked: list[str]
) -> None:
    allowance = Allowance(is_wildcard_proven=True)
    story = TransferStory(40, needed=range(39), credit=make_credit(), allowance=allowance)
    assert story.asking() == ["subscribe 0/+"]
    story.comes(*range(came))
    assert story.waits()[1] == asked


# --- how many at once -----------------------------------------------------------------------------


def test_a_broker_of_few_subscriptions_holds_no_more_of_them() -> None:
    """Its fifth is the notice's; each that is done is let go of before the next is asked for."""
    limits = BrokerLimits(subscriptions_max=5, wildcard_messages_max=0)
    story = TransferStory(40, allowance=Allowance(limits=limits))
    assert story.asking() == ["subscribe 0/0 0/1 0/2 0/3"]
    assert story.comes(0, 1, each_s=1.0) == [
        "unsubscribe 0/0",
        "subscribe 0/4",
        "unsubscribe 0/1",
        "subscribe 0/5",
    ]


def test_a_broker_of_small_packets_is_asked_in_several() -> None:
    limits = BrokerLimits(filters_per_packet=3, wildcard_messages_max=0)
    story = TransferStory(40, allowance=Allowance(limits=limits))
    assert story.asking() == [
        "subscribe 0/0 0/1 0/2",
        "subscribe 0/3 0/4 0/5",
        "subscribe 0/6 0/7 1/8",
        "subscribe 1/9 1/10 1/11",
    ]
    assert story.comes(0, 1, each_s=1.0) == []
    assert story.comes(2) == ["unsubscribe 0/0 0/1 0/2"]


def test_a_slow_broker_holds_four_filters_which_it_is_sent_one_by_one() -> None:
    """Meanwhile it may answer nothing, not even pings."""
    limits = BrokerLimits(wildcard_messages_max=0)
    story = TransferStory(40, credit=slow_broker(), allowance=Allowance(limits=limits))
    assert story.asking() == [f"subscribe 0/{n}" for n in range(4)]
    assert story.left_s() == 5.0 + 4 * 1.0
    assert story.comes(0) == ["unsubscribe 0/0", "subscribe 0/4"]


def test_parts_of_a_map_are_asked_for_eight_at_a_time() -> None:
    story = TransferStory(40)
    asked = story.transfer._subscriptions.ask_for_maps(range(12), 0.0)
    (packet,) = asked
    assert isinstance(packet, Subscribe)
    assert [name.rsplit("/", 1)[-1] for name in packet.filters] == [str(n) for n in range(8)]
    assert story.transfer._subscriptions.ask_for_maps(range(12), 0.0) == []
