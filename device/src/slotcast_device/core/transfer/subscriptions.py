"""What of a payload is asked for, and what to ask for next. No I/O.

A request is one subscription: for a block while nothing of it is on disk, for a single chunk where
a block is part done, for a part of the chunk map, or, where filters are dear, for the whole payload
once (ADR 0042). What it asks for stays within the credit, and within what brokers allow.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slotcast_device.core.transfer.actions import Subscribe, Unsubscribe
from slotcast_schemas import limits

if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView

    from slotcast_device.core.transfer.actions import Action
    from slotcast_device.core.transfer.credit import Credit
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
WHOLE_MAX_CHUNKS: Final = 512
"""Asked for by one filter at most: Mosquitto, for one, drops past 1,000 that wait."""


def filters_each(models: int) -> int:
    """Share a connection's subscriptions among models, of which each also has its notice's.

    Two at least, so past 16 models the bound holds only while not all update at once.
    """
    return max(2, min(FILTERS_MAX, (SUBSCRIPTIONS_MAX - models) // models))


@dataclass(slots=True)
class Request:
    """A subscription and the chunks that are to come through it; none for a part of the map."""

    filter: str
    missing: set[int]
    asked_s: float
    ahead: int = 1
    """Filters that the broker had to take until it came to this one, itself included."""
    retries: int = 0
    is_wanted: bool = False
    """Whether a want was published for it."""


class Requests:
    """The subscriptions of one transfer.

    Args:
        payload: what is fetched.
        topics: names of filters.
        credit: how many chunks may be under way.
        filters_max: subscriptions that it may hold at once.
        needs_all: whether every chunk of the payload is needed.

    Attributes:
        held: what is asked for, by filter.
    """

    def __init__(
        self,
        payload: Payload,
        topics: Topics,
        credit: Credit,
        *,
        filters_max: int,
        needs_all: bool,
    ) -> None:
        self._payload = payload
        self._topics = topics
        self._credit = credit
        self._filters_max = filters_max
        self._needs_all = needs_all
        self.held: dict[str, Request] = {}
        self._by_chunk: dict[int, Request] = {}
        self._todo: deque[int] = deque()
        self._dropping: list[str] = []
        self._may_ask_whole = True
        self._burst: tuple[float, float, int] = (0.0, 0.0, 0)

    # --- what happened ------------------------------------------------------------------------

    def begin(self, missing: Iterable[int]) -> None:
        """Nothing is subscribed; these chunks are to be asked for, in this order."""
        self.held.clear()
        self._by_chunk.clear()
        self._dropping.clear()
        self._todo = deque(missing)
        self._may_ask_whole = True

    def arrived(self, index: int, size_bytes: int, now_s: float) -> Request | None:
        """A true chunk came; give the request that it was for."""
        first_s, _, before = self._burst
        self._burst = (first_s, now_s, before + size_bytes) if before else (now_s, now_s, 1)
        request = self._by_chunk.pop(index, None)
        if request is not None:
            request.missing.discard(index)
        return request

    # --- what is under way --------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Chunks asked for and not here yet."""
        return len(self._by_chunk)

    @property
    def chunks(self) -> KeysView[int]:
        """Which those are."""
        return self._by_chunk.keys()

    @property
    def _everything(self) -> str:
        return self._topics.everything(self._payload.sha256)

    # --- asking -------------------------------------------------------------------------------

    def ask_for_maps(self, parts: Iterable[int], now_s: float) -> list[Action]:
        """Ask for parts of the chunk map that are not asked for yet."""
        topics = [self._topics.map_part(self._payload.sha256, part) for part in parts]
        fresh = [topic for topic in topics if topic not in self.held]
        room = min(FILTERS_PER_PACKET, self._filters_max) - len(self.held)
        wanted: list[tuple[str, set[int]]] = [(topic, set()) for topic in fresh[: max(0, room)]]
        return self._let_go_of_several() + self._hold(wanted, now_s)

    def ask_for_chunks(self, have: set[int], now_s: float) -> list[Action]:
        """Ask for as much as the credit has room for; `have` is on disk."""
        let_go = self._let_go_of_several()
        return let_go + self._hold(self._next_chunks(have), now_s)

    def _hold(self, wanted: list[tuple[str, set[int]]], now_s: float) -> list[Action]:
        for topic, missing in wanted:
            request = Request(topic, missing, now_s, ahead=len(self.held) + 1)
            self.held[topic] = request
            self._by_chunk.update(dict.fromkeys(missing, request))
        return self._subscribe([topic for topic, _ in wanted])

    def _subscribe(self, filters: list[str]) -> list[Action]:
        """Ask in few packets; but one by one where each filter takes long, to have the first soon.

        Measured with NATS: a packet of eight filters is answered when the last of them is taken.
        """
        step = 1 if self._credit.is_slow_to_subscribe else FILTERS_PER_PACKET
        return [Subscribe(tuple(filters[i : i + step])) for i in range(0, len(filters), step)]

    def _next_chunks(self, have: set[int]) -> list[tuple[str, set[int]]]:
        if self._is_whole_better():
            self._may_ask_whole = False
            everything = set(self._todo)
            self._todo.clear()
            return [(self._everything, everything)]
        room = self._credit.chunks - self.in_flight
        if room < self._credit.step_chunks and self.in_flight:
            return []
        asked: list[tuple[str, set[int]]] = []
        filters = self._filters_free()
        while self._todo and room > 0 and len(asked) < filters:
            if self._todo[0] in have:  # it came without being asked for
                self._todo.popleft()
                continue
            whole = self._whole_block(have)
            if room < len(whole) <= self._credit.chunks:
                break  # wait until the credit has room for the block: one SUBSCRIBE, not eight
            asked.append(self._take(whole if len(whole) <= room else []))
            room -= len(asked[-1][1])
        return asked

    def _filters_free(self) -> int:
        if self._credit.is_slow_to_subscribe:
            return min(SLOW_FILTERS_MAX, self._filters_max) - len(self.held)
        return self._filters_max - len(self.held) - len(self._dropping)

    def _take(self, whole: list[int]) -> tuple[str, set[int]]:
        """Take a block from what is to be asked for, or its first chunk alone."""
        if not whole:
            index = self._todo.popleft()
            return self._topics.chunk(self._payload.sha256, index), {index}
        for _ in whole:
            self._todo.popleft()
        block = whole[0] // limits.BLOCK_CHUNKS
        return self._topics.block(self._payload.sha256, block), set(whole)

    def _whole_block(self, have: set[int]) -> list[int]:
        """Give the chunks of the next block if all are missing, else nothing.

        A filter for the block would bring again what is on disk.
        """
        whole = list(self._chunks_of(self._todo[0] // limits.BLOCK_CHUNKS))
        head = list(itertools.islice(self._todo, len(whole)))
        return whole if head == whole and have.isdisjoint(whole) else []

    def _chunks_of(self, block: int) -> range:
        first = block * limits.BLOCK_CHUNKS
        return range(first, min(first + limits.BLOCK_CHUNKS, self._payload.chunk_count))

    # --- one filter for everything ------------------------------------------------------------

    def _is_whole_better(self) -> bool:
        """Whether one filter for the whole payload ends sooner than one for each block.

        It brings again what is there already, so it must be worth its bytes at the rate that
        this link showed; and once on a connection is enough.
        """
        may = self._may_ask_whole and self._needs_all and not self.held
        if not may or not self._credit.is_slow_to_subscribe:
            return False
        count = self._payload.chunk_count
        if len(self._todo) <= limits.BLOCK_CHUNKS:
            return False
        again_bytes = (count - len(self._todo)) * self._payload.chunk_size_bytes
        filters_s = len(self._todo) / limits.BLOCK_CHUNKS * self._credit.step_s
        return count <= WHOLE_MAX_CHUNKS and again_bytes <= filters_s * self._rate()

    def _rate(self) -> float:
        """Give the bytes per second at which chunks came, from the first to the last of late."""
        first_s, last_s, size_bytes = self._burst
        return size_bytes / (last_s - first_s) if last_s > first_s else 0.0

    # --- again, and no longer -----------------------------------------------------------------

    def ask_again(self, have: set[int]) -> list[Action]:
        """Ask once more for what did not come, or put back what other requests bring better.

        Subscribing again to the same filter makes a broker send what it retains once more
        (MQTT 3.1.1, 3.8.4; MQTT 5 with retain handling 0), what is here already included.
        """
        for request in list(self.held.values()):
            request.retries += 1
            if request.filter == self._everything or self._came_in_part(request, have):
                self._put_back(request)
        return self._subscribe(list(self.held)) + self.let_go_of_done()

    def _came_in_part(self, request: Request, have: set[int]) -> bool:
        """Whether single chunks are to follow a block; where filters are dear, they do not."""
        if self._credit.is_slow_to_subscribe:
            return False
        block = next(iter(request.missing), 0) // limits.BLOCK_CHUNKS
        is_block = request.filter == self._topics.block(self._payload.sha256, block)
        return is_block and not have.isdisjoint(self._chunks_of(block))

    def _put_back(self, request: Request) -> None:
        """Let go of a filter; what it did not bring is asked for by others."""
        for index in request.missing:
            self._by_chunk.pop(index, None)
        self._todo.extendleft(sorted(request.missing, reverse=True))
        self.drop(request.filter)

    def drop(self, topic: str) -> None:
        """A filter brought all it was for; it is let go of with the next few."""
        if self.held.pop(topic, None) is not None:
            self._dropping.append(topic)

    def _let_go_of_several(self) -> list[Action]:
        """Unsubscribe once a packet is worth it; until then the filters count as held."""
        if self._credit.is_slow_to_subscribe:
            return self.let_go_of_done()
        several = max(1, min(FILTERS_PER_PACKET, self._filters_max // 4))
        return self.let_go_of_done(at_least=several)

    def let_go_of_done(self, at_least: int = 1) -> list[Action]:
        """Unsubscribe from what is done, eight filters a packet."""
        actions: list[Action] = []
        while len(self._dropping) >= at_least:
            actions.append(Unsubscribe(tuple(self._dropping[:FILTERS_PER_PACKET])))
            del self._dropping[:FILTERS_PER_PACKET]
        return actions

    def let_go(self) -> list[Action]:
        """Unsubscribe from everything."""
        for topic in list(self.held):
            self.drop(topic)
        self._by_chunk.clear()
        return self.let_go_of_done()
