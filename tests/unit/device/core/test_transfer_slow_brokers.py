"""How a transfer copes with brokers that keep nothing, and with ones slow to take subscriptions."""

from __future__ import annotations

import hashlib
import itertools
import random

import pytest

from slotcast_device.core.transfer.credit import Credit
from slotcast_device.core.transfer.slow_link import SlowLimit, SlowLinkMeter
from slotcast_device.core.transfer.subscriptions import WHOLE_MAX_CHUNKS
from slotcast_device.core.transfer.transfer import WANT_WAIT_S, Transfer
from slotcast_device.core.transfer.transfer_actions import (
    Complete,
    PublishWant,
    Scan,
    Subscribe,
    TransferAction,
)
from slotcast_device.core.waits import USUAL
from slotcast_schemas import wire
from slotcast_schemas.limits import BLOCK_CHUNKS
from slotcast_schemas.messages import MapPart, Want
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.topics import ChunkTopic, MapTopic, Topics

TOPICS = Topics("t")
CHUNK_BYTES = 1024


class World:
    """A transfer, and a broker that holds the payload: `taken` filters are what it knows of."""

    def __init__(self, chunks: int, *, keeps: bool = True) -> None:
        rng = random.Random(5)
        self.chunks = [rng.randbytes(CHUNK_BYTES) for _ in range(chunks)]
        sha256 = hashlib.sha256(b"".join(self.chunks)).digest()
        digests = b"".join(hashlib.sha256(chunk).digest() for chunk in self.chunks)
        self.map = wire.encode(MapPart(payload=sha256, part=0, digests=digests))
        self.payload = Payload(
            codec="full+none",
            sha256=sha256,
            size_bytes=CHUNK_BYTES * chunks,
            chunk_size_bytes=CHUNK_BYTES,
            map_parts=(hashlib.sha256(self.map).digest(),),
        )
        self.transfer = Transfer(self.payload, range(chunks), TOPICS, "cam", random.Random(1))
        self.keeps = keeps
        self.on_disk: set[int] = set()
        self.now_s = 0.0
        self.is_done = False
        self.packets: list[tuple[str, ...]] = []
        self.wants_s: list[float] = []
        self._waiting: list[TransferAction] = []

    def begin(self) -> None:
        self.take(self.transfer.start({}, self.now_s))
        self.take(self.transfer.connection_made(self.now_s))

    def take(self, actions: list[TransferAction]) -> None:
        self._waiting += actions
        while self._waiting:
            self._do(self._waiting.pop(0))

    def timeout(self) -> None:
        """Nothing more comes by itself: the next deadline is there."""
        assert self.transfer.deadline_s is not None
        self.now_s = self.transfer.deadline_s
        self.take(self.transfer.timeout(self.now_s))

    def _do(self, action: TransferAction) -> None:
        if isinstance(action, Scan):
            self._waiting += self.transfer.scanned(self.on_disk, self.now_s)
        elif isinstance(action, Complete):
            self.is_done = True
        elif isinstance(action, Subscribe):
            self.packets.append(action.filters)
            if self.keeps:
                for topic in action.filters:
                    self._answer(topic)
        elif isinstance(action, PublishWant):
            self.wants_s.append(self.now_s)
            self._serve(action.want)

    def _serve(self, want: Want) -> None:
        for part in want.map_parts:
            self._answer(TOPICS.map_part(self.payload.sha256, part))
        for block in want.blocks:
            for bit in range(BLOCK_CHUNKS):
                if block.missing >> bit & 1:
                    self._chunk(block.block * BLOCK_CHUNKS + bit)

    def _answer(self, topic: str) -> None:
        parsed = TOPICS.parse(topic)
        if isinstance(parsed, MapTopic):
            self._waiting += self.transfer.receive_map(0, self.map, self.now_s)
        elif isinstance(parsed, ChunkTopic):
            self._chunk(parsed.chunk)
        else:  # a wildcard
            level = topic.split("/")[-2]
            first = 0 if level == "+" else int(level) * BLOCK_CHUNKS
            last = len(self.chunks) if level == "+" else first + BLOCK_CHUNKS
            for index in range(first, min(last, len(self.chunks))):
                self._chunk(index)

    def _chunk(self, index: int) -> None:
        self._waiting += self.transfer.receive_chunk(index, self.chunks[index], self.now_s)

    @property
    def chunk_filters(self) -> list[str]:
        return [topic for packet in self.packets for topic in packet if "/map/" not in topic]


# --- brokers that keep nothing --------------------------------------------------------------------


def test_on_a_broker_that_keeps_nothing_wants_bring_everything() -> None:
    world = World(400, keeps=False)
    world.begin()
    while not world.is_done:
        world.timeout()
    assert world.transfer.counters.duplicate_chunks == 0


def test_once_only_wants_bring_anything_they_are_sent_at_once() -> None:
    world = World(400, keeps=False)
    world.begin()
    while not world.is_done:
        world.timeout()
    waits = [b - a for a, b in itertools.pairwise(world.wants_s)]
    assert max(waits) <= WANT_WAIT_S[1]
    assert len(set(waits)) == len(waits)  # jittered: a fleet does not ask as one
    assert len(waits) < 400 / BLOCK_CHUNKS / 2  # and the credit grew


def test_a_broker_that_keeps_things_is_never_sent_a_want() -> None:
    world = World(400)
    world.begin()
    assert world.is_done
    assert world.wants_s == []


