"""A transfer over any link: order, duplicates, loss, corruption and cuts end in the same bytes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_device.core.transfer.broker_limits import FILTERS_MAX, FILTERS_PER_PACKET
from slotcast_device.core.transfer.credit import Credit
from slotcast_device.core.transfer.transfer import Transfer
from slotcast_device.core.transfer.transfer_actions import (
    Complete,
    PublishWant,
    Scan,
    StoreChunk,
    StoreMap,
    Subscribe,
    TransferAction,
    Unsubscribe,
)
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import ChunkCorrupt
from slotcast_schemas.limits import BLOCK_CHUNKS, MAP_PART_CHUNKS
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.topics import ChunkTopic, MapTopic, Topics

TOPICS = Topics("t")
CHUNK_BYTES = limits.CHUNK_MIN_BYTES
STEPS_MAX = 20_000


class World:
    """A device's transfer, its disk, and a broker that retains the whole payload."""

    def __init__(self, size_bytes: int, credit_chunks: int, rng: random.Random) -> None:
        self.rng = rng
        self.data = rng.randbytes(size_bytes)
        chunks = list(cut(self.data))
        self.sha256 = hashlib.sha256(self.data).digest()
        digests = [hashlib.sha256(chunk).digest() for chunk in chunks]
        step = MAP_PART_CHUNKS
        self.maps = [
            wire.encode(
                MapPart(payload=self.sha256, part=n, digests=b"".join(digests[at : at + step]))
            )
            for n, at in enumerate(range(0, len(digests), step))
        ]
        self.chunks = chunks
        self.payload = Payload(
            codec="full+none",
            sha256=self.sha256,
            size_bytes=size_bytes,
            chunk_size_bytes=CHUNK_BYTES,
            map_parts=tuple(hashlib.sha256(part).digest() for part in self.maps),
        )
        self.credit = Credit()
        self.credit.connected("mqtt://a", credit_chunks)
        self.stored: dict[int, bytes] = {}
        self.stored_maps: dict[int, bytes] = {}
        self.fetched: list[int] = []
        self.link: list[tuple[str, bytes]] = []
        self.filters: set[str] = set()
        self.is_up = False
        self.is_done = False
        self.now_s = 0.0
        self.wants = 0
        self.restart()

    def restart(self) -> None:
        """Start the process again: what is on disk is all that is known."""
        self.disconnect()
        self.is_done = False
        self.transfer = Transfer(
            self.payload,
            range(len(self.chunks)),
            TOPICS,
            "cam-1",
            random.Random(self.rng.random()),
            self.credit,
        )
        self.carry_out(self.transfer.start(dict(self.stored_maps), self.now_s))

    # --- the link -----------------------------------------------------------------------------

    def connect(self) -> None:
        self.is_up = True
        self.carry_out(self.transfer.connection_made(self.now_s))

    def disconnect(self) -> None:
        self.link.clear()
        self.filters.clear()
        if self.is_up:
            self.is_up = False
            self.transfer.connection_lost()

    def deliver(self, place: int, *, change: bool = False, keep: bool = False) -> None:
        """Take a message off the link, from anywhere in it, and give it to the transfer."""
        topic, data = self.link[place]
        if not keep:
            del self.link[place]
        if change:
            data = data[:-1] + bytes([data[-1] ^ 1])
        match TOPICS.parse(topic):
            case MapTopic(_, part):
                self.carry_out(self.transfer.receive_map(part, data, self.now_s))
            case ChunkTopic(_, chunk):
                self.carry_out(self.transfer.receive_chunk(chunk, data, self.now_s))

    def wait(self) -> None:
        """Let time pass to the deadline; it must be there where something is to come."""
        deadline_s = self.transfer.deadline_s
        assert deadline_s is not None, "nothing is under way and nothing is waited for"
        self.now_s = max(self.now_s, deadline_s)
        self.carry_out(self.transfer.timeout(self.now_s))

    # --- the shell ----------------------------------------------------------------------------

    def carry_out(self, actions: list[TransferAction]) -> None:
        for action in actions:
            match action:
                case Subscribe(filters):
                    self.subscribe(filters)
                case Unsubscribe(filters):
                    assert len(filters) <= FILTERS_PER_PACKET
                    self.filters -= set(filters)
                case StoreMap(part, data):
                    self.stored_maps[part] = data
                case StoreChunk(index, data):
                    assert index not in self.stored, "a chunk was written twice"
                    self.stored[index] = data
                case Scan():
                    self.carry_out(self.transfer.scanned(set(self.stored), self.now_s))
                case PublishWant():
                    self.wants += 1
                case Complete():
                    assert not self.is_done, "completed twice"
                    self.is_done = True
        assert self.transfer.in_flight <= self.credit.ceiling

    def subscribe(self, filters: tuple[str, ...]) -> None:
        assert self.is_up
        assert 1 <= len(filters) <= FILTERS_PER_PACKET
        for topic in filters:
            for index in self.chunks_of(topic):
                # Asking again for a block of which one chunk was lost brings all of it again.
                assert index not in self.stored or topic in self.filters, "it is on disk"
            self.link += list(self.retained(topic))
        self.filters |= set(filters)
        assert len(self.filters) <= FILTERS_MAX

    def retained(self, topic: str) -> Iterator[tuple[str, bytes]]:
        """Give what the broker holds under a filter."""
        level, last = topic.split("/")[-2:]
        if level == "map":
            yield topic, self.maps[int(last)]
        for index in self.chunks_of(topic):
            self.fetched.append(index)
            yield TOPICS.chunk(self.sha256, index), self.chunks[index]

    def chunks_of(self, topic: str) -> Sequence[int]:
        """Give the chunks that a filter matches."""
        level, last = topic.split("/")[-2:]
        if level == "map":
            return ()
        first = int(level) * BLOCK_CHUNKS
        numbers = range(first, min(first + BLOCK_CHUNKS, len(self.chunks)))
        return numbers if last == "+" else (int(last),)


