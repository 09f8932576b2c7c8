"""Decides what to send again to devices that miss something. No I/O; the clock is an argument.

A want is wishes for *pieces*: chunks and parts of chunk maps. Wishes are collected for a moment
(a jittered window), so a thousand devices that miss the same block cause one answer; a piece that
was just sent is not sent again before `again_s`. Whoever asks, the work is bounded: pieces that
wait, pieces of one payload, what one device name may add, and bytes per second all have a ceiling.
A device's name in a want is only as true as the broker's access rules make it, so its budget
keeps faulty devices in check; what keeps attackers in check is the rate.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from slotcast_schemas import limits
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.offer import Payload

RATE_BYTES_PER_S: Final = 4_000_000.0
"""The bytes a second that devices are answered with at most, unless an option gives another
rate."""

DEVICES_MAX: Final = 10_000
"""The most budgets that are remembered; the one that was used longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class WantedPiece:
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
        device_pieces: new pieces that one device may ask for at once...
        device_pieces_per_s: ... and how fast it may ask for more.
    """

    window_s: tuple[float, float] = (0.2, 0.5)
    again_s: float = 2.0
    rate_bytes_per_s: float = RATE_BYTES_PER_S
    waiting_max: int = 16_384
    payload_waiting_max: int = 8_192
    device_pieces: int = 2_048
    device_pieces_per_s: float = 128.0


@dataclass(slots=True)
class WantCounts:
    """What happened, in pieces but for `wants` and `refused_wants`."""

    wants: int = 0
    refused_wants: int = 0
    asked: int = 0
    joined: int = 0
    """Asked for while they waited already: the answer is shared."""
    refused: int = 0
    sent: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class _Queue:
    """The pieces of one payload that wait."""

    payload: Payload
    heap: list[tuple[float, int, WantedPiece]] = field(default_factory=list)
    waiting: set[WantedPiece] = field(default_factory=set)
    window_ends_s: float = 0.0


class Answers:
    """Collects wants, and gives the pieces that are due.

    Args:
        bounds: how much may be done.
        rng: jitter of the window.
    """

    def __init__(self, bounds: WantBounds, rng: random.Random) -> None:
        self.counts = WantCounts()
        self._bounds = bounds
        self._rng = rng
        self._order = itertools.count()
        self._queues: dict[bytes, _Queue] = {}
        self._turn: deque[bytes] = deque()
        self._sent_s: OrderedDict[WantedPiece, float] = OrderedDict()
        self._devices: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._waiting = 0
        self._bytes_owed = 0.0  # below zero: may be sent at once
        self._paid_s: float | None = None

    @property
    def waiting(self) -> int:
        """Pieces that wait to be sent."""
        return self._waiting

    def deadline_s(self) -> float | None:
        """Say when `due` will have something, or None."""
        dues = [queue.heap[0][0] for queue in self._queues.values() if queue.heap]
        if not dues:
            return None
        paid_s = (self._paid_s or 0.0) + max(0.0, self._bytes_owed / self._bounds.rate_bytes_per_s)
        return max(min(dues), paid_s)

    def want(self, want: Want, payload: Payload, now_s: float) -> int:
        """Take a want for a payload that is offered; gives how many pieces are new.

        Pieces that the payload does not have, and those past a bound, are refused and counted.

        Args:
            want: what a device asked for.
            payload: the payload that it asked for pieces of.
            now_s: the clock, in seconds.
        """
        self.counts.wants += 1
        new = 0
        tokens = self._tokens(want.device, now_s)
        for piece in _pieces(want):
            self.counts.asked += 1
            queue = self._queues.get(payload.sha256)
            if queue is not None and piece in queue.waiting:
                self.counts.joined += 1
            elif new < tokens and _exists(piece, payload) and self._has_room(queue):
                self._add(piece, payload, now_s)
                new += 1
            else:
                self.counts.refused += 1
        self._devices[want.device] = (tokens - new, now_s)
        return new

    def due(self, now_s: float, room: int) -> list[tuple[WantedPiece, Payload]]:
        """Give up to `room` pieces to send now, taking turns between payloads."""
        self._pay(now_s)
        self._forget(now_s)
        found: list[tuple[WantedPiece, Payload]] = []
        idle = 0
        while self._turn and idle < len(self._turn) and len(found) < room and self._bytes_owed <= 0:
            sha256 = self._turn[0]
            self._turn.rotate(-1)
            piece = self._pop(self._queues[sha256], now_s)
            if piece is None:
                idle += 1
                continue
            idle = 0
            found.append((piece, self._queues[sha256].payload))
            self._note_sent(piece, found[-1][1], now_s)
            self._drop_if_empty(sha256)
        return found

    def forget_payloads(self, offered: set[bytes]) -> None:
        """Let go of what waits for payloads that are not offered any more."""
        for sha256 in [known for known in self._queues if known not in offered]:
            self._waiting -= len(self._queues[sha256].waiting)
            self._queues[sha256].waiting.clear()
            self._drop_if_empty(sha256)

    def _tokens(self, device: str, now_s: float) -> float:
        """Give a device's budget, filled up since it last asked; the newest is kept longest."""
        full = float(self._bounds.device_pieces)
        tokens, then_s = self._devices.pop(device, (full, now_s))
        while len(self._devices) >= DEVICES_MAX:
            self._devices.popitem(last=False)
        return min(full, tokens + (now_s - then_s) * self._bounds.device_pieces_per_s)

    def _has_room(self, queue: _Queue | None) -> bool:
        of_payload = 0 if queue is None else len(queue.waiting)
        return (
            of_payload < self._bounds.payload_waiting_max
            and self._waiting < self._bounds.waiting_max
        )

    def _add(self, piece: WantedPiece, payload: Payload, now_s: float) -> None:
        queue = self._queues.get(payload.sha256)
        if queue is None:
            queue = self._queues[payload.sha256] = _Queue(payload)
            self._turn.append(payload.sha256)
        if queue.window_ends_s <= now_s:
            queue.window_ends_s = now_s + self._rng.uniform(*self._bounds.window_s)
        sent_s = self._sent_s.get(piece)
        again_s = now_s if sent_s is None else sent_s + self._bounds.again_s
        due_s = max(queue.window_ends_s, again_s)
        heapq.heappush(queue.heap, (due_s, next(self._order), piece))
        queue.waiting.add(piece)
        self._waiting += 1

    def _pop(self, queue: _Queue, now_s: float) -> WantedPiece | None:
        if not queue.heap or queue.heap[0][0] > now_s:
            return None
        piece = heapq.heappop(queue.heap)[2]
        queue.waiting.discard(piece)
        self._waiting -= 1
        return piece

    def _note_sent(self, piece: WantedPiece, payload: Payload, now_s: float) -> None:
        size_bytes = _size_bytes(piece, payload)
        self.counts.sent += 1
        self.counts.sent_bytes += size_bytes
        self._bytes_owed += size_bytes
        self._sent_s.pop(piece, None)
        self._sent_s[piece] = now_s

    def _drop_if_empty(self, sha256: bytes) -> None:
        if not self._queues[sha256].waiting:
            del self._queues[sha256]
            self._turn.remove(sha256)

    def _pay(self, now_s: float) -> None:
        """Work off what was sent; at most half a second's worth may be saved up."""
        rate = self._bounds.rate_bytes_per_s
        elapsed_s = 1.0 if self._paid_s is None else now_s - self._paid_s
        self._paid_s = now_s
        self._bytes_owed = max(-rate / 2, self._bytes_owed - elapsed_s * rate)

    def _forget(self, now_s: float) -> None:
        while self._sent_s:
            piece, sent_s = next(iter(self._sent_s.items()))
            if now_s - sent_s < self._bounds.again_s:
                return
            del self._sent_s[piece]


def _pieces(want: Want) -> list[WantedPiece]:
    """Spread a want out: at most 512 parts and 4096 chunks, which `Want` bounds."""
    pieces = [WantedPiece(want.payload, is_map=True, number=part) for part in want.map_parts]
    for block in want.blocks:
        first = block.block * limits.BLOCK_CHUNKS
        pieces += [
            WantedPiece(want.payload, is_map=False, number=first + bit)
            for bit in range(limits.BLOCK_CHUNKS)
            if block.missing >> bit & 1
        ]
    return pieces


def _exists(piece: WantedPiece, payload: Payload) -> bool:
    count = len(payload.map_parts) if piece.is_map else payload.chunk_count
    return piece.number < count


def _size_bytes(piece: WantedPiece, payload: Payload) -> int:
    if not piece.is_map:
        return payload.chunk_bytes(piece.number)
    first = piece.number * limits.MAP_PART_CHUNKS
    return 32 * min(limits.MAP_PART_CHUNKS, payload.chunk_count - first)
