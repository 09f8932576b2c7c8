"""Decides what to send again to devices that miss something. No I/O; the clock is an argument.

A want is wishes for *pieces*: chunks and parts of chunk maps. Wishes are collected for a moment
(a jittered window), so a thousand devices that miss the same block cause one answer; a piece that
was just sent is not sent again before `again_s`. Whoever asks, the work is bounded: pieces that
wait, pieces of one payload, what one device has in line, its bytes a day (`budgets`), and bytes
per second all have a ceiling.

Devices take turns (`turns`). Those whose names the broker's access rules prove, and those that only
claim one, are two lines of which each gets half of the rate while both wait: so inventing names
takes nothing from a device that has one.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from slotcast_publisher.serve.budgets import Asker, Budgets
from slotcast_publisher.serve.turns import Turns
from slotcast_schemas import limits
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.token_bucket import TokenBucket

RATE_BYTES_PER_S: Final = 4_000_000.0
"""The bytes a second that devices are answered with at most, unless an option gives another
rate."""

_LEAD_MAX_BYTES: Final = 131_072
"""How far one of the two lines may be ahead of the other: about the largest piece."""

_CLAIMED_SHARE: Final = 2
"""One in so many of the pieces that may wait may be for devices that only claim a name."""


class WantedPiece(msgspec.Struct, frozen=True, gc=False):
    """A chunk (`is_map` false) or a part of the chunk map, by its number."""

    payload: bytes
    is_map: bool
    number: int


@dataclass(frozen=True, slots=True)
class WantBounds:
    """How much may be done for those who ask.

    Attributes:
        window_s: the shortest and longest wait for others who miss the same.
        again_s: a piece is not sent again sooner than this.
        rate_bytes_per_s: what all answers together may use of the link to one broker.
        waiting_max: pieces that may wait, of all payloads.
        payload_waiting_max: pieces that may wait of one payload.
        device_waiting_max: pieces that one device may have in line; more than a device ever asks
            for at once. Where few places are left, it may have half of those.
        places_max: places in all lines together; who finds none waits in another's line.
    """

    window_s: tuple[float, float] = (0.2, 0.5)
    again_s: float = 2.0
    rate_bytes_per_s: float = RATE_BYTES_PER_S
    waiting_max: int = 16_384
    payload_waiting_max: int = 8_192
    device_waiting_max: int = 1_024
    places_max: int = 65_536


@dataclass(slots=True)
class WantCounts:
    """What happened, in pieces but for the three kinds of wants."""

    wants: int = 0
    claimed_wants: int = 0
    """Those of the wants that only claim a name."""
    refused_wants: int = 0
    asked: int = 0
    joined: int = 0
    """Asked for while they waited already: the answer is shared."""
    refused: int = 0
    over_budget: int = 0
    """Those of the refused that a budget for a day was too small for."""
    sent: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class _Wish:
    """A piece that waits, and who waits for it."""

    payload: Payload
    size_bytes: int
    due_s: float
    is_claimed: bool
    """Whether the first that asked only claims a name."""
    is_due: bool = False
    askers: dict[Asker, None] = field(default_factory=dict)
    """Those that have a place in line for it, in the order in which they asked."""


class Answers:
    """Collects wants, and gives the pieces that are due.

    Args:
        bounds: how much may be done.
        rng: jitter of the window.
        budgets: how much may be done for whom in a day; the usual unless given.
    """

    def __init__(
        self, bounds: WantBounds, rng: random.Random, budgets: Budgets | None = None
    ) -> None:
        self.counts = WantCounts()
        self.budgets = budgets or Budgets()
        self._bounds = bounds
        self._rng = rng
        self._order = itertools.count()
        self._waiting: dict[WantedPiece, _Wish] = {}
        self._coming: list[tuple[float, int, WantedPiece]] = []
        self._due = 0
        self._claimed = 0
        self._of_payload: Counter[bytes] = Counter()
        self._places: Counter[Asker] = Counter()
        self._places_taken = 0
        self._windows_end_s: dict[bytes, float] = {}
        self._turns: dict[bool, Turns[Asker, WantedPiece]] = {True: Turns(), False: Turns()}
        self._lead_bytes = 0.0  # how far proven names are ahead of claimed ones
        self._sent_s: OrderedDict[WantedPiece, float] = OrderedDict()
        rate = bounds.rate_bytes_per_s
        self._link = TokenBucket(rate / 2, rate)  # at most half a second's worth is saved up

    @property
    def waiting(self) -> int:
        """Pieces that wait to be sent."""
        return len(self._waiting)

    def deadline_s(self) -> float | None:
        """Say when `due` will have something, or None."""
        paid_s = self._link.due_s(0)
        if self._due:
            return paid_s
        while self._coming and self._coming[0][2] not in self._waiting:  # not offered any more
            heapq.heappop(self._coming)
        return max(self._coming[0][0], paid_s) if self._coming else None

    # --- wants ----------------------------------------------------------------------------------

    def want(self, want: Want, payload: Payload, now_s: float, *, is_proven: bool) -> int:
        """Take a want for a payload that is offered; gives how many pieces are new.

        Pieces that the payload does not have, and those past a bound, are refused and counted.

        Args:
            want: what a device asked for.
            payload: the payload that it asked for pieces of.
            now_s: the clock, in seconds.
            is_proven: whether the device's name is that of the topic, for which the broker's access
                rules vouch.
        """
        self.counts.wants += 1
        self.counts.claimed_wants += not is_proven
        asker = Asker(want.device, is_proven)
        new = 0
        for piece in _pieces(want):
            self.counts.asked += 1
            wish = self._waiting.get(piece)
            if wish is not None:
                self.counts.joined += 1
                self._join(wish, piece, asker, now_s)
            elif not _exists(piece, payload) or not self._has_room(asker, payload.sha256):
                self.counts.refused += 1
            elif not self.budgets.take(asker, payload, _size_bytes(piece, payload), now_s):
                self.counts.refused += 1
                self.counts.over_budget += 1
            else:
                self._add(piece, payload, asker, now_s)
                new += 1
        return new

    def _has_room(self, asker: Asker, payload: bytes) -> bool:
        """Say whether a piece more may wait; the fuller it is, the less of it one device may have.

        Source of the rule: Choudhury and Hahne, "Dynamic Queue Length Thresholds", 1998.
        """
        free = self._bounds.waiting_max - len(self._waiting)
        if not asker.is_proven:
            free = min(free, self._bounds.waiting_max // _CLAIMED_SHARE - self._claimed)
        mine = min(self._bounds.device_waiting_max, max(1, free // 2))
        return (
            free > 0
            and self._places[asker] < mine
            and self._of_payload[payload] < self._bounds.payload_waiting_max
        )

    def _add(self, piece: WantedPiece, payload: Payload, asker: Asker, now_s: float) -> None:
        window_ends_s = self._windows_end_s.get(payload.sha256, now_s)
        if window_ends_s <= now_s:
            window_ends_s = now_s + self._rng.uniform(*self._bounds.window_s)
            self._windows_end_s[payload.sha256] = window_ends_s
        sent_s = self._sent_s.get(piece)
        again_s = now_s if sent_s is None else sent_s + self._bounds.again_s
        due_s = max(window_ends_s, again_s)
        wish = _Wish(payload, _size_bytes(piece, payload), due_s, not asker.is_proven)
        self._waiting[piece] = wish
        self._of_payload[payload.sha256] += 1
        self._claimed += wish.is_claimed
        heapq.heappush(self._coming, (due_s, next(self._order), piece))
        self._give_place(wish, piece, asker)

    def _join(self, wish: _Wish, piece: WantedPiece, asker: Asker, now_s: float) -> None:
        """Give a place in its own line to who asks for what others wait for, if it may have one.

        Without one it has to wait for the others' turns, which may take longer, and costs nothing.
        """
        if (
            asker not in wish.askers
            and self._places_taken < self._bounds.places_max
            and self._places[asker] < self._bounds.device_waiting_max
            and self.budgets.take(asker, wish.payload, wish.size_bytes, now_s)
        ):
            self._give_place(wish, piece, asker)

    def _give_place(self, wish: _Wish, piece: WantedPiece, asker: Asker) -> None:
        wish.askers[asker] = None
        self._places[asker] += 1
        self._places_taken += 1
        if wish.is_due:
            self._turns[asker.is_proven].join(asker, piece)

    # --- sending --------------------------------------------------------------------------------

    def due(self, now_s: float, room: int) -> list[tuple[WantedPiece, Payload]]:
        """Give up to `room` pieces to send now, taking turns between those who wait."""
        self._forget_sent(now_s)
        self._let_come(now_s)
        found: list[tuple[WantedPiece, Payload]] = []
        while len(found) < room and self._link.left(now_s) >= 0:
            piece = self._next()
            if piece is None:
                break
            found.append((piece, self._waiting[piece].payload))
            self._note_sent(piece, now_s)
        return found

    def _let_come(self, now_s: float) -> None:
        """Put what has waited long enough for others into the lines of those who asked."""
        while self._coming and self._coming[0][0] <= now_s:
            piece = heapq.heappop(self._coming)[2]
            wish = self._waiting.get(piece)
            if wish is None or wish.is_due or wish.due_s > now_s:  # forgotten, or asked for anew
                continue
            wish.is_due = True
            self._due += 1
            for asker in wish.askers:
                self._turns[asker.is_proven].join(asker, piece)

    def _next(self) -> WantedPiece | None:
        """Give the piece whose turn it is, first of the line that is behind."""
        for is_proven in (True, False) if self._lead_bytes <= 0 else (False, True):
            piece = self._turns[is_proven].take(self._is_due)
            if piece is not None:
                size_bytes = self._waiting[piece].size_bytes
                lead = self._lead_bytes + (size_bytes if is_proven else -size_bytes)
                self._lead_bytes = max(-_LEAD_MAX_BYTES, min(_LEAD_MAX_BYTES, lead))
                return piece
        return None

    def _is_due(self, piece: WantedPiece) -> bool:
        wish = self._waiting.get(piece)
        return wish is not None and wish.is_due

    def _note_sent(self, piece: WantedPiece, now_s: float) -> None:
        wish = self._waiting[piece]
        self.counts.sent += 1
        self.counts.sent_bytes += wish.size_bytes
        self._link.spend(wish.size_bytes, now_s)
        self._sent_s.pop(piece, None)
        self._sent_s[piece] = now_s
        for asker in wish.askers:
            self._turns[asker.is_proven].charge(asker, wish.size_bytes)
        self._drop(piece, paid_bytes=wish.size_bytes)

    def _drop(self, piece: WantedPiece, *, paid_bytes: int) -> None:
        """Let go of a piece; those with a place for it share what was paid, and get back the rest.

        Args:
            piece: that waits.
            paid_bytes: what it cost; 0 where it was not sent.
        """
        wish = self._waiting.pop(piece)
        back_bytes = wish.size_bytes - paid_bytes / len(wish.askers)
        for asker in wish.askers:
            self.budgets.give_back(asker, piece.payload, back_bytes)
            self._places[asker] -= 1
            if not self._places[asker]:
                del self._places[asker]
        self._places_taken -= len(wish.askers)
        self._due -= wish.is_due
        self._claimed -= wish.is_claimed
        self._of_payload[piece.payload] -= 1
        if not self._of_payload[piece.payload]:
            del self._of_payload[piece.payload]

    # --- what is let go of ----------------------------------------------------------------------

    def forget_payloads(self, offered: Collection[bytes]) -> None:
        """Let go of what waits for payloads that are not offered any more."""
        for piece in [known for known in self._waiting if known.payload not in offered]:
            self._drop(piece, paid_bytes=0)
        for sha256 in [known for known in self._windows_end_s if known not in offered]:
            del self._windows_end_s[sha256]
        self.budgets.forget_payloads(offered)

    def _forget_sent(self, now_s: float) -> None:
        while self._sent_s:
            piece, sent_s = next(iter(self._sent_s.items()))
            if now_s - sent_s < self._bounds.again_s:
                return
            del self._sent_s[piece]


def _pieces(want: Want) -> Iterator[WantedPiece]:
    """Spread a want out: at most 512 parts and 4096 chunks, which `Want` bounds."""
    for part in want.map_parts:
        yield WantedPiece(want.payload, is_map=True, number=part)
    for block in want.blocks:
        first = block.block * limits.BLOCK_CHUNKS
        for bit in range(limits.BLOCK_CHUNKS):
            if block.missing >> bit & 1:
                yield WantedPiece(want.payload, is_map=False, number=first + bit)


def _exists(piece: WantedPiece, payload: Payload) -> bool:
    count = len(payload.map_parts) if piece.is_map else payload.chunk_count
    return piece.number < count


def _size_bytes(piece: WantedPiece, payload: Payload) -> int:
    if not piece.is_map:
        return payload.chunk_bytes(piece.number)
    first = piece.number * limits.MAP_PART_CHUNKS
    return 32 * min(limits.MAP_PART_CHUNKS, payload.chunk_count - first)