def cut(data: bytes) -> Iterator[bytes]:
    return (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))


def disturb(world: World, draw: float) -> bool:
    """Do one thing that a link does; say whether it was a disturbance."""
    place = world.rng.randrange(len(world.link))
    if draw < 0.03:
        world.disconnect()
    elif draw < 0.04:
        world.restart()
    elif draw < 0.10:
        del world.link[place]
    elif draw < 0.20:
        world.deliver(place, keep=True)
    else:
        return False
    return True


@settings(max_examples=60)
@given(
    size_bytes=st.integers(1, 200 * CHUNK_BYTES),
    credit_chunks=st.integers(1, 128),
    is_ordered=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_link_ends_in_the_same_bytes(
    size_bytes: int, credit_chunks: int, is_ordered: bool, seed: int
) -> None:
    world = World(size_bytes, credit_chunks, random.Random(seed))
    for _ in range(STEPS_MAX):
        if world.is_done:
            break
        if not world.is_up:
            world.connect()
        elif not world.link:
            world.wait()
        elif not disturb(world, world.rng.random()):
            world.deliver(0 if is_ordered else world.rng.randrange(len(world.link)))
    assert world.is_done
    assert b"".join(world.stored[n] for n in range(len(world.chunks))) == world.data


@settings(max_examples=30)
@given(size_bytes=st.integers(1, 300 * CHUNK_BYTES), credit_chunks=st.integers(1, 128))
def test_on_a_clean_link_each_chunk_is_asked_for_once(size_bytes: int, credit_chunks: int) -> None:
    world = World(size_bytes, credit_chunks, random.Random(1))
    world.connect()
    while not world.is_done:
        world.deliver(0)
    assert sorted(world.fetched) == list(range(len(world.chunks)))
    assert world.wants == 0
    assert world.filters == set()
    assert world.transfer.deadline_s is None


@settings(max_examples=30)
@given(held=st.sets(st.integers(0, 99)), seed=st.integers(0, 2**32))
def test_what_is_on_disk_is_never_asked_for(held: set[int], seed: int) -> None:
    world = World(100 * CHUNK_BYTES, 64, random.Random(seed))
    world.stored = {index: world.chunks[index] for index in held}
    world.restart()
    world.connect()
    while not world.is_done:
        world.deliver(0)
    assert sorted(world.fetched) == sorted(set(range(100)) - held)


def test_a_changed_chunk_is_never_stored_and_in_the_end_reported() -> None:
    world = World(20 * CHUNK_BYTES, 64, random.Random(1))
    world.connect()
    world.deliver(0)  # the map

    def deliver_all_with_chunk_0_changed() -> None:
        for _ in range(10):
            while world.link:
                world.deliver(0, change=world.link[0][0] == TOPICS.chunk(world.sha256, 0))
            world.wait()

    with pytest.raises(ChunkCorrupt, match="chunk 0 "):
        deliver_all_with_chunk_0_changed()
    assert 0 not in world.stored
    assert set(range(1, 8)) <= set(world.stored)  # the rest of its block at least
    assert world.wants >= 2


def test_a_changed_map_is_never_believed() -> None:
    world = World(20 * CHUNK_BYTES, 64, random.Random(1))
    world.connect()
    world.deliver(0, change=True)
    assert world.stored_maps == {}
    world.wait()
    world.deliver(0)
    assert set(world.stored_maps) == {0}


def test_where_nothing_comes_it_asks_again_with_growing_waits_and_never_gives_up() -> None:
    world = World(20 * CHUNK_BYTES, 64, random.Random(1))
    world.connect()
    waits = []
    for _ in range(40):
        world.link.clear()
        before_s = world.now_s
        world.wait()
        waits.append(world.now_s - before_s)
    assert max(waits) <= 2 * 300
    assert sum(waits[20:]) > 5 * sum(waits[:5])
    assert world.transfer.is_stalled
    while not world.is_done:
        world.deliver(0) if world.link else world.wait()


def test_chunks_nobody_asked_for_are_taken_if_they_are_true() -> None:
    """Another device's want brings chunks to all that listen; so may a slow broker."""
    world = World(20 * CHUNK_BYTES, 8, random.Random(1))
    world.connect()
    world.deliver(0)
    world.carry_out(world.transfer.receive_chunk(19, world.chunks[19], 0.0))
    assert 19 in world.stored
    world.carry_out(world.transfer.receive_chunk(99, b"no such chunk", 0.0))
    assert 99 not in world.stored
