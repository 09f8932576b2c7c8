"""The transfer of one payload: which topics to ask for, what to do with what comes. No I/O.

It first collects the chunk map, then has the shell look what is on disk already, then asks for
what is missing under a credit: whole blocks while nothing of them is there, single chunks where a
block is part done. A chunk is believed only if its length and digest are the map's; any sender,
any order, any number of times. Where nothing comes, it asks again, then publishes a want, with
waits that grow and are jittered; it never gives up by itself. Where things come only for wants
(a broker that keeps nothing), it wants at once. Where subscriptions are slow, it asks with few
wide filters instead of many.

    Transfer.start / link_up / link_down / receive_map / receive_chunk / scanned / timeout
        -> actions for the shell, in order
    Transfer.deadline_s  when `timeout` is due, on the clock that the caller passes in
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from slotcast_device.backoff import Backoff
from slotcast_device.chunkmap import ChunkMap
from slotcast_device.credit import Credit
from slotcast_device.orders import (
    Action,
    Complete,
    Counters,
    PublishWant,
    Request,
    Scan,
    StoreChunk,
    StoreMap,
    Subscribe,
    Unsubscribe,
)
from slotcast_schemas import limits
from slotcast_schemas.errors import ChunkCorrupt
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.want import WantedBlock

__all__ = [
    "Action",
    "Complete",
    "Counters",
    "PublishWant",
    "Scan",
    "StoreChunk",
    "StoreMap",
    "Subscribe",
    "Transfer",
    "Unsubscribe",
]

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.topics import Topics

FILTERS_MAX: Final = 40
"""Subscriptions held at once by one transfer."""
SUBSCRIPTIONS_MAX: Final = 48
"""The same by a connection, notices included; AWS IoT Core allows 50."""
FILTERS_PER_PACKET: Final = 8
"""AWS IoT Core's bound for one SUBSCRIBE."""
SLOW_FILTERS_MAX: Final = 4
"""The same where each takes the broker long: meanwhile it may answer nothing, not even pings."""
FIRST_WAIT_S: Final = 5.0
WAIT_CAP_S: Final = 300.0
WANT_WAIT_S: Final = (0.3, 1.0)
"""Before a want where nothing comes without one: time for chunks that do, and for others' wants."""
UNASKED_ENOUGH: Final = 8
"""Requests in a row that were answered without a want: the broker keeps things after all."""
WHOLE_MAX_CHUNKS: Final = 512
"""Asked for by one filter at most: Mosquitto, for one, drops past 1,000 that wait."""
CORRUPT_MAX: Final = 3
"""A chunk that came wrong this often is reported as corrupt."""


