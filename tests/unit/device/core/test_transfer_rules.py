"""Rules of the transfer that are two words long in the code, and cost much if they break."""

from __future__ import annotations

import gc
import hashlib
import random

from slotcast_device.core.transfer.credit import FAST_S
from slotcast_device.core.transfer.transfer import Transfer
from slotcast_device.core.transfer.transfer_actions import (
    Complete,
    PublishWant,
    Subscribe,
    TransferAction,
)
from slotcast_device.core.waits import USUAL
from slotcast_schemas import wire
from slotcast_schemas.limits import BLOCK_CHUNKS
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.topics import Topics

TOPICS = Topics("t")
CHUNKS = [bytes([index]) * 1024 for index in range(8 * BLOCK_CHUNKS)]
SHA256 = hashlib.sha256(b"".join(CHUNKS)).digest()
MAP = wire.encode(
    MapPart(
        payload=SHA256,
        part=0,
        digests=b"".join(hashlib.sha256(chunk).digest() for chunk in CHUNKS),
    )
)
PAYLOAD = Payload(
    codec="full+none",
    sha256=SHA256,
    size_bytes=1024 * len(CHUNKS),
    chunk_size_bytes=1024,
    map_parts=(hashlib.sha256(MAP).digest(),),
)


def begun(needed: range = range(len(CHUNKS)), *, asks_by_name: bool = False) -> Transfer:
    """A transfer with its map and nothing on disk, which has just asked for chunks, at 0 s."""
    transfer = Transfer(PAYLOAD, needed, TOPICS, "cam", random.Random(1), asks_by_name=asks_by_name)
    transfer.start({}, 0.0, is_empty=True)
    transfer.connection_made(0.0)
    transfer.receive_map(0, MAP, 0.0)
    return transfer


def give(transfer: Transfer, *indices: int, now_s: float = 0.1) -> list[TransferAction]:
    """Let these chunks arrive."""
    return [action for i in indices for action in transfer.receive_chunk(i, CHUNKS[i], now_s)]


def wants(actions: list[TransferAction]) -> list[TransferAction]:
    return [action for action in actions if isinstance(action, PublishWant)]


def test_a_chunk_that_this_device_does_not_need_does_not_count_for_one_that_it_does() -> None:
    """Another device's want brings chunks of files that this one holds already."""
    transfer = begun(needed=range(10))
    done = give(transfer, *range(9), 40)
    assert not any(isinstance(action, Complete) for action in done)
    assert not transfer.is_complete
    assert any(isinstance(action, Complete) for action in give(transfer, 9))


def test_bytes_on_the_link_put_the_first_deadline_off_and_no_later_one() -> None:
    """Else a link that carries anything at all (pings, another model) waits without end."""
    transfer = begun()
    transfer.bytes_arrived(3.0)
    assert transfer.deadline_s is not None
    assert transfer.deadline_s >= 3.0 + USUAL.first_wait_s
    transfer.timeout(transfer.deadline_s)
    after_the_first = transfer.deadline_s
    transfer.bytes_arrived(after_the_first - 0.1)
    assert transfer.deadline_s == after_the_first


def test_bytes_on_the_link_put_no_deadline_off_for_ever() -> None:
    """Somebody may send a byte every half second: progress is what was wanted."""
    transfer = begun()
    now_s = 0.0
    while transfer.deadline_s is not None and transfer.deadline_s > now_s:
        assert now_s < 2 * USUAL.patience_s
        now_s += 0.5
        transfer.bytes_arrived(now_s)


def test_the_first_silence_asks_again_and_only_the_second_wants() -> None:
    """A want costs every device that listens: a broker that was slow once is asked once more."""
    transfer = begun()
    first = transfer.timeout(10.0)
    assert not wants(first)
    assert any(isinstance(action, Subscribe) for action in first)
    assert len(wants(transfer.timeout(30.0))) == 1


def test_what_came_only_when_asked_again_does_not_widen_the_credit() -> None:
    """How long a repeated request took says nothing of the link: the first answer may come late."""
    transfer = begun()
    transfer.timeout(10.0)
    narrow = transfer.credit.chunks
    give(transfer, *range(BLOCK_CHUNKS), now_s=10.0 + FAST_S / 10)
    assert transfer.credit.chunks == narrow


def ways(transfer: Transfer, silences: int) -> list[bool]:
    """Let nothing come for so many waits; say of each want whether it went by the device's name."""
    found: list[bool] = []
    for _ in range(silences):
        assert transfer.deadline_s is not None
        actions = transfer.timeout(transfer.deadline_s)
        found += [action.by_device for action in actions if isinstance(action, PublishWant)]
    return found


def test_wants_go_by_the_payload_where_no_offer_says_otherwise() -> None:
    assert ways(begun(), 5) == [False] * 4


def test_a_want_that_brings_nothing_is_followed_by_one_on_the_other_topic() -> None:
    """A broker with rules of before, or a service of before, must not keep a device waiting."""
    assert ways(begun(asks_by_name=True), 5) == [True, False, True, False]


def test_the_topic_on_which_a_want_was_answered_is_kept_to() -> None:
    transfer = begun(asks_by_name=True)
    assert ways(transfer, 3) == [True, False]
    for index in range(3):
        give(transfer, index, now_s=1000.0 + index)
        assert ways(transfer, 1) == [False]


def test_a_want_that_a_lost_link_left_unanswered_counts_as_one_that_brought_nothing() -> None:
    """Some brokers hang up on who publishes where it may not."""
    transfer = begun(asks_by_name=True)
    assert ways(transfer, 2) == [True]
    transfer.connection_lost()
    transfer.connection_made(100.0)
    assert ways(transfer, 1) == [False]


def test_a_chunk_that_came_wrong_is_wanted_by_the_devices_name_too() -> None:
    transfer = begun(asks_by_name=True)
    (action,) = transfer.receive_chunk(0, b"false", 1.0)
    assert isinstance(action, PublishWant)
    assert action.by_device


def test_what_a_chunk_needs_ends_with_it_so_that_garbage_may_be_looked_for_seldom() -> None:
    transfer = begun()
    gc.collect()
    gc.disable()
    try:
        give(transfer, *range(len(CHUNKS)))
        give(transfer, *range(len(CHUNKS)))  # once more, in vain
        in_cycles = gc.collect()
    finally:
        gc.enable()
    assert in_cycles < len(CHUNKS) // 10
