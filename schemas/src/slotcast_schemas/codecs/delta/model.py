"""The adaptive statistics that both coders keep: how often each symbol came in each context.

The decoder must arrive at the very tables that the encoder used, so everything here is integer
arithmetic in a fixed order (docs/delta-format.md, section 7).
Tables change only after 256, 512, 1024 ... 65536 symbols, so that a vectorised coder can work on
many symbols at once (docs/adr/0011 has what that costs).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.symbols import CONTEXT_OF_ONE

FIRST_UPDATE: Final = 256
"""The number of symbols after which the tables change for the first time."""

UPDATE_MAX: Final = 65536
"""The most symbols between two changes of the tables."""

_STEP: Final = 16
"""What one symbol adds to its count, so that the first counts weigh less and less."""

_PEAK: Final = 32
"""The first count of the bit length that a context expects."""

_FALL: Final = np.array([32, 24, 12, 5, 2, 1])
"""The first counts of the bit lengths above the expected one, falling quickly; int64, shape
(6,)."""

_TOTAL_MAX: Final = 1 << 22
"""The sum of a context's counts past which they are halved."""


def first_counts(contexts: NDArray[np.int64], symbols: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give what each context expects before it has seen anything; int64, shape (contexts, symbols).

    The context tells the mean magnitude: lower bit lengths halve with each octave below it, higher
    ones vanish soon above it, and where the mean is under 1 a difference is as rare as that.
    """
    expected = contexts[:, None] - CONTEXT_OF_ONE
    length = np.where(symbols < 3, np.minimum(symbols, 1), (symbols - 3) // 4 + 2)[None, :]
    above = 2 * length - 1 - expected
    rising = _PEAK >> np.clip(-above // 2, 0, 5)
    falling = _FALL[np.clip(above, 0, len(_FALL) - 1)]
    counts = np.where(above < 0, rising, falling)
    # Means under 1: nearly all are zero, and what is not is one up or one down.
    rarity = np.clip(-expected // 2, 0, 10)
    counts = np.where((length == 1) & (rarity > 0), _PEAK, counts)
    counts = np.where((length > 1) & (rarity > 0), 1, counts)
    zeros = np.where(rarity > 0, 2 * _PEAK << rarity, counts)
    return np.where(length == 0, zeros, counts).astype(np.int64)


class FrequencyModel:
    """Counts and frequency tables for some contexts and some symbols.

    Attributes:
        precision_bits: frequencies of one context add up to 2**precision_bits.
        frequency: uint32, shape (contexts * symbols,), at least 1 each.
        start: uint32, same shape, sum of the frequencies before.

    Args:
        used_contexts: bool, shape (contexts there may be,): which of them occur.
        used_symbols: bool, shape (symbols there may be,): which of them occur.
        precision_bits: frequencies of one context add up to 2**precision_bits.
    """

    def __init__(
        self,
        used_contexts: NDArray[np.bool_],
        used_symbols: NDArray[np.bool_],
        precision_bits: int,
    ) -> None:
        contexts, symbols = np.flatnonzero(used_contexts), np.flatnonzero(used_symbols)
        self._contexts = len(contexts)
        self.symbols = len(symbols)
        self.precision_bits = precision_bits
        self._counts = first_counts(contexts, symbols)
        self._pending = np.zeros(self._counts.size, dtype=np.int64)
        self._interval = FIRST_UPDATE
        self.until_update = FIRST_UPDATE
        self._rebuild()

    def note(self, entries: NDArray[np.integer[Any]]) -> bool:
        """Count what was coded; at most `until_update` of it. True when the tables changed.

        Args:
            entries: place of each in the tables: its context's index times the number of symbols,
                and its symbol's index; shape (n,).
        """
        self._pending += np.bincount(entries, minlength=len(self._pending))
        self.until_update -= len(entries)
        if self.until_update > 0:
            return False
        self._interval = min(2 * self._interval, UPDATE_MAX)
        self.until_update = self._interval
        self._counts += _STEP * self._pending.reshape(self._counts.shape)
        self._pending[:] = 0
        crowded = self._counts.sum(axis=1) > _TOTAL_MAX
        self._counts[crowded] = (self._counts[crowded] + 1) >> 1
        self._rebuild()
        return True

    def _rebuild(self) -> None:
        """Frequencies in proportion to counts, none zero; the largest takes what is left."""
        scale = 1 << self.precision_bits
        totals = self._counts.sum(axis=1, keepdims=True)
        frequency = 1 + self._counts * (scale - self.symbols) // totals
        rows = np.arange(self._contexts)
        frequency[rows, self._counts.argmax(axis=1)] += scale - frequency.sum(axis=1)
        start = np.cumsum(frequency, axis=1) - frequency
        self.frequency = frequency.astype(np.uint32).ravel()
        self.start = start.astype(np.uint32).ravel()

    def lookup(self) -> NDArray[np.uint8]:
        """Give the symbol's index of each context's slots; shape (contexts << precision_bits,)."""
        indices = np.tile(np.arange(self.symbols, dtype=np.uint8), self._contexts)
        return np.repeat(indices, self.frequency)
