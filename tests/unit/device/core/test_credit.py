"""The credit: grows while the link is faster than what is under way, shrinks while chunks queue."""

from __future__ import annotations

import hashlib
import random

from slotcast_device.core.transfer.credit import FAST_S, Credit
from slotcast_device.core.transfer.transfer import Transfer
from slotcast_device.core.transfer.transfer_actions import StoreChunk, Subscribe, TransferAction
from slotcast_schemas import wire
from slotcast_schemas.limits import BLOCK_CHUNKS
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.topics import Topics

CHUNK = b"c" * 1024
BLOCKS = 8


def _transfer(*, with_map: bool = True) -> Transfer:
    """Give a transfer that has its map and has asked for its first block, at 0 s."""
    count, digest = BLOCKS * BLOCK_CHUNKS, hashlib.sha256(CHUNK).digest()
    part = wire.encode(MapPart(payload=bytes(32), part=0, digests=digest * count))
    payload = Payload(
        codec="full+none",
        sha256=bytes(32),
        size_bytes=count * len(CHUNK),
        chunk_size_bytes=len(CHUNK),
        map_parts=(hashlib.sha256(part).digest(),),
    )
    transfer = Transfer(payload, range(count), Topics(), "d", random.Random(1))
    transfer.start({}, 0.0, is_empty=True)
    transfer.connection_made(0.0)
    if not with_map:
        return transfer
    transfer.receive_map(0, part, 0.0)
    assert transfer.in_flight == BLOCK_CHUNKS
    return transfer


def _receive(transfer: Transfer, count: int, until_s: float) -> list[TransferAction]:
    """Let the first chunks come at an even pace; give what was ordered beside storing them."""
    ordered: list[TransferAction] = []
    for index in range(count):
        ordered += transfer.receive_chunk(index, CHUNK, until_s * (index + 1) / count)
    return [action for action in ordered if not isinstance(action, StoreChunk)]


def test_a_fast_link_is_asked_for_more_before_it_runs_dry() -> None:
    transfer = _transfer()
    quarter = BLOCK_CHUNKS // 4
    ordered = _receive(transfer, quarter, until_s=FAST_S / 8)
    assert any(isinstance(action, Subscribe) for action in ordered)
    assert transfer.in_flight > BLOCK_CHUNKS - quarter + BLOCK_CHUNKS


def test_a_chunk_that_comes_before_the_map_is_not_believed() -> None:
    """Nobody asked for it: another device's want brought it, or an earlier transfer's filter."""
    transfer = _transfer(with_map=False)
    assert transfer.receive_chunk(0, CHUNK, 0.0) == []
    assert not transfer.in_flight


def test_a_slow_link_is_not_asked_for_more_than_its_credit() -> None:
    transfer = _transfer()
    assert _receive(transfer, BLOCK_CHUNKS // 4, until_s=FAST_S) == []
    assert transfer.in_flight == BLOCK_CHUNKS - BLOCK_CHUNKS // 4


def test_a_bound_of_the_connection_is_never_passed() -> None:
    credit = Credit()
    credit.connected("mqtt://broker", 20)
    while credit.began(0.0):
        credit.completed(0.0)
    assert credit.chunks == 20
