"""Matrices in guessed arrays whose rows or columns came, went or moved, or which were turned.

An array that was found by its looks has no shape, and where columns moved no long stretch of it
lies in the base. But where each element lies in the base, or each few in a row, says how it came
there (`cell_index`), how long rows are (`strides`), where they begin (`row_starts`), and how many
there are (`row_reach`). As a matrix it is then told by the maps of tensors that a format tells of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.between_rows import ways_to_begin
from slotcast_publisher.delta.cell_index import CellIndex, elements_of
from slotcast_publisher.delta.guessed_turns import find_turned
from slotcast_publisher.delta.moved_samples import find_moved_parts
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.row_reach import Reach, find_reach
from slotcast_publisher.delta.row_starts import find_row_starts
from slotcast_publisher.delta.strides import BREAKS_MIN, breaks_in, find_stride
from slotcast_schemas.codecs.delta.elements import Bits
from slotcast_schemas.codecs.source import Source

_WINDOWS: Final = (32 * 1024, 4096)
"""The elements of an array by which the length of a row is told: long rows need many."""

_WINDOWS_MAX: Final = 32
"""The most places of an array that are looked at."""

Pair = tuple[TensorPlace, TensorPlace]
Numbers = NDArray[np.int64]


def find_matrices(
    base: Source, old: Sequence[TensorPlace], target: Source, new: Sequence[TensorPlace]
) -> list[Pair]:
    """Find matrices of the target whose rows or columns moved; each with its old one.

    Args:
        base: the old image.
        old: its guessed arrays of one kind, in order.
        target: the new image.
        new: its guessed arrays of that kind.
    """
    found: list[Pair] = []
    for part in find_moved_parts(base, old, target, new):
        elements = elements_of(target, part.place)
        origins = CellIndex(base, part.old, part.in_a_row).origins(elements)
        found += _Search(base, part.place, elements, origins, part.in_a_row).matrices()
    return found


class _Search:
    """The matrices of one array of the target, each told by some rows around where it breaks."""

    def __init__(
        self, base: Source, place: TensorPlace, elements: Bits, origins: Numbers, in_a_row: int
    ) -> None:
        self._base = base
        self._elements = elements
        self._place = place
        self._origins = origins
        self._width = place.kind.size_bytes(1)
        # Of elements that are known alone, those between that are not known are many.
        self._breaks = breaks_in(origins, self._width, with_gaps=in_a_row > 1)
        self._found: list[tuple[Reach, int, int]] = []
        self._windows = 0

    def matrices(self) -> list[Pair]:
        """Give each matrix with its old one."""
        whole = 0, len(self._origins)
        turned = find_turned(self._origins, self._width)
        if turned is None:
            self._search(*whole)
        else:
            self._take(turned, *whole)
        return [self._pair(*each) for each in self._found]

    def _search(self, low: int, high: int) -> None:
        """Look for matrices between two elements, around the middle of what breaks first."""
        breaks = self._breaks[slice(*np.searchsorted(self._breaks, (low, high)))]
        if len(breaks) < BREAKS_MIN or self._windows >= _WINDOWS_MAX:
            return
        self._windows += 1
        middle = int(breaks[len(breaks) // 2])
        found = next(
            filter(None, (self._around(middle, low, high, size) for size in _WINDOWS)), None
        )
        if found is None:
            # The halves may hold a matrix each, of different lengths.
            self._search(low, middle)
            self._search(middle, high)
            return
        self._take(found, low, high)

    def _take(self, found: tuple[Reach, int, int], low: int, high: int) -> None:
        """Keep a matrix, and look for others on both sides of it."""
        reach, length, _ = found
        self._found.append(found)
        self._search(low, reach.new)
        self._search(reach.new + reach.rows * length, high)

    def _around(self, middle: int, low: int, high: int, size: int) -> tuple[Reach, int, int] | None:
        begin = min(max(low, middle - size // 2), max(low, high - size))
        end = min(high, begin + size)
        breaks = self._breaks[slice(*np.searchsorted(self._breaks, (begin, end)))]
        stride = find_stride(self._origins[begin:end], breaks - begin, self._width)
        if stride is None:
            return None
        starts = find_row_starts(self._origins, (begin, end), low, stride, self._width)
        if starts is None:
            return None
        best: Reach | None = None
        arrays = self._base, self._elements, self._origins
        for each in ways_to_begin(*arrays, starts, low):
            reach = find_reach(self._origins, each, (low, high))
            reach = None if reach is None else self._inside(reach, stride.old, each.spare)
            if reach is not None and (best is None or reach.rows > best.rows):
                best = reach
        return None if best is None else (best, stride.new, stride.old)

    def _inside(self, reach: Reach, old_length: int, spare: int) -> Reach | None:
        """Give it with old rows that lie in the base to their ends, if they can."""
        too_far = reach.old + reach.old_rows * old_length - self._base.size_bytes
        if too_far <= 0:
            return reach
        earlier = -(-too_far // self._width) * self._width
        return replace(reach, old=reach.old - earlier) if earlier <= min(spare, reach.old) else None

    def _pair(self, reach: Reach, length: int, old_length: int) -> Pair:
        after = replace(
            self._place,
            name=f"matrix found at {self._place.offset + reach.new * self._width}",
            dims=(reach.rows, length),
            offset=self._place.offset + reach.new * self._width,
            size_bytes=reach.rows * length * self._width,
            is_guess=False,
        )
        before = replace(
            after,
            dims=(reach.old_rows, old_length // self._width),
            offset=reach.old,
            size_bytes=reach.old_rows * old_length,
        )
        return before, after
