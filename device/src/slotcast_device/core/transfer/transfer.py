"""The transfer of one payload: what to do with what comes, and with what does not. No I/O.

It first collects the chunk map, then has the shell look what is on disk already, unless that is
nothing, then asks for what is missing; for what next, and by which filters, `subscriptions`
decides. A chunk is believed only if its length and digest are the map's; any sender, any order, any
number of times. Where nothing comes, it asks again, then publishes a want, with waits that grow and
are jittered; it never gives up by itself. Where things come only for wants (a broker that keeps
nothing), it wants at once.

    Transfer.start / connection_made / connection_lost / receive_map / receive_chunk / scanned
        / timeout -> actions for the shell, in order
    Transfer.deadline_s  when `timeout` is due, on the clock that the caller passes in
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from slotcast_device.core.transfer.broker_limits import Allowance, has_wildcard
from slotcast_device.core.transfer.chunk_map import ChunkMap
from slotcast_device.core.transfer.credit import Credit
from slotcast_device.core.transfer.subscriptions import Subscriptions
from slotcast_device.core.transfer.transfer_actions import (
    Complete,
    Counters,
    PublishWant,
    Scan,
    StoreChunk,
    StoreMap,
)
from slotcast_device.core.waits import USUAL, Waits
from slotcast_schemas import limits
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.errors import ChunkCorrupt
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.want import WantedBlock

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from slotcast_device.core.transfer.subscriptions import Subscription
    from slotcast_device.core.transfer.transfer_actions import TransferAction, Unsubscribe
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.topics import Topics

WAIT_CAP_S: Final = 300.0
"""The longest of the waits for what was asked for, which grow, in seconds."""
WANT_WAIT_S: Final = (0.3, 1.0)
"""The least and the most seconds to wait with a want where nothing comes without one: time for
chunks that do come, and for what others' wants bring."""
UNASKED_ENOUGH: Final = 8
"""The number of requests in a row, answered without a want, after which a broker keeps things after
all."""
DIGEST_BYTES: Final = 32
"""The bytes of one chunk's digest in a map, of SHA-256."""
PACKET_MORE_BYTES: Final = 128
"""What a PUBLISH has beside its message, in bytes and about: the topic and the headers."""
CORRUPT_MAX: Final = 3
"""The number of times that one chunk comes wrong until it is reported as corrupt."""


