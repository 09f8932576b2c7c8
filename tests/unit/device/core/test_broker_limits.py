"""What a refusal, and the end of a connection, teach about a broker; and what is made of that."""

from __future__ import annotations

import msgspec
import pytest

from slotcast_device.core.transfer.broker_limits import (
    FAILED,
    PACKET_TOO_LARGE,
    QUOTA_EXCEEDED,
    RETAIN_NOT_SUPPORTED,
    WILDCARDS_NOT_SUPPORTED,
    Allowance,
    BrokerLimits,
    Ending,
    Refusal,
    after_ending,
    after_refusal,
    filters_each,
    has_wildcard,
    lends_notices,
)
from slotcast_schemas.limits import BLOCK_CHUNKS

NOTICE, MAP, CHUNK, BLOCK = "t/models/m/notice", "t/payloads/x/map/0", "t/payloads/x/0/1", "t/x/0/+"
NOT_AUTHORIZED = 0x87


def refused(
    name: str, code: int, held: set[str], limits: BrokerLimits | None = None, *, quota: bool = True
) -> tuple[BrokerLimits, bool]:
    refusal = Refusal(name, code, "refused")
    return after_refusal(limits or BrokerLimits(), refusal, held, may_be_quota=quota)


@pytest.mark.parametrize("code", [FAILED, WILDCARDS_NOT_SUPPORTED, NOT_AUTHORIZED])
def test_where_a_wildcard_is_refused_exact_topics_are_asked_for(code: int) -> None:
    limits, may_work = refused(BLOCK, code, {NOTICE, MAP})
    assert may_work
    assert limits == BrokerLimits(wildcard_messages_max=0)
    assert not Allowance(limits=limits).has_block_filters
    again, may_work = refused("t/x/1/+", code, {NOTICE, MAP}, limits)
    assert may_work, "another one of the same SUBSCRIBE teaches nothing new, and is asked otherwise"
    assert again == limits


def test_both_of_mqtts_wildcards_are_known() -> None:
    assert [has_wildcard(name) for name in (BLOCK, "t/#", CHUNK)] == [True, True, False]


def test_a_wildcard_refused_beside_one_that_was_taken_is_a_quota() -> None:
    held = {NOTICE, "t/x/1/+", "t/x/2/+"}
    limits, may_work = refused(BLOCK, FAILED, held)
    assert may_work
    assert limits.subscriptions_max == 3
    assert Allowance(limits=limits).has_block_filters


def test_a_quota_is_what_was_held_when_it_was_met() -> None:
    limits, may_work = refused(CHUNK, QUOTA_EXCEEDED, {NOTICE, MAP})
    assert (limits.subscriptions_max, may_work) == (2, True)
    again, may_work = refused(CHUNK, QUOTA_EXCEEDED, {NOTICE, MAP}, limits)
    assert (again, may_work) == (limits, True)


def test_a_filter_refused_with_nothing_held_is_refused_for_good() -> None:
    assert refused(CHUNK, QUOTA_EXCEEDED, set()) == (BrokerLimits(), False)
    assert refused(CHUNK, FAILED, set()) == (BrokerLimits(), False)
    assert refused(CHUNK, FAILED, {NOTICE}, quota=False) == (BrokerLimits(), False)


def test_an_exact_filter_that_is_not_authorized_is_refused_for_good() -> None:
    assert refused(CHUNK, NOT_AUTHORIZED, {NOTICE}) == (BrokerLimits(), False)


def test_a_subscribe_that_ended_the_connection_is_split_in_half() -> None:
    filters = tuple(f"t/{n}" for n in range(8))
    limits = after_ending(BrokerLimits(), Ending(filters=filters))
    assert limits.filters_per_packet == 4
    limits = after_ending(limits, Ending(filters=filters[:3]))
    assert limits.filters_per_packet == 1


def test_two_filters_of_which_one_may_be_to_blame_are_asked_for_one_by_one() -> None:
    two = Ending(filters=(BLOCK, MAP), is_single=True)
    assert after_ending(BrokerLimits(), two) == BrokerLimits(filters_per_packet=1)
    narrow = BrokerLimits(filters_per_packet=1)
    assert after_ending(narrow, Ending(filters=(MAP,) * 8)) == narrow, "it was known to be less"


def test_a_single_exact_filter_teaches_nothing_even_where_it_is_to_blame() -> None:
    assert after_ending(BrokerLimits(), Ending(filters=(MAP,), is_single=True)) == BrokerLimits()