def test_where_only_some_was_lost_the_short_waits_end_again() -> None:
    world = World(800, keeps=False)
    world.begin()
    for _ in range(4):
        world.timeout()
    assert world.transfer.deadline_s is not None
    assert world.transfer.deadline_s - world.now_s <= WANT_WAIT_S[1]
    world.keeps = True
    world.timeout()
    assert world.is_done
    assert not world.transfer._wants_first


# --- brokers that are slow to take subscriptions --------------------------------------------------


@pytest.fixture
def slow() -> World:
    world = World(300)
    world.transfer.credit.answered(1, 2.0)
    return world


def test_a_slow_broker_is_asked_for_the_whole_payload_by_one_filter(slow: World) -> None:
    slow.begin()
    assert slow.is_done
    assert slow.chunk_filters == [TOPICS.everything(slow.payload.sha256)]


def test_a_fast_broker_is_never_asked_for_the_whole_payload() -> None:
    world = World(300)
    world.transfer.credit.answered(8, 0.01)
    world.begin()
    assert world.is_done
    assert TOPICS.everything(world.payload.sha256) not in world.chunk_filters


def test_more_than_brokers_queue_is_asked_for_in_blocks() -> None:
    world = World(WHOLE_MAX_CHUNKS + 8)
    world.transfer.credit.answered(1, 2.0)
    world.begin()
    assert world.is_done
    assert len(world.chunk_filters) == (WHOLE_MAX_CHUNKS + 8) / BLOCK_CHUNKS


def cut_after(world: World, chunks: int, every_s: float) -> None:
    """Let so many chunks come at a rate, then lose the link and get it back."""
    world.keeps = False
    world.begin()
    world.take(world.transfer.receive_map(0, world.map, 0.0))
    for index in range(chunks):
        world.take(world.transfer.receive_chunk(index, world.chunks[index], index * every_s))
    world.transfer.connection_lost()
    world.packets.clear()
    world.keeps = True
    world.take(world.transfer.connection_made(chunks * every_s + 1))


def test_after_a_cut_of_a_slow_link_only_the_rest_is_asked_for_in_blocks(slow: World) -> None:
    cut_after(slow, chunks=100, every_s=1.0)
    assert slow.is_done
    assert TOPICS.everything(slow.payload.sha256) not in slow.chunk_filters
    assert slow.transfer.counters.duplicate_chunks == 0


def test_after_a_cut_of_a_fast_link_bytes_again_cost_less_than_filters(slow: World) -> None:
    cut_after(slow, chunks=100, every_s=0.001)
    assert slow.is_done
    assert slow.chunk_filters == [TOPICS.everything(slow.payload.sha256)]


def test_a_start_asks_a_slow_broker_for_nothing_that_is_on_disk(slow: World) -> None:
    """What CI met: a machine that paused for 0.1 s makes any broker look slow at the start."""
    slow.on_disk = set(range(BLOCK_CHUNKS // 2)) | set(range(40, 92))
    slow.begin()
    assert slow.is_done
    assert slow.transfer.counters.duplicate_chunks == 0


def test_the_wait_for_an_answer_makes_room_for_slow_subscriptions(slow: World) -> None:
    slow.keeps = False
    slow.begin()
    assert slow.transfer.deadline_s is not None
    assert slow.transfer.deadline_s >= USUAL.first_wait_s + 2.0


def test_a_wide_filter_that_brings_nothing_is_given_up_for_blocks(slow: World) -> None:
    slow.keeps = False
    slow.begin()
    slow.take(slow.transfer.receive_map(0, slow.map, 0.0))
    assert slow.chunk_filters == [TOPICS.everything(slow.payload.sha256)]
    slow.keeps = True
    slow.timeout()
    assert slow.is_done
    assert len(slow.chunk_filters) > 1


def test_the_round_trip_of_the_fastest_subscription_is_what_a_filter_costs() -> None:
    world = World(8)
    credit = world.transfer.credit
    credit.answered(1, 2.0)
    credit.answered(4, 2.0)
    credit.answered(1, 9.0)  # behind chunks in a queue: says nothing of the broker
    assert credit.step_s == 0.5
    credit.connected("another", 100)
    credit.answered(1, 0.001)
    assert not credit.is_slow_to_subscribe


def test_one_late_answer_makes_no_slow_broker_of_one_that_was_fast_before() -> None:
    credit = Credit()
    credit.connected("mqtt://a", 100)
    credit.answered(1, 0.001)
    credit.connected("mqtt://a", 100)  # it was lost, and is there again
    credit.answered(1, 0.4)  # the link's jitter, or a pause of this machine
    assert not credit.is_slow_to_subscribe
    credit.connected("mqtt://b", 100)
    credit.answered(1, 0.4)
    assert credit.is_slow_to_subscribe


# --- too slow a transfer --------------------------------------------------------------------------


def test_a_window_below_the_floor_is_told_with_its_rate() -> None:
    pace = SlowLinkMeter(SlowLimit(bytes_per_s=1000, window_s=60))
    pace.begin(100.0, 5000)
    assert pace.judge(159.0, 5000) is None
    assert pace.judge(160.0, 5000 + 30_000) == 500
    assert pace.judge(220.0, 35_000 + 120_000) == 2000


def test_a_floor_of_less_than_a_byte_a_second_is_one() -> None:
    pace = SlowLinkMeter(SlowLimit(bytes_per_s=0.5, window_s=60))
    pace.begin(100.0, 0)
    assert pace.deadline_s == 160.0


def test_a_floor_of_zero_asks_for_no_clock() -> None:
    pace = SlowLinkMeter(SlowLimit(bytes_per_s=0))
    pace.begin(100.0, 0)
    assert pace.deadline_s is None
