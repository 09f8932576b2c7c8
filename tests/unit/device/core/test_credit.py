"""The credit: grows while the link is faster than what is under way, shrinks while chunks queue."""

from __future__ import annotations

import hashlib
import random

import pytest

from slotcast_device.core.transfer.credit import FAST_S, SLOW_S, Credit
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
    for _ in range(9):
        credit.began(0.0)
        credit.completed(0.0)
    assert credit.chunks == 20
    assert not credit.began(0.0), "there is no room to ask for more"


@pytest.mark.parametrize(
    ("models", "share"), [(1, 128), (7, 128), (8, 112), (20, 44), (112, 8), (200, 8)]
)
def test_models_of_one_connection_share_what_may_wait_in_the_broker(
    models: int, share: int
) -> None:
    """One block each at least: with so many models not all of them fetch at once."""
    credit = Credit.shared_by(models)
    assert (credit.share, credit.ceiling, credit.chunks) == (share, share, 12)
    credit.connected("mqtt://a", 1000)
    assert credit.ceiling == share, "the connection allows more, this model's part does not"


def test_a_connection_that_allows_less_binds_until_one_allows_more() -> None:
    credit = Credit()
    credit.connected("mqtt://a", 10)
    assert (credit.ceiling, credit.chunks) == (10, 10)
    credit.connected("mqtt://a", 0)
    assert (credit.ceiling, credit.chunks) == (1, 1), "one chunk always"
    credit.connected("mqtt://a", 40)
    assert (credit.ceiling, credit.chunks) == (40, 1)


@pytest.mark.parametrize(
    ("took_s", "chunks"),
    [(0.0, 24), (FAST_S - 0.01, 24), (FAST_S, 12), (SLOW_S, 12), (SLOW_S + 0.01, 9)],
)
def test_how_long_a_request_took_moves_the_credit(took_s: float, chunks: int) -> None:
    credit = Credit()
    credit.completed(took_s)
    assert credit.chunks == chunks


def test_the_credit_falls_to_two_chunks_and_no_lower() -> None:
    credit = Credit()
    fallen = []
    for _ in range(8):
        credit.completed(SLOW_S + 1)
        fallen.append(credit.chunks)
    assert fallen == [9, 6, 4, 3, 2, 2, 2, 2]
    credit = Credit()
    fallen = []
    for _ in range(4):
        credit.timed_out()
        fallen.append(credit.chunks)
    assert fallen == [6, 3, 2, 2]
    narrow = Credit()
    narrow.connected("mqtt://a", 1)
    narrow.timed_out()
    narrow.completed(SLOW_S + 1)
    assert narrow.chunks == 1, "nor above what the connection allows"


def test_the_first_quarter_of_a_block_widens_the_credit_only_if_it_came_very_soon() -> None:
    credit = Credit()
    assert not credit.began(FAST_S / 4)
    assert credit.began(FAST_S / 4 - 0.01)
    assert credit.chunks == 24
    credit.connected("mqtt://a", 30)
    assert credit.began(0.0)
    assert (credit.chunks, credit.began(0.0)) == (30, False)


def test_it_is_worth_asking_for_half_the_credit_and_for_eight_blocks_at_most() -> None:
    assert Credit(chunks=13).step_chunks == 6
    assert Credit(chunks=128).step_chunks == 64
    assert Credit(chunks=500).step_chunks == 64


def test_a_broker_is_slow_from_a_tenth_of_a_second_for_a_filter() -> None:
    credit = Credit()
    credit.answered(2, 0.2)
    assert (credit.step_s, credit.is_slow_to_subscribe) == (0.1, False)
    assert credit.slack_s(3) == pytest.approx(0.6), "twice, for it may take longer than last time"
    credit = Credit()
    credit.answered(0, 0.2)
    assert (credit.step_s, credit.is_slow_to_subscribe) == (0.2, True)
    credit.answered(1, -1.0)
    assert credit.step_s == 0.0, "a clock that went back says that it took no time"


def test_another_broker_is_measured_anew() -> None:
    credit = Credit()
    credit.connected("mqtt://a", 100)
    credit.answered(1, 0.001)
    credit.connected("mqtt://b", 100)
    credit.answered(1, 2.0)
    credit.connected("mqtt://b", 100)
    credit.answered(1, 3.0)
    assert credit.step_s == 2.0