def test_a_cut_beside_a_single_filter_teaches_nothing() -> None:
    assert after_ending(BrokerLimits(), Ending(filters=(BLOCK,))) == BrokerLimits()
    assert after_ending(BrokerLimits(), Ending()) == BrokerLimits()
    cut = Ending(topic="t/devices/d/status", size_bytes=3000, is_retained=True)
    assert after_ending(BrokerLimits(), cut) == BrokerLimits()


def test_what_alone_waited_for_an_answer_is_what_ended_the_connection() -> None:
    wide = after_ending(BrokerLimits(), Ending(filters=(BLOCK,), is_single=True))
    assert wide == BrokerLimits(wildcard_messages_max=0)
    small = Ending(topic="presence", size_bytes=512, is_retained=True, is_single=True)
    assert after_ending(BrokerLimits(), small) == BrokerLimits(retained=False)
    fleeting = msgspec.structs.replace(small, is_retained=False)
    assert after_ending(BrokerLimits(), fleeting) == BrokerLimits(), "nor is its size to blame"
    large = Ending(topic="status", size_bytes=3000, is_retained=True, is_single=True)
    assert after_ending(BrokerLimits(), large).packet_max_bytes == 2999
    unretained = msgspec.structs.replace(BrokerLimits(), retained=False)
    assert after_ending(unretained, small) == unretained


def test_a_code_says_it_without_doubt() -> None:
    ending = Ending(code=RETAIN_NOT_SUPPORTED, topic="presence", size_bytes=100, is_retained=True)
    assert after_ending(BrokerLimits(), ending) == BrokerLimits(retained=False)
    wide = Ending(code=WILDCARDS_NOT_SUPPORTED, filters=(BLOCK,))
    assert after_ending(BrokerLimits(), wide) == BrokerLimits(wildcard_messages_max=0)
    large = Ending(code=PACKET_TOO_LARGE, topic="status", size_bytes=513)
    assert after_ending(BrokerLimits(), large) == BrokerLimits(packet_max_bytes=512)
    known = BrokerLimits(packet_max_bytes=400)
    assert after_ending(known, large) == known
    tiny = msgspec.structs.replace(large, size_bytes=512)
    assert after_ending(BrokerLimits(), tiny) == BrokerLimits(), "no broker refuses so small a one"


def test_what_a_broker_proved_of_wildcards_holds_for_that_broker_alone() -> None:
    allowance = Allowance()
    allowance.connected("mqtt://a", BrokerLimits())
    allowance.is_wildcard_proven = True
    proven = []
    for broker in ("mqtt://a", "mqtt://b", "mqtt://b"):
        allowance.connected(broker, BrokerLimits(retained=False))
        proven.append(allowance.is_wildcard_proven)
    assert proven == [True, False, False]
    assert allowance.limits == BrokerLimits(retained=False)


@pytest.mark.parametrize(
    ("models", "quota", "each"), [(1, 48, 40), (3, 48, 15), (16, 48, 2), (1, 5, 4), (2, 5, 1)]
)
def test_few_subscriptions_are_shared(models: int, quota: int, each: int) -> None:
    limits = BrokerLimits(subscriptions_max=quota)
    assert Allowance(limits=limits, models=models).filters == each
    assert not lends_notices(models, limits)


@pytest.mark.parametrize(("models", "quota"), [(1, 1), (3, 2), (3, 3)])
def test_where_only_the_notices_fit_they_make_room(models: int, quota: int) -> None:
    limits = BrokerLimits(subscriptions_max=quota)
    assert lends_notices(models, limits)
    assert filters_each(models, limits) == 1


def test_what_is_learnt_is_said_in_words() -> None:
    limits = BrokerLimits(
        retained=False, filters_per_packet=2, wildcard_messages_max=3, packet_max_bytes=9000
    )
    assert limits.words() == (
        "keeps no retained messages",
        "filters in a SUBSCRIBE: at most 2",
        "gives no retained messages, or too few, for a wildcard",
        "packets of at most 9000 bytes",
    )
    assert BrokerLimits().words() == ()
    assert BrokerLimits(packet_max_bytes=8191).words() == (
        "packets of at most 8191 bytes, and a notice alone has 5 to 8 KB",
    )
    some = BrokerLimits(subscriptions_max=5, wildcard_messages_max=BLOCK_CHUNKS)
    assert some.words() == (
        "subscriptions: at most 5",
        "at most 8 retained messages for a filter",
    )
