"""A transfer step by step: each thing it asks for, each wait, each count, and why."""

from __future__ import annotations

import pytest

from slotcast_device.core.transfer.broker_limits import Allowance, BrokerLimits
from slotcast_device.core.transfer.transfer_actions import Counters, PublishWant, Subscribe
from slotcast_schemas.errors import ChunkCorrupt
from slotcast_schemas.limits import BLOCK_CHUNKS
from tests.support.core_story import Content
from tests.support.transfer_story import TransferStory

# --- from the map to the last chunk ---------------------------------------------------------------


def test_first_the_map_then_a_look_at_the_disk_then_what_is_missing() -> None:
    story = TransferStory()
    transfer, content = story.transfer, story.content
    assert transfer.start({}, story.now_s) == []
    assert (story.left_s(), transfer.packet_bytes) == (None, 20 * 32 + 128)
    assert story.connects() == ["subscribe map/0"]
    assert story.left_s() == 5.0
    assert not transfer.has_only_short_chunks, "nothing large was asked for yet"

    story.now_s = 1.0
    assert story.map_comes() == ["store map 0", "unsubscribe map/0", "scan"]
    assert (story.left_s(), transfer.packet_bytes) == (None, 1024 + 128)

    assert story.scanned(0, 99) == ["subscribe 0/1 0/2 0/3 0/4 0/5 0/6 0/7"]
    assert (story.left_s(), transfer.in_flight, transfer.reused_bytes) == (5.0, 7, 1024)
    assert not transfer.has_only_short_chunks
    story.comes(*range(1, 8), each_s=2.0)
    story.finishes(each_s=2.0)
    assert transfer.is_complete
    assert story.left_s() is None
    assert transfer.counters == Counters(
        received_bytes=len(content.map) + 19 * 1024, verified_bytes=20 * 1024
    )


def test_of_what_the_disk_holds_whole_nothing_is_asked() -> None:
    story = TransferStory()
    assert story.transfer.start({0: story.content.map}, 0.0) == story.transfer.start({}, 0.0)
    assert story.connects() == []
    assert story.scanned(*range(20)) == ["complete"]
    assert story.transfer.is_complete
    assert story.left_s() is None


def test_where_nothing_is_needed_the_disk_is_looked_at_all_the_same() -> None:
    """Else a transfer of nothing would never say that it is complete."""
    story = TransferStory(needed=())
    assert [
        type(a).__name__ for a in story.transfer.start({0: story.content.map}, 0.0, is_empty=True)
    ] == ["Scan"]
    assert not story.transfer.is_complete
    assert story.scanned() == ["complete"]


def test_on_a_fast_link_more_is_asked_before_the_first_block_is_whole() -> None:
    story = TransferStory(chunks=40)
    assert story.asking() == ["subscribe 0/+"]
    assert story.comes(0, 1, each_s=0.01) == ["subscribe 1/+ 2/+"]
    assert story.comes(*range(2, 8), each_s=0.01) == ["subscribe 3/+ 4/+"]
    assert story.comes(*range(8, 16), each_s=0.01) == []
    assert story.comes(*range(16, 39), each_s=0.01) == []
    filters = " ".join(f"{block}/+" for block in range(5))
    assert story.comes(39) == [f"unsubscribe {filters}", "complete"]
    assert story.left_s() is None


def test_each_thing_that_comes_begins_the_wait_anew() -> None:
    story = TransferStory()
    story.asking()
    story.comes(0, each_s=4.0)
    assert story.left_s() == 5.0
    story.comes(0, 19, each_s=1.0)
    assert story.left_s() == 5.0, "a true one that nobody asked for yet counts"
    story.comes(0, each_s=1.0)
    assert story.left_s() == 4.0, "one that is there already does not"
    assert story.transfer.counters.duplicate_chunks == 2
    assert story.transfer.counters.received_bytes == 4 * 1024
    assert story.transfer.counters.verified_bytes == 2 * 1024


def test_a_map_part_that_is_there_or_is_false_changes_nothing_and_is_counted() -> None:
    story = TransferStory()
    story.transfer.start({}, 0.0)
    story.connects()
    story.now_s = 1.0
    assert story.transfer.receive_map(0, b"false", story.now_s) == []
    assert story.transfer.receive_map(7, story.content.map, story.now_s) == []
    assert story.left_s() == 4.0
    size_bytes = len(story.content.map)
    counters = story.transfer.counters
    assert (counters.corrupt_chunks, counters.received_bytes) == (2, 5 + size_bytes)
    story.map_comes()
    assert story.map_comes() == []
    assert (counters.corrupt_chunks, counters.received_bytes) == (2, 5 + 3 * size_bytes)
    assert story.transfer.maps == {0: story.content.digests}


