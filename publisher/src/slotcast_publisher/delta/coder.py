"""The encoder of one section's symbols: what `slotcast_schemas.codecs.delta.rans` decodes.

rANS runs backwards, so symbols are collected first, the adaptive tables are replayed forwards over
them, and then the words are made from the last symbol to the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.model import FrequencyModel
from slotcast_schemas.codecs.delta.rans import STATE_START
from slotcast_schemas.codecs.delta.segments import (
    CONTEXT_COUNT,
    SYMBOL_COUNT,
)
from slotcast_schemas.codecs.delta.symbols import PLAIN_BITS

_LANE_SHARE: Final = 0.004
"""The share of the coded bytes that the lanes' unused first states may cost: 2 bytes a lane."""

_LANE_SHARE_MAX: Final = 0.01
"""The same share at most, where many symbols make few bytes and more lanes save many steps."""

_STEPS_ENOUGH: Final = 2048
"""The number of steps for a section at which more lanes no longer pay; measured on a 90 MB pair, of
whose 22 million symbols half were in six tables."""

_LANES_LOG2_MAX: Final = 11
"""The most lanes, as a power of two."""


class BitWriter:
    """Numbers of given widths, one after another, lowest bit first, in 32-bit words."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._carry = 0
        self._carry_bits = 0

    def put(self, symbols: NDArray[np.uint8], values: NDArray[np.uint32]) -> None:
        """Append the plain bits of each symbol."""
        widths = PLAIN_BITS[symbols]
        ends = np.cumsum(widths, dtype=np.int64) + self._carry_bits
        total = int(ends[-1]) if len(ends) else self._carry_bits
        if total == self._carry_bits:
            return
        starts = ends - widths
        shifted = values.astype(np.uint64) << (starts & 31).astype(np.uint64)
        index = starts >> 5
        # Sums of numbers that share no bit are exact in float64 below 2**53, and bincount is fast.
        count = (total >> 5) + 2
        low = np.bincount(index, weights=shifted & np.uint64(0xFFFFFFFF), minlength=count)
        high = np.bincount(index + 1, weights=shifted >> np.uint64(32), minlength=count)
        words = (low + high[:count] if len(high) == count else low + high).astype(np.uint64)
        words[0] += np.uint64(self._carry)
        whole = total >> 5
        self._parts.append(words[:whole].astype("<u4").tobytes())
        self._carry = int(words[whole])
        self._carry_bits = total & 31

    def finish(self) -> bytes:
        """Give all bits, the last word filled up with zeros."""
        if self._carry_bits:
            self._parts.append(self._carry.to_bytes(4, "little"))
        return b"".join(self._parts)


@dataclass(frozen=True, slots=True)
class CodedSymbols:
    """A section's symbols, coded."""

    words: bytes
    plain: bytes
    lanes_log2: int
    precision_bits: int
    used_contexts: NDArray[np.bool_]
    used_symbols: NDArray[np.bool_]


@dataclass(slots=True)
class SymbolCollector:
    """Collects a section's strips in the order in which the decoder will ask for them."""

    contexts: list[NDArray[np.uint8]] = field(default_factory=list)
    symbols: list[NDArray[np.uint8]] = field(default_factory=list)
    _plain: BitWriter = field(default_factory=BitWriter)

    def add(
        self, contexts: NDArray[np.uint8], symbols: NDArray[np.uint8], plain: NDArray[np.uint32]
    ) -> None:
        """Take one strip of elements; the decoder decodes just these in one call.

        Args:
            contexts: uint8, shape (n,).
            symbols: uint8, shape (n,).
            plain: uint32, shape (n,): the bits that are stored as they are.
        """
        self.contexts.append(contexts)
        self.symbols.append(symbols)
        self._plain.put(symbols, plain)

    def finish(self) -> CodedSymbols:
        """Code all that was collected."""
        used_contexts = np.zeros(CONTEXT_COUNT, dtype=np.bool_)
        used_symbols = np.zeros(SYMBOL_COUNT, dtype=np.bool_)
        if not self.symbols:
            return CodedSymbols(b"", b"", 0, 12, used_contexts, used_symbols)
        joint = self._count()
        used_contexts = joint.sum(axis=1) > 0
        used_symbols = joint.sum(axis=0) > 0
        coded_bytes = _entropy_bits(joint) / 8
        lanes_log2 = choose_lanes_log2(coded_bytes, int(joint.sum()))
        precision_bits = 12 if coded_bytes * 8 > 2 * joint.sum() else 14
        self._make_indices(used_contexts, used_symbols)
        model = FrequencyModel(used_contexts, used_symbols, precision_bits)
        words = _encode(model, self.contexts, self.symbols, 1 << lanes_log2)
        plain = self._plain.finish()
        return CodedSymbols(words, plain, lanes_log2, precision_bits, used_contexts, used_symbols)

    def _count(self) -> NDArray[np.int64]:
        joint = np.zeros(CONTEXT_COUNT * SYMBOL_COUNT, dtype=np.int64)
        for contexts, symbols in zip(self.contexts, self.symbols, strict=True):
            pairs = np.multiply(contexts, SYMBOL_COUNT, dtype=np.int32) + symbols
            joint += np.bincount(pairs, minlength=len(joint))
        return joint.reshape(CONTEXT_COUNT, SYMBOL_COUNT)

    def _make_indices(
        self, used_contexts: NDArray[np.bool_], used_symbols: NDArray[np.bool_]
    ) -> None:
        context_index = (np.cumsum(used_contexts) - 1).astype(np.uint8)
        symbol_index = (np.cumsum(used_symbols) - 1).astype(np.uint8)
        # One strip at a time: two copies of a whole section would be felt in the encoder's peak.
        for strip in range(len(self.contexts)):
            self.contexts[strip] = context_index[self.contexts[strip]]
            self.symbols[strip] = symbol_index[self.symbols[strip]]


