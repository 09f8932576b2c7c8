"""The encoder of bytes by tables: what `slotcast_schemas.codecs.delta.tables` decodes.

Decides which bytes share a table. rANS runs backwards, so runs are collected first, the adaptive
tables are replayed forwards over them, and the words are made from the last symbol to the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.coder import choose_lanes_log2, push
from slotcast_schemas.codecs.delta.rans import STATE_START
from slotcast_schemas.codecs.delta.tables import TABLES_MAX, ByteTables

Run = tuple[int, NDArray[np.uint8]]
"""A table, and what the decoder decodes with it in one call; uint8, shape (n,)."""

_NEW_TABLE_BITS: Final = 128.0
"""The bits that a table costs beside what it has to learn: its flags in the description."""

_LEARNT_BITS: Final = 8.0
"""The bits that learning one byte's frequency costs, about."""

_CENTRE: Final = 128
"""Where the most frequent byte is moved to, so that tensors of other scales share a table."""

_PRECISION_BITS: Final = 14
"""Fine enough that 255 rare bytes take little from the frequent ones."""


@dataclass(slots=True)
class TablePool:
    """The tables of a section, and what each has coded so far."""

    _counts: list[NDArray[np.int64]] = field(default_factory=list)

    def place(self, counts: NDArray[np.int64], *, may_shift: bool) -> tuple[int, int]:
        """Choose a table for bytes that come so often, an old or a new one.

        Args:
            counts: of each byte, shape (256,).
            may_shift: the bytes may be moved, modulo 256, by what is given beside the table.

        Returns:
            The table, and what is taken from each byte before it is coded.
        """
        shift = (int(counts.argmax()) - _CENTRE) % 256 if may_shift else 0
        moved = np.roll(counts, -shift)
        costs = [_bits(old + moved) - _bits(old) for old in self._counts]
        if len(costs) < TABLES_MAX:
            costs.append(_bits(moved) + _NEW_TABLE_BITS)
        table = int(np.argmin(costs))
        if table == len(self._counts):
            self._counts.append(moved.astype(np.int64))
        else:
            self._counts[table] = self._counts[table] + moved
        return table, shift

    def used(self) -> NDArray[np.bool_]:
        """Say which bytes each table codes; bool, shape (tables, 256)."""
        return np.array(self._counts, dtype=np.int64).reshape(-1, 256) > 0


def _bits(counts: NDArray[np.int64]) -> float:
    """Bits of so many bytes in a table of their own, with what it costs to learn."""
    seen = counts[counts > 0].astype(np.float64)
    return float(-(seen * np.log2(seen / seen.sum())).sum() + _LEARNT_BITS * len(seen))


@dataclass(frozen=True, slots=True)
class CodedRuns:
    """A section's coded bytes."""

    words: bytes
    lanes_log2: int
    precision_bits: int


def code_runs(used: NDArray[np.bool_], runs: Sequence[Run]) -> CodedRuns:
    """Code runs of bytes, in the order in which the decoder asks for them.

    Args:
        used: bool, shape (tables, 256): the bytes of each table.
        runs: each coded with one table.
    """
    symbols = sum(len(values) for _, values in runs)
    if not symbols:
        return CodedRuns(b"", 0, _PRECISION_BITS)
    counts = np.zeros(used.shape, dtype=np.int64)
    for table, values in runs:
        counts[table] += np.bincount(values, minlength=256)
    coded_bytes = sum(_bits(each) for each in counts) / 8
    lanes_log2 = choose_lanes_log2(coded_bytes, symbols)
    tables = ByteTables(used, _PRECISION_BITS)
    return CodedRuns(_words(tables, runs, 1 << lanes_log2), lanes_log2, _PRECISION_BITS)


def _words(tables: ByteTables, runs: Sequence[Run], lanes: int) -> bytes:
    replayed = _replay(tables, runs)
    states = np.full(lanes, STATE_START, dtype=np.uint32)
    words: list[NDArray[np.uint16]] = []
    for frequency, start in reversed(replayed):
        last = (len(frequency) - 1) // lanes * lanes
        for first in range(last, -1, -lanes):
            step = slice(first, first + lanes)
            words.append(push(states, frequency[step], start[step], tables.precision_bits))
    heads = [(states >> np.uint32(16)).astype("<u2"), states.astype("<u2")]
    return b"".join(part.astype("<u2").tobytes() for part in (*heads, *reversed(words)))


def _replay(
    tables: ByteTables, runs: Sequence[Run]
) -> list[tuple[NDArray[np.uint16], NDArray[np.uint16]]]:
    """Frequency and start of each symbol in each run, as the decoder's tables will have them."""
    replayed = []
    for table, values in runs:
        done = 0
        while done < len(values):
            part = values[done : done + tables.until_update[table]]
            frequency = tables.frequency[table].astype(np.uint16).take(part)
            replayed.append((frequency, tables.start[table].astype(np.uint16).take(part)))
            tables.note(table, part)
            done += len(part)
    return replayed