def test_what_is_held_is_what_is_asked_for_and_did_not_come() -> None:
    story = TransferStory()
    story.transfer.start({}, 0.0)
    (asked,) = story.transfer.connection_made(0.0)
    assert isinstance(asked, Subscribe)
    assert story.transfer.holds(asked.filters[0])
    story.map_comes()
    assert not story.transfer.holds(asked.filters[0])


# --- what does not come ---------------------------------------------------------------------------


def test_silence_is_met_by_asking_again_then_by_wants_with_growing_waits() -> None:
    story = TransferStory()
    assert story.asking() == ["subscribe 0/+"]
    singles = "subscribe 0/0 0/1 0/2 0/3 0/4 0/5"
    want = "want 0 1 2 3 4 5"
    assert story.waits() == (5.0, ["unsubscribe 0/+", singles]), "perhaps wildcards bring nothing"
    assert story.trouble() == "none"
    assert story.waits() == (5.0 + 5.0, [want, singles])
    assert story.trouble() == "silent"
    assert story.waits() == (5.0 + 10.0, [want, singles])
    assert story.trouble() == "stalled"
    assert [story.waits()[0] for _ in range(6)] == [25.0, 45.0, 85.0, 165.0, 305.0, 305.0]
    assert story.transfer.counters.wants == 8
    assert story.transfer.counters.timeouts == 9
    assert story.transfer.credit.chunks == 2

    story.comes(0)
    assert story.left_s() == 5.0
    assert story.trouble() == "none"
    assert story.waits() == (5.0, ["want 1 2 3 4 5"]), "wants bring it: no need to ask first"


def test_a_want_names_the_parts_of_the_map_or_the_chunks_that_were_asked_for() -> None:
    story = TransferStory()
    story.transfer.start({}, 0.0)
    story.connects()
    story.waits()
    assert story.waits()[1] == ["want map 0", "subscribe map/0"]
    (action,) = (a for a in story.transfer.timeout(99.0) if isinstance(a, PublishWant))
    assert (action.want.device, action.want.payload) == ("cam-1", story.content.sha256)


def test_a_lost_connection_ends_all_waits_and_the_next_one_asks_anew() -> None:
    story = TransferStory()
    story.asking()
    story.comes(0, 1, each_s=1.0)
    story.transfer.connection_lost()
    assert (story.left_s(), story.transfer.in_flight) == (None, 0)
    assert story.comes(2) == [], "what was on its way is taken, and nothing is asked"
    story.transfer.connection_lost()
    assert story.connects() == ["subscribe 0/3 0/4 0/5 0/6 0/7"]
    assert story.left_s() == 5.0


def test_nothing_is_asked_for_while_there_is_no_connection() -> None:
    story = TransferStory()
    story.transfer.start({}, 0.0)
    story.connects()
    story.map_comes()
    story.transfer.connection_lost()
    assert story.scanned(0) == []
    assert (story.left_s(), story.transfer.in_flight) == (None, 0)
    assert story.connects() == ["subscribe 0/1 0/2 0/3 0/4 0/5 0/6 0/7"]


def test_a_stop_lets_go_of_every_filter_and_waits_for_nothing() -> None:
    story = TransferStory()
    story.asking()
    assert [type(a).__name__ for a in story.transfer.stop()] == ["Unsubscribe"]
    assert (story.left_s(), story.transfer.in_flight) == (None, 0)
    assert story.transfer.stop() == []


# --- what comes wrong -----------------------------------------------------------------------------


def test_a_chunk_that_comes_wrong_is_wanted_and_the_third_time_reported() -> None:
    """The broker would repeat the false one; so the wait for a true one is a short one."""
    story = TransferStory()
    story.asking()
    assert story.comes_wrong(3) == ["want 3"]
    assert story.left_s() == 1.0
    assert story.transfer.in_flight == BLOCK_CHUNKS
    story.now_s = 0.5
    assert story.comes_wrong(3) == ["want 3"]
    assert story.left_s() == 0.5, "a deadline that is nearer stays"
    assert story.comes_wrong(4) == ["want 4"]
    with pytest.raises(ChunkCorrupt) as raised:
        story.comes_wrong(3)
    assert f"chunk 3 of payload {story.content.sha256.hex()[:12]} came wrong 3 times" in str(
        raised.value
    )
    assert story.transfer.counters.corrupt_chunks == 4
    assert story.transfer.counters.verified_bytes == 0