def choose_lanes_log2(coded_bytes: float, symbols: int) -> int:
    """Choose as many lanes as a small share of the bytes allows: more lanes decode faster.

    The decoder takes one step for a symbol of each lane, whose cost hardly depends on the lanes. So
    where many symbols make few bytes, as in a table of which most rows stay, a larger share pays.
    """
    lanes = max(16.0, coded_bytes * _LANE_SHARE / 2)
    lanes = max(lanes, min(symbols / _STEPS_ENOUGH, coded_bytes * _LANE_SHARE_MAX / 2))
    return min(_LANES_LOG2_MAX, round(math.log2(lanes)))


def _entropy_bits(joint: NDArray[np.int64]) -> float:
    """Bits of symbols given their contexts, with ideal tables."""
    totals = np.broadcast_to(joint.sum(axis=1, keepdims=True), joint.shape)
    seen = joint > 0
    return float(-(joint[seen] * np.log2(joint[seen] / totals[seen])).sum())


def _encode(
    model: FrequencyModel,
    contexts: list[NDArray[np.uint8]],
    symbols: list[NDArray[np.uint8]],
    lanes: int,
) -> bytes:
    """The words of all strips; the lists are emptied as soon as they are no longer needed."""
    runs = _replay(model, contexts, symbols)
    contexts.clear()
    symbols.clear()
    states = np.full(lanes, STATE_START, dtype=np.uint32)
    words: list[NDArray[np.uint16]] = []
    for frequency, start in reversed(runs):
        last = (len(frequency) - 1) // lanes * lanes
        for first in range(last, -1, -lanes):
            step = slice(first, first + lanes)
            words.append(push(states, frequency[step], start[step], model.precision_bits))
    heads = [(states >> np.uint32(16)).astype("<u2"), states.astype("<u2")]
    return b"".join(part.astype("<u2").tobytes() for part in (*heads, *reversed(words)))


def _replay(
    model: FrequencyModel, contexts: list[NDArray[np.uint8]], symbols: list[NDArray[np.uint8]]
) -> list[tuple[NDArray[np.uint16], NDArray[np.uint16]]]:
    """Frequency and start of each symbol in each run, as the decoder's tables will have them."""
    runs = []
    for strip_contexts, strip_symbols in zip(contexts, symbols, strict=True):
        done = 0
        while done < len(strip_symbols):
            end = min(len(strip_symbols), done + model.until_update)
            rows = np.multiply(strip_contexts[done:end], model.symbols, dtype=np.int32)
            entry = rows + strip_symbols[done:end]
            frequency = model.frequency[entry].astype(np.uint16)
            runs.append((frequency, model.start[entry].astype(np.uint16)))
            model.note(entry)
            done = end
    return runs


def push(
    states: NDArray[np.uint32],
    frequency: NDArray[np.uint16],
    start: NDArray[np.uint16],
    precision_bits: int,
) -> NDArray[np.uint16]:
    """Code one symbol of each lane; give the words that the decoder reads after it, shape (n,).

    Args:
        states: one a lane, changed in place.
        frequency: of each lane's symbol, shape (n,); n is at most the number of lanes.
        start: the sum of the frequencies before it, same shape.
        precision_bits: frequencies add up to 2**precision_bits.
    """
    lanes = states[: len(frequency)]
    wide = frequency.astype(np.uint32)
    # Full when states >= frequency << (32 - precision); shifted right so that it fits 32 bits.
    (full,) = ((lanes >> np.uint32(32 - precision_bits)) >= wide).nonzero()
    large = lanes[full]
    lanes[full] = large >> np.uint32(16)
    # The quotient shifted up, plus the remainder, plus the start.
    steps = lanes // wide
    steps *= np.uint32(1 << precision_bits) - wide
    lanes += steps
    lanes += start
    return large.astype(np.uint16)