def filters_each(models: int) -> int:
    """Share a connection's subscriptions among models, of which each also has its notice's.

    Two at least, so past 16 models the bound holds only while not all update at once.
    """
    return max(2, min(FILTERS_MAX, (SUBSCRIPTIONS_MAX - models) // models))


@dataclass(slots=True)
class Transfer:
    """Collects one payload. Feed it events, carry out what it returns.

    Args:
        needed: chunks to collect, in the order to ask for them.
        device: named in wants.
        rng: jitter of waits.
        credit: shared by the transfers of a connection's lifetime.
        filters_max: subscriptions that it may hold at once.
    """

    payload: Payload
    needed: Sequence[int]
    topics: Topics
    device: str
    rng: random.Random
    credit: Credit = field(default_factory=Credit)
    filters_max: int = FILTERS_MAX
    counters: Counters = field(default_factory=Counters)
    deadline_s: float | None = None
    reused_bytes: int = 0
    """What was found on disk at the start of this run."""

    _map: ChunkMap = field(init=False)
    _needed_bytes: int = field(init=False)
    _have: set[int] = field(default_factory=set)
    _wanted: frozenset[int] = frozenset()
    _todo: deque[int] = field(default_factory=deque)
    _requests: dict[str, Request] = field(default_factory=dict)
    _by_chunk: dict[int, Request] = field(default_factory=dict)
    _dropping: list[str] = field(default_factory=list)
    _corrupt: dict[int, int] = field(default_factory=dict)
    _is_up: bool = False
    _is_scanned: bool = False
    _wants_first: bool = False
    _unasked: int = 0
    _may_ask_whole: bool = True
    _burst: tuple[float, float, int] = (0.0, 0.0, 0)
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._wanted = frozenset(self.needed)
        self._map = ChunkMap(self.payload)
        self._needed_bytes = sum(map(self.payload.chunk_bytes, self.needed))
        self._backoff = Backoff(self.rng, FIRST_WAIT_S, WAIT_CAP_S)

    # --- what happened ------------------------------------------------------------------------

    @property
    def is_complete(self) -> bool:
        """Whether every needed chunk is on disk."""
        return self._is_scanned and self._wanted <= self._have

    @property
    def in_flight(self) -> int:
        """Chunks asked for and not here yet."""
        return len(self._by_chunk)

    @property
    def maps(self) -> dict[int, bytes]:
        """Digests by part, once the map is whole."""
        return self._map.parts

    @property
    def needed_bytes(self) -> int:
        """What the needed chunks weigh."""
        return self._needed_bytes

    @property
    def is_stalled(self) -> bool:
        """Whether what was asked for has not come for more than one wait."""
        return self._backoff.failures > 1

    def start(self, stored_maps: dict[int, bytes], now_s: float) -> list[Action]:
        """Begin, with the parts of the map that are on disk already."""
        for part, data in stored_maps.items():
            self._map.accept(part, data)
        return self._after_map(now_s) if self._map.is_whole else self._ask(now_s)

    def link_up(self, now_s: float) -> list[Action]:
        """A connection is there: nothing is subscribed on it yet."""
        self._forget_requests()
        self._may_ask_whole = True
        self._is_up = True
        return self._ask(now_s)

    def link_down(self) -> None:
        """The connection is gone, and with it every subscription."""
        self._is_up = False
        self._forget_requests()
        self.deadline_s = None

    def receive_map(self, part: int, data: bytes, now_s: float) -> list[Action]:
        """Take a part of the chunk map; a wrong one is dropped."""
        self.counters.received_bytes += len(data)
        if part in self._map.parts:
            return []
        if not self._map.accept(part, data):
            self.counters.corrupt_chunks += 1
            return []
        topic = self.topics.map_part(self.payload.sha256, part)
        self._note_how_it_came(self._requests.get(topic))
        self._progress(now_s)
        actions: list[Action] = [StoreMap(part, data)]
        self._drop(topic)
        if self._map.is_whole:
            return actions + self._flush_drops() + self._after_map(now_s)
        return actions + self._ask(now_s)

    def scanned(self, present: set[int], now_s: float) -> list[Action]:
        """Learn which chunks are on disk, all of them hashed against the map."""
        self._have = present & self._wanted
        self._is_scanned = True
        self.reused_bytes = sum(map(self.payload.chunk_bytes, self._have))
        self.counters.verified_bytes = self.reused_bytes
        self._todo = deque(index for index in self.needed if index not in self._have)
        if self.is_complete:
            return [Complete()]
        return self._ask(now_s)

    def receive_chunk(self, index: int, data: bytes, now_s: float) -> list[Action]:
        """Take a chunk; what is not the map's chunk is dropped and counted.

        Raises:
            ChunkCorrupt: the same chunk came wrong again and again: somebody changed it.
        """
        self.counters.received_bytes += len(data)
        if not self._is_scanned or index not in self._wanted:
            return []
        if index in self._have:
            self.counters.duplicate_chunks += 1
            return []
        if not self._map.is_true(index, data):
            return self._corrupted(index, now_s)
        self._have.add(index)
        self.counters.verified_bytes += len(data)
        self._note_rate(len(data), now_s)
        self._progress(now_s)
        actions: list[Action] = [StoreChunk(index, data)]
        request = self._by_chunk.pop(index, None)
        if request is not None:
            request.missing.discard(index)
            if not request.missing:
                self._finish(request, now_s)
        if len(self._have) == len(self._wanted):
            self.deadline_s = None
            return [*actions, *self._let_go(), Complete()]
        return actions + self._ask(now_s) if request is None or not request.missing else actions

    def heard(self, now_s: float) -> None:
        """Bytes came on the link: a chunk may be on its way, however slowly; wait for it."""
        if self.deadline_s is not None and not self._backoff.failures:
            self.deadline_s = max(self.deadline_s, now_s + self._first_wait_s())

    def timeout(self, now_s: float) -> list[Action]:
        """Nothing came for too long: ask again, and past the first time publish a want."""
        self.counters.timeouts += 1
        is_planned = self._wants_first and not self._backoff.failures
        actions: list[Action] = []
        if self._backoff.failures or is_planned:
            actions.append(self._publish_want(now_s))
        slack_s = self.credit.slack_s(len(self._requests))
        self.deadline_s = now_s + FIRST_WAIT_S + slack_s + self._backoff.next_s()
        if is_planned:
            return actions
        self.credit.timed_out()
        for request in self._requests.values():
            request.retries += 1
        if self.topics.everything(self.payload.sha256) in self._requests:
            return actions + self._split_whole(now_s)
        return actions + self._ask_again(now_s)

    def stop(self) -> list[Action]:
        """End without completing; what is on disk stays."""
        self.deadline_s = None
        return self._let_go()

    # --- map and chunks -----------------------------------------------------------------------

    def _after_map(self, now_s: float) -> list[Action]:
        if self._is_scanned:
            return self._ask(now_s)
        self.deadline_s = None
        return [Scan()]

    def _corrupted(self, index: int, now_s: float) -> list[Action]:
        """Count it, and ask the publisher for a true one: the broker would repeat the false."""
        self.counters.corrupt_chunks += 1
        self._corrupt[index] = self._corrupt.get(index, 0) + 1
        if self._corrupt[index] >= CORRUPT_MAX:
            raise ChunkCorrupt(
                f"chunk {index} of payload {self.payload.sha256.hex()[:12]} came wrong"
                f" {CORRUPT_MAX} times: expected the digest of the signed chunk map;"
                " the broker or somebody on the way changes it"
            )
        self.deadline_s = min(self.deadline_s or now_s + FIRST_WAIT_S, now_s + 1.0)
        return [PublishWant(self._want(only={index}))]

    # --- asking -------------------------------------------------------------------------------

    def _ask(self, now_s: float) -> list[Action]:
        """Ask for as much as the credit has room for."""
        if not self._is_up:
            return []
        let_go = self._flush_drops(at_least=self._drops_together())
        wanted = self._next_maps() if not self._map.is_whole else self._next_chunks()
        filters: list[str] = []
        for topic, missing in wanted:
            request = Request(topic, missing, now_s, ahead=len(self._requests) + 1)
            self._requests[topic] = request
            self._by_chunk.update(dict.fromkeys(missing, request))
            filters.append(topic)
        if self._requests and self.deadline_s is None:
            self.deadline_s = now_s + self._first_wait_s()
        return let_go + self._subscribe(filters)

    def _drops_together(self) -> int:
        """Say how many filters are let go of in one packet; until then they count as held."""
        if self.credit.is_slow_to_subscribe:
            return 1
        return max(1, min(FILTERS_PER_PACKET, self.filters_max // 4))

    def _subscribe(self, filters: list[str]) -> list[Action]:
        """Ask in few packets; but one by one where each filter takes long, to have the first soon.

        Measured with NATS: a packet of eight filters is answered when the last of them is taken.
        """
        step = 1 if self.credit.is_slow_to_subscribe else FILTERS_PER_PACKET
        return [Subscribe(tuple(filters[i : i + step])) for i in range(0, len(filters), step)]

    def _next_maps(self) -> list[tuple[str, set[int]]]:
        under_way = len(self._requests)
        topics = [self.topics.map_part(self.payload.sha256, part) for part in self._map.missing]
        fresh = [topic for topic in topics if topic not in self._requests]
        room = min(FILTERS_PER_PACKET, self.filters_max) - under_way
        return [(topic, set()) for topic in fresh[: max(0, room)]]

    def _next_chunks(self) -> list[tuple[str, set[int]]]:
        if not self._is_scanned:
            return []
        if self._is_whole_better():
            self._may_ask_whole = False
            everything = set(self._todo)
            self._todo.clear()
            return [(self.topics.everything(self.payload.sha256), everything)]
        asked: list[tuple[str, set[int]]] = []
        room = self.credit.chunks - self.in_flight
        if room < self.credit.step_chunks and self.in_flight:
            return []
        filters = self.filters_max - len(self._requests) - len(self._dropping)
        if self.credit.is_slow_to_subscribe:
            filters = min(SLOW_FILTERS_MAX, self.filters_max) - len(self._requests)
        while self._todo and room > 0 and len(asked) < filters:
            if self._todo[0] in self._have:  # it came without being asked for
                self._todo.popleft()
                continue
            block = self._todo[0] // limits.BLOCK_CHUNKS
            whole = self._whole_block(block)
            if whole and (len(whole) <= room or self._fits_when_alone(whole, asked)):
                for _ in whole:
                    self._todo.popleft()
                asked.append((self.topics.block(self.payload.sha256, block), set(whole)))
                room -= len(whole)
            elif whole and self.credit.chunks >= len(whole):
                break  # wait until the credit has room for the block: one SUBSCRIBE, not eight
            else:
                index = self._todo.popleft()
                asked.append((self.topics.chunk(self.payload.sha256, index), {index}))
                room -= 1
        return asked

    def _fits_when_alone(self, whole: list[int], asked: list[tuple[str, set[int]]]) -> bool:
        return not self.in_flight and not asked and len(whole) <= self.credit.chunks

    def _is_whole_better(self) -> bool:
        """Whether one filter for the whole payload ends sooner than one for each block.

        It brings again what is there already, so it must be worth its bytes at the rate that
        this link showed; and once on a connection is enough.
        """
        if not (self._may_ask_whole and self.credit.is_slow_to_subscribe) or self._requests:
            return False
        count = self.payload.chunk_count
        if len(self._wanted) != count or not len(self._todo) > limits.BLOCK_CHUNKS:
            return False
        again_bytes = (count - len(self._todo)) * self.payload.chunk_size_bytes
        filters_s = len(self._todo) / limits.BLOCK_CHUNKS * self.credit.step_s
        return count <= WHOLE_MAX_CHUNKS and again_bytes <= filters_s * self._rate()

    def _rate(self) -> float:
        """Give the bytes per second at which chunks came, from the first to the last of late."""
        first_s, last_s, size_bytes = self._burst
        return size_bytes / (last_s - first_s) if last_s > first_s else 0.0

    def _note_rate(self, size_bytes: int, now_s: float) -> None:
        first_s, _, before = self._burst
        self._burst = (first_s, now_s, before + size_bytes) if before else (now_s, now_s, 1)

    def _ask_again(self, now_s: float) -> list[Action]:
        """Ask once more for what did not come: single chunks of a block that came in part.

        Subscribing again to the same filter makes a broker send what it retains once more
        (MQTT 3.1.1, 3.8.4; MQTT 5 with retain handling 0), what is here already included.
        """
        if not self.credit.is_slow_to_subscribe:
            for request in list(self._requests.values()):
                if self._came_in_part(request):
                    self._put_back(request)
        return self._subscribe(list(self._requests)) + self._ask(now_s)

    def _came_in_part(self, request: Request) -> bool:
        block = next(iter(request.missing), 0) // limits.BLOCK_CHUNKS
        whole = request.filter == self.topics.block(self.payload.sha256, block)
        first = block * limits.BLOCK_CHUNKS
        return whole and not self._have.isdisjoint(range(first, first + limits.BLOCK_CHUNKS))

    def _put_back(self, request: Request) -> None:
        """Let go of a filter; what it did not bring is asked for by others."""
        for index in request.missing:
            self._by_chunk.pop(index, None)
        self._todo.extendleft(sorted(request.missing, reverse=True))
        self._drop(request.filter)

    def _split_whole(self, now_s: float) -> list[Action]:
        """The one wide filter stopped bringing anything: go on block by block."""
        self._put_back(self._requests[self.topics.everything(self.payload.sha256)])
        return self._flush_drops() + self._ask(now_s)

    def _whole_block(self, block: int) -> list[int]:
        """Give the chunks of a block if all are missing, else nothing.

        A filter for the block would bring again what is on disk.
        """
        first = block * limits.BLOCK_CHUNKS
        whole = list(range(first, min(first + limits.BLOCK_CHUNKS, self.payload.chunk_count)))
        head = list(itertools.islice(self._todo, len(whole)))
        return whole if head == whole and self._have.isdisjoint(whole) else []

    def _publish_want(self, now_s: float) -> Action:
        self.counters.wants += 1
        for request in self._requests.values():
            request.is_wanted = True
            request.asked_s = now_s
        return PublishWant(self._want())

    def _want(self, only: set[int] | None = None) -> Want:
        """Build the want for what was asked for and has not come."""
        missing = sorted(only if only is not None else self._by_chunk)
        blocks: dict[int, int] = {}
        for index in missing:
            block, bit = divmod(index, limits.BLOCK_CHUNKS)
            blocks[block] = blocks.get(block, 0) | 1 << bit
        return Want(
            device=self.device,
            payload=self.payload.sha256,
            map_parts=tuple(self._map.missing),
            blocks=tuple(WantedBlock(block=b, missing=m) for b, m in blocks.items()),
        )

    # --- bookkeeping --------------------------------------------------------------------------

    def _progress(self, now_s: float) -> None:
        self._backoff.reset()
        self.deadline_s = now_s + self._first_wait_s()

    def _first_wait_s(self) -> float:
        wait_s = self.rng.uniform(*WANT_WAIT_S) if self._wants_first else FIRST_WAIT_S
        return wait_s + self.credit.slack_s(len(self._requests))

    def _note_how_it_came(self, request: Request | None) -> None:
        """Learn whether this broker gives what it keeps, or only what is wanted."""
        if request is None:
            return
        if request.is_wanted:
            self._wants_first, self._unasked = True, 0
        elif not request.retries:  # or another device's want brought it: once proves nothing
            self._unasked += 1
            self._wants_first = self._wants_first and self._unasked < UNASKED_ENOUGH

    def _finish(self, request: Request, now_s: float) -> None:
        self._drop(request.filter)
        self._note_how_it_came(request)
        if not request.retries:
            self.credit.completed(now_s - request.asked_s - self.credit.step_s * request.ahead)

    def _drop(self, topic: str) -> None:
        if self._requests.pop(topic, None) is not None:
            self._dropping.append(topic)

    def _flush_drops(self, at_least: int = 1) -> list[Action]:
        """Unsubscribe from what is done, eight filters a packet."""
        actions: list[Action] = []
        while self._is_up and len(self._dropping) >= at_least:
            actions.append(Unsubscribe(tuple(self._dropping[:FILTERS_PER_PACKET])))
            del self._dropping[:FILTERS_PER_PACKET]
        return actions

    def _let_go(self) -> list[Action]:
        for topic in list(self._requests):
            self._drop(topic)
        self._by_chunk.clear()
        return self._flush_drops()

    def _forget_requests(self) -> None:
        """Put back what was asked for; a new connection begins with nothing."""
        self._requests.clear()
        self._by_chunk.clear()
        self._dropping.clear()
        if self._is_scanned:
            self._todo = deque(index for index in self.needed if index not in self._have)
