"""How many messages wait to be looked at, and that nobody takes the room of others."""

from __future__ import annotations

from slotcast_publisher.delivery.arrived_room import ArrivedRoom, Lane


def lane_of(topic: str) -> Lane | None:
    return Lane(topic[0], messages_max=3, message_max_bytes=4) if topic[0] in "ab" else None


def test_who_sends_many_finds_its_own_room_full_and_others_find_theirs() -> None:
    room = ArrivedRoom(lane_of)
    assert [room.enter("a", b"x") for _ in range(5)] == [b"x"] * 3 + [None] * 2
    assert [room.enter("b", b"y") for _ in range(3)] == [b"y"] * 3
    room.leave("a")
    assert room.enter("a", b"x") == b"x"


def test_the_room_of_all_is_bounded_too() -> None:
    room = ArrivedRoom(lane_of, messages_max=4)
    assert [room.enter(topic, b"x") for topic in "aaabc"] == [b"x"] * 4 + [None]
    room.leave("b")
    assert room.enter("c", b"x") == b"x"


def test_of_a_message_that_is_too_large_no_more_is_kept_than_shows_it() -> None:
    room = ArrivedRoom(lane_of)
    assert room.enter("a", b"1234") == b"1234"
    assert room.enter("a", bytes(100_000)) == bytes(5)
    assert room.enter("c", bytes(100_000)) == bytes(100_000)
