"""Adaptive tables of bytes, and the decoder of what was coded with them: one table at a time.

The coder of weights without an old self (docs/weights-format.md, section 5). It is the interleaved
rANS of `rans`, with the statistics' rhythm of `model`; but a run of symbols shares one table, which
is known before the run. So a slot of the table gives a symbol's frequency and its offset at once,
and the loop over lanes needs no context and no symbol.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.model import FIRST_UPDATE, UPDATE_MAX
from slotcast_schemas.codecs.delta.rans import Lanes, WordReader

TABLES_MAX: Final = 64
"""The most tables of one section."""

_STEP: Final = 16
"""What one symbol adds to its count."""

_FIRST_COUNT: Final = 8
"""The first count of each symbol that a table has."""

_TOTAL_MAX: Final = 1 << 22
"""The sum of a table's counts past which they are halved."""


class ByteTables:
    """How often each byte came in each table, and the frequencies that follow from it.

    A table changes after 256, then 512 and so on up to 65,536 more of its own bytes, and from then
    on after every 65,536; so a table that is used late learns as fast as the first one.

    Attributes:
        precision_bits: frequencies of one table add up to 2**precision_bits.
        frequency: int64, shape (tables, 256); 0 for a byte that the table has not.
        start: int64, same shape: the sum of the frequencies before.
        until_update: by table, how many more bytes there are until its frequencies change.

    Args:
        used: bool, shape (tables, 256): the bytes of each table, at least one.
        precision_bits: at least 8, so that every byte of a table has a slot.
    """

    def __init__(self, used: NDArray[np.bool_], precision_bits: int) -> None:
        self.precision_bits = precision_bits
        self._used = used.astype(np.int64)
        self._counts = self._used * _FIRST_COUNT
        self._pending = np.zeros_like(self._counts)
        self._intervals = [FIRST_UPDATE] * len(used)
        self.until_update = [FIRST_UPDATE] * len(used)
        self.frequency = np.zeros_like(self._counts)
        self.start = np.zeros_like(self._counts)
        for table in range(len(used)):
            self._rebuild(table)

    def note(self, table: int, symbols: NDArray[np.uint8]) -> bool:
        """Count what was coded with a table, at most `until_update` of it; True when it changed.

        Args:
            table: which one.
            symbols: uint8, shape (n,).
        """
        self._pending[table] += np.bincount(symbols, minlength=256)
        self.until_update[table] -= len(symbols)
        if self.until_update[table] > 0:
            return False
        self._intervals[table] = min(2 * self._intervals[table], UPDATE_MAX)
        self.until_update[table] = self._intervals[table]
        counts = self._counts[table]
        counts += _STEP * self._pending[table]
        self._pending[table] = 0
        if counts.sum() > _TOTAL_MAX:
            counts += 1
            counts >>= 1
            counts *= self._used[table]
        self._rebuild(table)
        return True

    def _rebuild(self, table: int) -> None:
        """Frequencies in proportion to counts, none of a used one zero; the largest takes the rest.

        A byte that the table has not keeps a frequency of zero: no payload can make it come.
        """
        scale = 1 << self.precision_bits
        used, counts = self._used[table], self._counts[table]
        frequency = used + counts * (scale - used.sum()) // counts.sum()
        frequency[counts.argmax()] += scale - frequency.sum()
        self.frequency[table] = frequency
        self.start[table] = np.cumsum(frequency) - frequency


class _Slots:
    """One table by its slots: whose symbol each is, its frequency, and its place in the symbol."""

    def __init__(self, tables: ByteTables, table: int) -> None:
        frequency = tables.frequency[table]
        self.symbol = np.repeat(np.arange(256, dtype=np.uint8), frequency)
        self.frequency = np.repeat(frequency, frequency)
        self.place = np.arange(len(self.symbol)) - np.repeat(tables.start[table], frequency)


class TableDecoder:
    """Decodes one section's coded bytes.

    Words are taken for a run of symbols at a time, as many as it can use at most, and what it did
    not use is given back; so memory is bounded by a run instead of by the section.

    Args:
        tables: the frequencies, as they were when coding began.
        lanes: how many states take turns, one symbol each.
        words: the states' first values (all high halves, then all low ones), and what follows.
    """

    def __init__(self, tables: ByteTables, lanes: int, words: WordReader) -> None:
        self._tables = tables
        self._words = words
        self._slots: dict[int, _Slots] = {}
        self._lanes = Lanes(lanes, words, np.int64)

    def decode(self, table: int, count: int) -> NDArray[np.uint8]:
        """Decode the next `count` bytes, coded with a table; uint8, shape (count,).

        Raises:
            PayloadCorrupt: the words ended too early.
        """
        out = np.empty(count, dtype=np.uint8)
        done = 0
        while done < count:
            end = min(count, done + self._tables.until_update[table])
            self._run(table, out[done:end])
            done = end
        return out

    def _run(self, table: int, out: NDArray[np.uint8]) -> None:
        """Decode up to the table's next update, at most 65,536 bytes."""
        slots = self._slots.get(table)
        if slots is None:
            slots = self._slots[table] = _Slots(self._tables, table)
        words = self._words.take(len(out))
        looked_up = np.empty(len(out), dtype=np.intp)
        used = 0
        lanes = len(self._lanes.states)
        for start in range(0, len(out), lanes):
            used = self._step(slots, looked_up[start : start + lanes], words, used)
        self._words.give_back(len(words) - used)
        slots.symbol.take(looked_up, out=out, mode="clip")
        if self._tables.note(table, out):
            del self._slots[table]

    def _step(
        self, slots: _Slots, looked_up: NDArray[np.intp], words: NDArray[np.uint16], used: int
    ) -> int:
        """One symbol of each lane; fills in its slot, returns how many words are used now."""
        bits = self._tables.precision_bits
        states = self._lanes.states[: len(looked_up)]
        np.bitwise_and(states, (1 << bits) - 1, out=looked_up)
        states >>= bits
        states *= slots.frequency.take(looked_up)
        states += slots.place.take(looked_up)
        return self._lanes.feed(states, words, used)

    def finish(self) -> None:
        """Check that every lane ended where the encoder began; raises as `Lanes.finish`."""
        self._lanes.finish()
