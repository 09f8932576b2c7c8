"""What a broker does not keep is found, whatever it acknowledges and however it is asked."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from slotcast_publisher.delivery.push import Item, push
from slotcast_publisher.delivery.readback import ReadbackWaits, RetainedReader, read_one
from slotcast_schemas.errors import BrokerRefused, LinkDown
from slotcast_schemas.topics import Topics
from tests.support.limited_broker import LimitedBroker

TOPICS = Topics()
PAYLOAD = bytes(32)
AT_ONCE = ReadbackWaits(quiet_s=0, answer_s=0, patience_s=5, again_s=0)
CHUNKS = 700


def chunk(number: int) -> Item:
    data = b"%d" % number
    return Item(TOPICS.chunk(PAYLOAD, number), len(data), lambda: data, None, number)


def items(count: int = CHUNKS) -> list[Item]:
    return [chunk(number) for number in range(count)]


def kept_by(broker: LimitedBroker, count: int = CHUNKS) -> LimitedBroker:
    push(broker.connect, [items(count)])
    return broker


def missing(broker: LimitedBroker, wanted: list[Item] | None = None) -> set[int]:
    found = RetainedReader(broker.connect, AT_ONCE).missing(items() if wanted is None else wanted)
    return {item.number for item in found}


LIMITS: dict[str, Callable[[], LimitedBroker]] = {
    "none": LimitedBroker,
    "wildcards refused": lambda: LimitedBroker(wildcards="refused"),
    "wildcards announced as missing": lambda: LimitedBroker(wildcards="announced"),
    "wildcards bring nothing retained": lambda: LimitedBroker(wildcards="empty"),
    "one retained message a filter": lambda: LimitedBroker(retained_cap=1),
    "five retained messages a filter": lambda: LimitedBroker(retained_cap=5),
    "one filter a SUBSCRIBE": lambda: LimitedBroker(filters_max=1),
    "eight filters a connection": lambda: LimitedBroker(held_max=8),
    "one filter a connection": lambda: LimitedBroker(held_max=1),
    "all at once": lambda: LimitedBroker(
        wildcards="refused", retained_cap=1, filters_max=1, held_max=3
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_what_is_kept_is_found_whatever_the_broker_serves(limit: str) -> None:
    assert missing(kept_by(LIMITS[limit]())) == set()


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("lost", [{0}, {CHUNKS - 1}, {3, 4, 200, 201, 650}])
def test_what_is_lost_is_named_and_nothing_else(limit: str, lost: set[int]) -> None:
    broker = kept_by(LIMITS[limit]())
    for number in lost:
        del broker.kept[TOPICS.chunk(PAYLOAD, number)]
    assert missing(broker) == lost


def test_any_part_that_is_lost_is_named() -> None:
    rng = random.Random(7)
    for _ in range(30):
        limit = rng.choice(sorted(LIMITS))
        lost = set(rng.sample(range(300), rng.randrange(1, 60)))
        broker = kept_by(LIMITS[limit](), 300)
        for number in lost:
            del broker.kept[TOPICS.chunk(PAYLOAD, number)]
        assert lost <= missing(broker, items(300)), (limit, lost)


def test_a_chunk_that_was_replaced_counts_as_missing() -> None:
    broker = kept_by(LimitedBroker())
    broker.kept[TOPICS.chunk(PAYLOAD, 17)] = b"x"
    assert missing(broker) == {17}


def test_a_broker_that_lost_all_is_not_asked_for_every_chunk() -> None:
    broker = LimitedBroker()
    assert missing(broker) == set(range(CHUNKS))
    assert len(broker.asked) < 100


def test_neighbours_are_asked_for_by_one_filter() -> None:
    broker = kept_by(LimitedBroker())
    missing(broker)
    assert len(broker.asked) == -(-CHUNKS // 8)


def test_a_user_who_may_not_read_is_told_so() -> None:
    broker = kept_by(LimitedBroker(may_read=False))
    with pytest.raises(BrokerRefused, match="--read-back none"):
        missing(broker)
    with broker.connect() as link, pytest.raises(BrokerRefused, match="the right to read"):
        read_one(link, "a/notice", AT_ONCE)


def test_what_comes_without_the_retain_flag_proves_nothing() -> None:
    broker = kept_by(LimitedBroker(flags=False))
    reader = RetainedReader(broker.connect, AT_ONCE)
    assert len(reader.missing(items(8))) == 8
    assert reader.unflagged > 0


def test_a_broker_that_confirms_before_it_keeps_is_waited_for() -> None:
    broker = kept_by(LimitedBroker(keeps_after=3), 1)
    again: list[int] = []
    reader = RetainedReader(broker.connect, AT_ONCE)
    assert reader.still_missing(items(1), lambda: again.append(1)) == []
    assert again


def test_a_link_that_is_lost_again_and_again_ends_the_reading() -> None:
    broker = kept_by(LimitedBroker(filters_max=0))
    with pytest.raises(LinkDown):
        missing(broker)
    assert broker.connections == 4  # one to publish, three to read