def test_a_wrong_chunk_without_a_deadline_gets_one() -> None:
    story = TransferStory()
    story.asking()
    story.transfer.deadline_s = None
    story.now_s = 10.0
    story.comes_wrong(3)
    assert story.left_s() == 1.0


def test_a_chunk_of_no_payload_and_one_before_the_disk_was_looked_at_are_dropped() -> None:
    story = TransferStory()
    story.transfer.start({0: story.content.map}, 0.0)
    story.connects()
    assert story.comes(0) == []
    assert story.transfer.receive_chunk(20, b"beyond", 0.0) == []
    assert story.transfer.counters == Counters(received_bytes=1024 + 6)


# --- brokers that keep nothing --------------------------------------------------------------------


def unretained() -> TransferStory:
    """The broker is known to keep nothing."""
    return TransferStory(allowance=Allowance(limits=BrokerLimits(retained=False)))


def test_where_nothing_is_kept_a_want_follows_at_once_and_asks_nobody_twice() -> None:
    story = unretained()
    assert story.asking() == ["subscribe 0/+"]
    assert story.waits() == (1.0, ["want 0 1 2 3 4 5 6 7"])
    assert story.transfer.credit.chunks == 12, "nothing was late: it was planned so"
    assert story.left_s() == 5.0 + 5.0
    assert story.waits()[1][0] == "want 0 1 2 3 4 5 6 7"
    assert story.transfer.credit.chunks == 6


def test_what_came_for_a_want_is_wanted_first_until_eight_requests_needed_none() -> None:
    story = TransferStory(chunks=400)
    story.asking()
    story.waits()
    story.waits()
    story.comes(*range(6))
    assert story.transfer._wants_first
    for _ in range(8):
        assert story.transfer._wants_first
        story.first_request_comes()
    assert not story.transfer._wants_first


# --- refused --------------------------------------------------------------------------------------


def test_a_filter_refused_for_good_is_asked_for_later_and_that_is_no_silence() -> None:
    story = TransferStory()
    story.asking()
    assert story.refused("0/+", is_final=True) == []
    assert story.left_s() == 5.0 + 5.0
    assert story.refused("0/+", is_final=True) == [], "another answer to the same"
    assert story.waits() == (10.0, ["subscribe 0/+"])
    assert story.transfer.counters.timeouts == 0
    assert story.left_s() == 5.0
    story.refused("0/+", is_final=True)
    assert story.left_s() == 5.0 + 10.0
    story.transfer.connection_lost()
    assert story.connects() == ["subscribe 0/+"], "another broker may allow it"


def test_where_wildcards_are_refused_chunks_are_asked_for_at_once() -> None:
    allowance = Allowance()
    story = TransferStory(allowance=allowance)
    story.asking()
    allowance.limits = BrokerLimits(wildcard_messages_max=0)
    assert story.refused("0/+") == [
        "subscribe 0/0 0/1 0/2 0/3 0/4 0/5 0/6 0/7",
        "subscribe 1/8 1/9 1/10 1/11",
    ]
    assert story.left_s() == 5.0


def test_a_filter_beside_others_waits_for_what_those_bring() -> None:
    story = TransferStory()
    story.transfer.start({0: story.content.map}, 0.0)
    story.connects()
    story.scanned(0)
    assert story.refused("0/7") == []
    assert story.left_s() == 5.0
    assert story.transfer.in_flight == 6


def test_where_no_subscription_is_left_it_waits_shortly_and_longer_each_time() -> None:
    """Another model of this connection holds them, and lets go of them as it goes on."""
    story = TransferStory()
    story.asking()
    assert story.refused("0/+") == []
    assert story.left_s() == 1.0
    assert story.waits() == (1.0, ["subscribe 0/+"])
    for wait_s in (2.0, 3.0):
        story.refused("0/+")
        assert story.waits() == (wait_s, ["subscribe 0/+"])
    assert story.transfer.counters.timeouts == 0


def test_only_short_chunks_on_disk_may_mean_that_larger_messages_do_not_pass() -> None:
    story = TransferStory(chunks=3)
    story.asking()
    assert story.transfer.has_only_short_chunks
    story.comes(2)
    assert story.transfer.has_only_short_chunks
    story.comes(0)
    assert not story.transfer.has_only_short_chunks


def test_a_large_map_comes_in_parts_and_a_part_is_the_largest_packet() -> None:
    story = TransferStory(chunks=1)
    assert story.transfer.packet_bytes == 32 + 128
    assert story.transfer.needed_bytes == 1024
    assert TransferStory(chunks=5, needed=[1, 3]).transfer.needed_bytes == 2048
    assert Content("x", 2).payload.chunk_count == 2
