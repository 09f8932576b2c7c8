"""What nobody wants is bounded by time and by progress; what honest brokers send is far below."""

from __future__ import annotations

from slotcast_device.core.broker_budget import (
    FRESH_BYTES,
    NOTICE_COST_BYTES,
    PACKET_COST_BYTES,
    USELESS_BYTES_PER_S,
    USELESS_MAX_BYTES,
    BrokerBudget,
)
from slotcast_schemas import limits

CHUNK_BYTES = limits.CHUNK_DEFAULT_BYTES
CREDIT_CHUNKS = 128


def spent_after(budget: BrokerBudget, size_bytes: int, step_s: float = 0.0) -> int:
    """So many packets of a size that nobody wants spend it."""
    for count in range(1, 10_000_000):
        budget.came(size_bytes, 1, count * step_s)
        if budget.is_spent(count * step_s):
            return count
    raise AssertionError("never")


def test_useless_bytes_are_bounded_and_small_packets_count_for_more_than_their_bytes() -> None:
    assert spent_after(BrokerBudget(CREDIT_CHUNKS), CHUNK_BYTES) <= USELESS_MAX_BYTES / CHUNK_BYTES
    pings = spent_after(BrokerBudget(1), 2)
    assert pings * PACKET_COST_BYTES <= USELESS_MAX_BYTES + PACKET_COST_BYTES


def test_answers_to_pings_come_for_ever() -> None:
    budget = BrokerBudget(1)
    for minute in range(60 * 24 * 30):
        budget.came(4, 2, minute * 60.0)
    assert not budget.is_spent(60 * 60 * 24 * 30.0)
    assert budget.useless_bytes == 4 * 60 * 24 * 30


def test_a_link_that_sends_every_chunk_twice_is_never_left() -> None:
    budget = BrokerBudget(CREDIT_CHUNKS)
    for number in range(10_000):
        budget.came(2 * CHUNK_BYTES, 2, 0.0)
        budget.wanted(CHUNK_BYTES)
        assert not budget.is_spent(0.0), number
    assert budget.useless_bytes == budget.received_bytes // 2


def test_all_that_may_be_under_way_may_come_again_in_the_largest_chunks() -> None:
    budget = BrokerBudget(CREDIT_CHUNKS)
    budget.came(CREDIT_CHUNKS * limits.CHUNK_MAX_BYTES, CREDIT_CHUNKS, 0.0)
    assert not budget.is_spent(0.0)
    assert budget.left_bytes(0.0) < USELESS_MAX_BYTES // 20
    wide = BrokerBudget(1024)
    wide.came(1024 * limits.CHUNK_MAX_BYTES, 0, 0.0)
    assert not wide.is_spent(0.0)


def test_a_flood_of_notices_counts_more_than_the_one_that_was_asked_for() -> None:
    budget = BrokerBudget(1)
    for _ in range(100_000):
        budget.came(8000, 1, 0.0)
        budget.asked_notice_came(8000)
    assert not budget.is_spent(0.0)
    flood = 0
    while not budget.is_spent(0.0):
        budget.came(40, 1, 0.0)
        budget.unasked_notice_came(0.0)
        flood += 1
    assert flood <= USELESS_MAX_BYTES // NOTICE_COST_BYTES + 1


def test_one_that_is_tried_again_may_send_a_little_and_time_gives_the_rest() -> None:
    budget = BrokerBudget(1)
    budget.came(10 * USELESS_MAX_BYTES, 1, 0.0)
    assert budget.is_spent(0.0)
    assert budget.left_bytes(0.0) == 0
    budget.tried_again(0.0)
    assert budget.left_bytes(0.0) == FRESH_BYTES
    assert budget.left_bytes(100.0) == FRESH_BYTES + 100 * USELESS_BYTES_PER_S
    assert budget.left_bytes(1e9) == USELESS_MAX_BYTES
