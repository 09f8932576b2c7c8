"""What of a payload is asked for, and what to ask for next. No I/O.

A request is one subscription: for a block while nothing of it is on disk, for a single chunk where
a block is part done, for a part of the chunk map, or, where filters are dear, for the whole payload
once (ADR 0042). What it asks for stays within the credit, and within what brokers allow.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core.transfer.broker_limits import FILTERS_PER_PACKET
from slotcast_device.core.transfer.transfer_actions import LearnWildcards, Subscribe, Unsubscribe
from slotcast_schemas import limits

if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView

    from slotcast_device.core.transfer.broker_limits import Allowance
    from slotcast_device.core.transfer.credit import Credit
    from slotcast_device.core.transfer.transfer_actions import TransferAction
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.topics import Topics

DOUBTED_MAX: Final = 64
"""The most blocks that are asked for chunk by chunk while it is not known why the filter for the
whole block did not bring them."""
SLOW_FILTERS_MAX: Final = 4
"""The most filters that are asked for at once where each takes the broker long: meanwhile it may
answer nothing, not even pings."""
WHOLE_MAX_CHUNKS: Final = 512
"""The most chunks that are asked for by one filter: Mosquitto, for one, drops past 1,000 that
wait."""


class Subscription(msgspec.Struct):
    """A subscription and the chunks that are to come through it; none for a part of the map."""

    filter: str
    missing: set[int]
    asked_s: float
    chunks: frozenset[int] = frozenset()
    """All that it was for."""
    ahead: int = 1
    """Filters that the broker had to take until it came to this one, itself included."""
    is_repeated: bool = False
    """Whether it was asked for once more because not all of it came."""
    is_wanted: bool = False
    """Whether a want was published for it."""
    is_again: bool = False
    """Whether its chunks were asked for before, by a filter that did not bring them."""


class Subscriptions:
    """The subscriptions of one transfer.

    Args:
        payload: what is fetched.
        topics: names of filters.
        credit: how many chunks may be under way.
        allowance: what the present broker allows.
        needs_all: whether every chunk of the payload is needed.

    Attributes:
        held: what is asked for, by filter.
    """

    def __init__(
        self,
        payload: Payload,
        topics: Topics,
        credit: Credit,
        allowance: Allowance,
        *,
        needs_all: bool,
    ) -> None:
        self._payload = payload
        self._topics = topics
        self._credit = credit
        self._allowance = allowance
        self._needs_all = needs_all
        self.held: dict[str, Subscription] = {}
        self._by_chunk: dict[int, Subscription] = {}
        self._todo: deque[int] = deque()
        self._dropping: list[str] = []
        self._may_ask_whole = True
        self._doubted: dict[int, int] = {}  # blocks whose filter brought only so many chunks
        self._burst: tuple[float, float, int] = (0.0, 0.0, 0)

    # --- what happened ------------------------------------------------------------------------

    def begin(self, missing: Iterable[int]) -> None:
        """Nothing is subscribed; these chunks are to be asked for, in this order."""
        self.held.clear()
        self._by_chunk.clear()
        self._dropping.clear()
        self._todo = deque(missing)
        self._may_ask_whole = True
        self._doubted.clear()

    def arrived(self, index: int, size_bytes: int, now_s: float) -> Subscription | None:
        """A true chunk came; give the request that it was for.

        Args:
            index: its number in the payload.
            size_bytes: its length.
            now_s: the time.
        """
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

    def ask_for_maps(self, parts: Iterable[int], now_s: float) -> list[TransferAction]:
        """Ask for parts of the chunk map that are not asked for yet."""
        topics = [self._topics.map_part(self._payload.sha256, part) for part in parts]
        fresh = [topic for topic in topics if topic not in self.held]
        room = min(FILTERS_PER_PACKET, self._allowance.filters) - len(self.held)
        wanted: list[tuple[str, set[int]]] = [(topic, set()) for topic in fresh[: max(0, room)]]
        return self._let_go_of_several() + self._hold_all(wanted, now_s)

    def ask_for_chunks(self, have: set[int], now_s: float) -> list[TransferAction]:
        """Ask for as much as the credit has room for; `have` is on disk."""
        let_go = self._let_go_of_several()
        return let_go + self._hold_all(self._choose_next_chunks(have), now_s)

    def _hold_all(self, wanted: list[tuple[str, set[int]]], now_s: float) -> list[TransferAction]:
        for topic, missing in wanted:
            request = Subscription(
                topic,
                missing,
                now_s,
                chunks=frozenset(missing),
                ahead=len(self.held) + 1,
                is_again=next(iter(missing), -1) // limits.BLOCK_CHUNKS in self._doubted,
            )
            self.held[topic] = request
            self._by_chunk.update(dict.fromkeys(missing, request))
        return self._subscribe([topic for topic, _ in wanted])

    def _subscribe(self, filters: list[str]) -> list[TransferAction]:
        """Ask in few packets; but one by one where each filter takes long, to have the first soon.

        Measured with NATS: a packet of eight filters is answered when the last of them is taken.
        """
        allowed = self._allowance.limits.filters_per_packet
        step = 1 if self._credit.is_slow_to_subscribe else allowed
        return [Subscribe(tuple(filters[i : i + step])) for i in range(0, len(filters), step)]

    def _choose_next_chunks(self, have: set[int]) -> list[tuple[str, set[int]]]:
        if self._is_whole_better():
            self._may_ask_whole = False
            everything = set(self._todo)
            self._todo.clear()
            return [(self._everything, everything)]
        room = self._credit.chunks - self.in_flight
        if room < self._credit.step_chunks and self.in_flight:
            return []
        asked: list[tuple[str, set[int]]] = []
        filters = self._count_free_filters()
        while self._todo and room > 0 and len(asked) < filters:
            if self._todo[0] in have:  # it came without being asked for
                self._todo.popleft()
                continue
            whole = self._find_whole_block(have)
            if room < len(whole) <= self._credit.chunks:
                break  # wait until the credit has room for the block: one SUBSCRIBE, not eight
            asked.append(self._take_from_todo(whole if len(whole) <= room else []))
            room -= len(asked[-1][1])
        return asked

    def _count_free_filters(self) -> int:
        if self._credit.is_slow_to_subscribe:
            return min(SLOW_FILTERS_MAX, self._allowance.filters) - len(self.held)
        return self._allowance.filters - len(self.held) - len(self._dropping)

    def _take_from_todo(self, whole: list[int]) -> tuple[str, set[int]]:
        """Take a block from what is to be asked for, or its first chunk alone."""
        if not whole:
            index = self._todo.popleft()
            return self._topics.chunk(self._payload.sha256, index), {index}
        for _ in whole:
            self._todo.popleft()
        block = whole[0] // limits.BLOCK_CHUNKS
        return self._topics.block(self._payload.sha256, block), set(whole)

    def _find_whole_block(self, have: set[int]) -> list[int]:
        """Give the chunks of the next block if all are missing, else nothing.

        A filter for the block would bring again what is on disk; and where it brings too little, or
        that is in doubt, each chunk is asked for by its own.
        """
        block = self._todo[0] // limits.BLOCK_CHUNKS
        if not self._allowance.has_block_filters or block in self._doubted:
            return []
        whole = list(self._chunks_of(block))
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
        most = min(WHOLE_MAX_CHUNKS, self._allowance.limits.wildcard_messages_max)
        return count <= most and again_bytes <= filters_s * self._measure_rate()

    def _measure_rate(self) -> float:
        """Give the bytes per second at which chunks came, from the first to the last of late."""
        first_s, last_s, size_bytes = self._burst
        return size_bytes / (last_s - first_s) if last_s > first_s else 0.0

    # --- again, and no longer -----------------------------------------------------------------

    def ask_again(self, have: set[int]) -> list[TransferAction]:
        """Ask once more for what did not come, or put back what other requests bring better.

        Subscribing again to the same filter makes a broker send what it retains once more
        (MQTT 3.1.1, 3.8.4; MQTT 5 with retain handling 0), what is here already included.
        """
        actions: list[TransferAction] = []
        for request in list(self.held.values()):
            request.is_repeated = True
            if request.filter == self._everything:
                actions += self._bound_wildcards(request)
                self._put_request_back(request)
            elif self._is_to_follow_singly(request, have):
                self._put_request_back(request)
        return actions + self._subscribe(list(self.held)) + self.let_go_of_done()

    def _bound_wildcards(self, request: Subscription) -> list[TransferAction]:
        """Keep how many messages the filter for the whole payload brought before it ended early."""
        came = self._payload.chunk_count - len(request.missing)
        if came < limits.BLOCK_CHUNKS:
            return []
        self._allowance.is_wildcard_proven = True
        return self._learn_wildcards(came)

    def _is_to_follow_singly(self, request: Subscription, have: set[int]) -> bool:
        """Whether single chunks are to follow a block; where filters are dear, they may not.

        A filter for a block that brings too little, or nothing, while no other has brought all:
        perhaps this broker gives only so many retained messages for a wildcard, or none.
        """
        block = next(iter(request.missing), 0) // limits.BLOCK_CHUNKS
        if request.filter != self._topics.block(self._payload.sha256, block):
            return False
        came = len(have.intersection(self._chunks_of(block)))
        if not self._allowance.is_wildcard_proven and len(self._doubted) < DOUBTED_MAX:
            self._doubted[block] = came
            return True
        return came > 0 and not self._credit.is_slow_to_subscribe

    def proved(self, request: Subscription) -> list[TransferAction]:
        """Learn of wildcards from a request that brought all of its chunks at the first asking."""
        first = next(iter(request.chunks), None)
        if first is None or request.is_repeated or request.is_wanted:
            return []
        if len(request.chunks) >= limits.BLOCK_CHUNKS:
            self._allowance.is_wildcard_proven = True
        came = self._doubted.get(first // limits.BLOCK_CHUNKS)
        if came is None or self._allowance.is_wildcard_proven:
            return []
        return self._learn_wildcards(came) if self._allowance.has_block_filters else []

    def _learn_wildcards(self, messages_max: int) -> list[TransferAction]:
        self._allowance.limits = msgspec.structs.replace(
            self._allowance.limits, wildcard_messages_max=messages_max
        )
        return [LearnWildcards(messages_max)]

    # --- refused ------------------------------------------------------------------------------

    def refused(self, topic: str) -> bool:
        """The broker refused a filter: put back what it was for; False if it was none of these."""
        request = self.held.pop(topic, None)
        if request is None:
            return False
        self._put_back_chunks(request)
        return True

    def _put_request_back(self, request: Subscription) -> None:
        """Let go of a filter; what it did not bring is asked for by others."""
        self._put_back_chunks(request)
        self.drop(request.filter)

    def _put_back_chunks(self, request: Subscription) -> None:
        for index in request.missing:
            self._by_chunk.pop(index, None)
        self._todo.extendleft(sorted(request.missing, reverse=True))

    def drop(self, topic: str) -> None:
        """A filter brought all it was for; it is let go of with the next few."""
        if self.held.pop(topic, None) is not None:
            self._dropping.append(topic)

    def _let_go_of_several(self) -> list[Unsubscribe]:
        """Unsubscribe once a packet is worth it; until then the filters count as held."""
        if self._credit.is_slow_to_subscribe:
            return self.let_go_of_done()
        allowed = self._allowance.limits.filters_per_packet
        several = max(1, min(allowed, self._allowance.filters // 4))
        return self.let_go_of_done(at_least=several)

    def let_go_of_done(self, at_least: int = 1) -> list[Unsubscribe]:
        """Unsubscribe from what is done, in few packets."""
        actions: list[Unsubscribe] = []
        step = self._allowance.limits.filters_per_packet
        while len(self._dropping) >= at_least:
            actions.append(Unsubscribe(tuple(self._dropping[:step])))
            del self._dropping[:step]
        return actions

    def let_go(self) -> list[Unsubscribe]:
        """Unsubscribe from everything."""
        for topic in list(self.held):
            self.drop(topic)
        self._by_chunk.clear()
        return self.let_go_of_done()