@dataclass(slots=True)
class Transfer:
    """Collects one payload. Feed it events, carry out what it returns.

    Args:
        payload: that is collected.
        needed: chunks to collect, in the order to ask for them.
        topics: where they are published.
        device: this device's id, named in wants.
        rng: jitter of waits.
        credit: shared by the transfers of a connection's lifetime.
        allowance: what the present broker allows, of this model's part.
        asks_by_name: whether the offer tells devices to want below their own names. Where that
            brings nothing (a broker's rules of before, a service of before) the payload's topic is
            tried in turn with it.
        waits: how long to wait.
    """

    payload: Payload
    needed: Sequence[int]
    topics: Topics
    device: str
    rng: random.Random
    credit: Credit = field(default_factory=Credit)
    allowance: Allowance = field(default_factory=Allowance)
    asks_by_name: bool = False
    waits: Waits = USUAL
    counters: Counters = field(default_factory=Counters)
    deadline_s: float | None = None
    reused_bytes: int = 0
    """What was found on disk at the start of this run."""

    _map: ChunkMap = field(init=False)
    _needed_bytes: int = field(init=False)
    _have: set[int] = field(default_factory=set)
    _wanted: frozenset[int] = frozenset()
    _subscriptions: Subscriptions = field(init=False)
    _corrupt: dict[int, int] = field(default_factory=dict)
    _is_up: bool = False
    _is_scanned: bool = False
    _wants_first: bool = False
    _unasked: int = 0
    _is_refused: bool = False
    _wants_by_name: bool = False
    _is_want_open: bool = False
    _progress_s: float = 0.0
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._wanted = frozenset(self.needed)
        self._wants_by_name = self.asks_by_name
        self._map = ChunkMap(self.payload)
        self._subscriptions = Subscriptions(
            self.payload,
            self.topics,
            self.credit,
            self.allowance,
            needs_all=len(self._wanted) == self.payload.chunk_count,
        )
        self._needed_bytes = sum(map(self.payload.chunk_bytes, self.needed))
        self._backoff = Backoff(self.rng, self.waits.first_wait_s, WAIT_CAP_S)

    # --- what happened ------------------------------------------------------------------------

    @property
    def is_complete(self) -> bool:
        """Whether every needed chunk is on disk."""
        return self._is_scanned and self._wanted <= self._have

    @property
    def in_flight(self) -> int:
        """Chunks asked for and not here yet."""
        return self._subscriptions.in_flight

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
        """Whether what was asked for came neither when it was asked for again, nor for a want."""
        return self._backoff.failures > 2

    @property
    def is_silent(self) -> bool:
        """Whether what was asked for has not come for more than one wait."""
        return self._backoff.failures > 1

    @property
    def packet_bytes(self) -> int:
        """The largest packet that this transfer still needs, about."""
        if not self._map.is_whole:
            digests = min(self.payload.chunk_count, limits.MAP_PART_CHUNKS)
            return digests * DIGEST_BYTES + PACKET_MORE_BYTES
        return self.payload.chunk_size_bytes + PACKET_MORE_BYTES

    @property
    def has_only_short_chunks(self) -> bool:
        """Whether no chunk of full size is on disk: larger messages may not pass at all."""
        return self._map.is_whole and self._have <= {self.payload.chunk_count - 1}

    def idle_s(self, now_s: float) -> float:
        """Give the seconds since something came that was wanted, or the connection was made."""
        return now_s - self._progress_s

    def holds(self, topic: str) -> bool:
        """Whether this filter is asked for."""
        return topic in self._subscriptions.held

    def start(
        self, stored_maps: dict[int, bytes], now_s: float, *, is_empty: bool = False
    ) -> list[TransferAction]:
        """Begin, with the parts of the map that are on disk already.

        Args:
            stored_maps: those parts.
            now_s: the time.
            is_empty: not a byte of a chunk is on disk: there is nothing to look for.
        """
        self._is_scanned = is_empty and bool(self._wanted)
        for part, data in stored_maps.items():
            self._map.accept(part, data)
        return self._go_on_after_map(now_s) if self._map.is_whole else self._ask_for_more(now_s)

    def connection_made(self, now_s: float) -> list[TransferAction]:
        """A connection is there: nothing is subscribed on it yet."""
        self._subscriptions.begin(self._list_missing())
        self._is_refused = False
        self._wants_first = self._wants_first or not self.allowance.limits.retained
        self._is_up = True
        self._progress_s = now_s
        return self._ask_for_more(now_s)

    def connection_lost(self) -> None:
        """The connection is gone, and with it every subscription."""
        self._is_up = False
        self._subscriptions.begin(())
        self.deadline_s = None

    def receive_map(self, part: int, data: bytes, now_s: float) -> list[TransferAction]:
        """Take a part of the chunk map; a wrong one is dropped.

        Args:
            part: its number.
            data: the part, as it was published.
            now_s: the time.
        """
        self.counters.received_bytes += len(data)
        if part in self._map.parts:
            return []
        if not self._map.accept(part, data):
            self.counters.corrupt_chunks += 1
            return []
        topic = self.topics.map_part(self.payload.sha256, part)
        self._note_how_it_came(self._subscriptions.held.get(topic))
        self._note_progress(now_s)
        actions: list[TransferAction] = [StoreMap(part, data)]
        self._subscriptions.drop(topic)
        if self._map.is_whole:
            return actions + self._subscriptions.let_go_of_done() + self._go_on_after_map(now_s)
        return actions + self._ask_for_more(now_s)

    def scanned(self, present: set[int], now_s: float) -> list[TransferAction]:
        """Learn which chunks are on disk, all of them hashed against the map."""
        self._have = present & self._wanted
        self._is_scanned = True
        self.reused_bytes = sum(map(self.payload.chunk_bytes, self._have))
        self.counters.verified_bytes = self.reused_bytes
        self._subscriptions.begin(self._list_missing())
        if self.is_complete:
            return [Complete()]
        return self._ask_for_more(now_s)

    def receive_chunk(self, index: int, data: bytes, now_s: float) -> list[TransferAction]:
        """Take a chunk; what is not the map's chunk is dropped and counted.

        Args:
            index: its number in the payload.
            data: the chunk.
            now_s: the time.

        Raises:
            ChunkCorrupt: the same chunk came wrong again and again: somebody changed it.
        """
        self.counters.received_bytes += len(data)
        if not (self._is_scanned and self._map.is_whole) or index not in self._wanted:
            return []  # it is not known yet whether it is missing, or true
        if index in self._have:
            self.counters.duplicate_chunks += 1
            return []
        if not self._map.is_true(index, data):
            return self._count_corrupt(index, now_s)
        self._have.add(index)
        self.counters.verified_bytes += len(data)
        self._note_progress(now_s)
        request = self._subscriptions.arrived(index, len(data), now_s)
        learnt: list[TransferAction] = []
        if request is not None and not request.missing:
            learnt = self._finish_request(request, now_s)
        if len(self._have) == len(self._wanted):
            return [StoreChunk(index, data), *learnt, *self.stop(), Complete()]
        if request is not None and request.missing and not self._is_early(request, now_s):
            return [StoreChunk(index, data)]  # most by far
        return [StoreChunk(index, data), *learnt, *self._ask_for_more(now_s)]

    def bytes_arrived(self, now_s: float) -> None:
        """Bytes came on the link: a chunk may be on its way, however slowly; wait for it.

        But not for ever: somebody may send a byte now and then. Progress is what was wanted.
        """
        if self.idle_s(now_s) > self.waits.patience_s:
            return
        if self.deadline_s is not None and not self._backoff.failures:
            self.deadline_s = max(self.deadline_s, now_s + self._choose_first_wait_s())

    def timeout(self, now_s: float) -> list[TransferAction]:
        """Nothing came for too long: ask again, and past the first time publish a want."""
        if self._is_refused:
            return self._ask_after_refusal(now_s)
        self.counters.timeouts += 1
        is_planned = self._wants_first and not self._backoff.failures
        actions: list[TransferAction] = []
        if self._backoff.failures or is_planned:
            actions.append(self._publish_want(now_s))
        slack_s = self.credit.slack_s(len(self._subscriptions.held))
        self.deadline_s = now_s + self.waits.first_wait_s + slack_s + self._backoff.next_s()
        if not is_planned:
            self.credit.timed_out()
            actions += self._subscriptions.ask_again(self._have) + self._ask_for_more(now_s)
        return actions

    def subscription_refused(
        self, topic: str, now_s: float, *, is_final: bool
    ) -> list[TransferAction]:
        """The broker refused a filter: ask otherwise where there is a way, else later.

        Args:
            topic: the filter; one that is not this transfer's is passed over.
            now_s: the time.
            is_final: nothing else is known to ask for instead.
        """
        if not self._subscriptions.refused(topic):
            return []
        if is_final:
            self._is_refused = True
            self.deadline_s = now_s + self.waits.first_wait_s + self._backoff.next_s()
            return []
        if self._subscriptions.held:  # what comes for these makes room
            return []
        if self.allowance.has_block_filters or not has_wildcard(topic):
            self.deadline_s = now_s + self.rng.uniform(*WANT_WAIT_S) * (1 + self._backoff.failures)
            self._backoff.failures += 1
            self._is_refused = True
            return []
        return self._ask_for_more(now_s)

    def _ask_after_refusal(self, now_s: float) -> list[TransferAction]:
        self._is_refused = False
        self.deadline_s = None
        return self._ask_for_more(now_s)

    def stop(self) -> list[Unsubscribe]:
        """Ask for nothing any more; what is on disk stays."""
        self.deadline_s = None
        return self._subscriptions.let_go()

    # --- map and chunks -----------------------------------------------------------------------

    def _list_missing(self) -> Iterable[int]:
        """Give what is to be asked for, in order; nothing before it is known what is on disk."""
        if not self._is_scanned:
            return ()
        return (index for index in self.needed if index not in self._have)

    def _go_on_after_map(self, now_s: float) -> list[TransferAction]:
        if self._is_scanned:
            return self._ask_for_more(now_s)
        self.deadline_s = None
        return [Scan()]

    def _count_corrupt(self, index: int, now_s: float) -> list[TransferAction]:
        """Count it, and ask the publisher for a true one: the broker would repeat the false."""
        self.counters.corrupt_chunks += 1
        self._corrupt[index] = self._corrupt.get(index, 0) + 1
        if self._corrupt[index] >= CORRUPT_MAX:
            raise ChunkCorrupt(
                f"chunk {index} of payload {self.payload.sha256.hex()[:12]} came wrong"
                f" {CORRUPT_MAX} times: expected the digest of the signed chunk map;"
                " the broker or somebody on the way changes it"
            )
        self.deadline_s = min(self.deadline_s or now_s + self.waits.first_wait_s, now_s + 1.0)
        return [PublishWant(self._build_want(only={index}), by_device=self._wants_by_name)]

    # --- asking -------------------------------------------------------------------------------

    def _ask_for_more(self, now_s: float) -> list[TransferAction]:
        """Ask for as much as the credit has room for."""
        if not self._is_up or (self._is_refused and not self._subscriptions.held):
            return []
        actions: list[TransferAction] = []
        if not self._map.is_whole:
            actions = self._subscriptions.ask_for_maps(self._map.missing, now_s)
        elif self._is_scanned:
            actions = self._subscriptions.ask_for_chunks(self._have, now_s)
        if self._subscriptions.held and self.deadline_s is None:
            self.deadline_s = now_s + self._choose_first_wait_s()
        return actions

    def _publish_want(self, now_s: float) -> TransferAction:
        """Want what is missing; on the other topic where the last want brought nothing."""
        if self._is_want_open and self.asks_by_name:
            self._wants_by_name = not self._wants_by_name
        self._is_want_open = True
        self.counters.wants += 1
        for request in self._subscriptions.held.values():
            request.is_wanted = True
            request.asked_s = now_s
        return PublishWant(self._build_want(), by_device=self._wants_by_name)

    def _build_want(self, only: set[int] | None = None) -> Want:
        """Build the want for what was asked for and has not come."""
        missing = sorted(self._subscriptions.chunks if only is None else only)
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

    def _note_progress(self, now_s: float) -> None:
        self._is_want_open = False
        self._progress_s = now_s
        if self._backoff.failures:
            self._backoff.reset()
        self.deadline_s = now_s + self._choose_first_wait_s()

    def _choose_first_wait_s(self) -> float:
        wait_s = self.rng.uniform(*WANT_WAIT_S) if self._wants_first else self.waits.first_wait_s
        return wait_s + self.credit.slack_s(len(self._subscriptions.held))

    def _note_how_it_came(self, request: Subscription | None) -> None:
        """Learn whether this broker gives what it keeps, or only what is wanted."""
        if request is None:
            return
        if request.is_wanted:
            self._wants_first, self._unasked = True, 0
        elif not request.is_repeated:  # or another device's want brought it: once proves nothing
            self._unasked += 1
            self._wants_first = self._wants_first and self._unasked < UNASKED_ENOUGH

    def _is_early(self, request: Subscription, now_s: float) -> bool:
        """Whether a quarter of a block came so soon that there is room to ask for more."""
        if request.is_repeated or len(request.missing) != limits.BLOCK_CHUNKS * 3 // 4:
            return False
        return self.credit.began(self._measure_time_s(request, now_s))

    def _finish_request(self, request: Subscription, now_s: float) -> list[TransferAction]:
        self._subscriptions.drop(request.filter)
        self._note_how_it_came(request)
        if not (request.is_repeated or request.is_again):
            self.credit.completed(self._measure_time_s(request, now_s))
        return self._subscriptions.proved(request)

    def _measure_time_s(self, request: Subscription, now_s: float) -> float:
        """How long a request takes so far, without what the broker needed to take its filters."""
        return now_s - request.asked_s - self.credit.step_s * request.ahead
