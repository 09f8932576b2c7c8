"""Where the rows of a matrix begin, now and in the base, by where its elements were.

How long rows are does not say where they begin. If rows begin at the right places, now and there,
all elements of a new row are of one old row. Each two neighbours say at which places that holds
for both of them; at the place that suits the most, one pair is left, and between those a row ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.strides import Stride

Numbers = NDArray[np.int64]

_KNOWN_SHARE: Final = 0.25
"""The share of columns of which it must be known where they were."""

_ROWS_MAX: Final = 64
"""The most rows by which it is told."""

_SAYS_SHARE: Final = 0.5
"""The share of rows that must say where a column was: one that is new may be there by chance."""

_ALIKE_SHARE: Final = 0.85
"""The share of a row's known columns that must be where they were for a row to be seen there."""

_SUITS_SHARE: Final = 0.8
"""The share of neighbours that the place must suit, and of rows in which neighbours must agree."""


@dataclass(frozen=True, slots=True)
class RowStarts:
    """Where rows begin, and where their elements were.

    Attributes:
        stride: the lengths of rows.
        new: an element at which a row begins.
        old: where, in the units of origins, an old row begins; others a row's length apart.
        spare: by how much old rows may begin earlier: what is there was in none of the new rows.
        unknown: how many elements before a row's begin may be that row's as well as the last one's.
        places: how far into its old row each column was, in the units of origins, or -1.
        width: how far elements are apart in those units.
    """

    stride: Stride
    new: int
    old: int
    spare: int
    unknown: int
    places: Numbers
    width: int


def find_row_starts(
    origins: Numbers, window: tuple[int, int], low: int, stride: Stride, width: int
) -> RowStarts | None:
    """Find where rows begin; None where no place suits nearly all elements.

    Args:
        origins: where each element was, or -1, shape (n,).
        window: the first of some rows' elements, and the one after the last.
        low: the first element that may be the matrix's.
        stride: the length of rows.
        width: how far elements are apart in the base.
    """
    begin = window[0]
    count = min(_ROWS_MAX, (window[1] - begin) // stride.new)
    grid = origins[begin : begin + count * stride.new].reshape(count, stride.new)
    residues = _residues(grid, stride.old)
    known = np.flatnonzero(residues >= 0)
    if len(known) < max(2, _KNOWN_SHARE * stride.new):
        return None
    pairs = _Pairs.of(grid, residues, known, stride.old)
    first = _first_alike(origins[low : begin + stride.new], low - begin, residues, stride)
    found = pairs.best_start(int(np.searchsorted(known, first % stride.new)))
    if found is None:
        return None
    start, number = found
    old, before = int(pairs.starts[start]), int(pairs.starts[start - 1])
    new, last = int(known[(number + 1) % len(known)]), int(known[number])
    places = np.where(residues >= 0, (residues - old) % stride.old, -1)
    return RowStarts(
        stride,
        begin + new,
        old,
        spare=(old - before - 1) % stride.old // width * width,
        unknown=(new - last - 1) % stride.new,
        places=np.roll(places, -new),
        width=width,
    )


def _residues(grid: Numbers, old: int) -> Numbers:
    """How far into an old row each column was, counted from anywhere; -1 where few rows say so."""
    rest = np.where(grid >= 0, grid % old, old)
    known = (rest < old).sum(axis=0)
    middle = np.sort(rest, axis=0)[np.maximum(known - 1, 0) // 2, np.arange(grid.shape[1])]
    agree = ((rest == middle) & (rest < old)).sum(axis=0)
    return np.where((2 * agree > known) & (agree > _SAYS_SHARE * len(grid)), middle, -1)


def _first_alike(origins: Numbers, first: int, residues: Numbers, stride: Stride) -> int:
    """Give the first element from which on a row's length of them were where their columns were.

    Args:
        origins: from the first element on that may be the matrix's.
        first: which that is, counted from where the residues are.
        residues: how far into an old row each column was, counted from anywhere.
        stride: the lengths of rows.
    """
    expected = residues[(first + np.arange(len(origins))) % stride.new]
    is_alike = (expected >= 0) & (origins >= 0) & (origins % stride.old == expected)
    sums = np.concatenate(([0], is_alike.cumsum()))
    enough = _ALIKE_SHARE * np.count_nonzero(residues >= 0)
    is_row = sums[stride.new :] - sums[: -stride.new] >= enough
    found = np.flatnonzero(is_row & is_alike[: len(is_row)])
    return first + int(found[0]) if len(found) else 0


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Columns that are known, each with the next one; after the last comes the first of a row on.

    Attributes:
        starts: where old rows may begin, sorted: where some column was.
        ranks: which of those each column was at.
        steps: how many old rows further on the next column is, where rows begin at 0.
        agrees: in so many rows those steps are the same that they are taken for that.
    """

    starts: Numbers
    ranks: Numbers
    steps: Numbers
    agrees: NDArray[np.bool_]

    @classmethod
    def of(cls, grid: Numbers, residues: Numbers, known: Numbers, old: int) -> _Pairs:
        """Compare columns, of which two or more are known, in two rows or more."""
        here = grid[:-1, known]
        after = np.concatenate((grid[:-1, known[1:]], grid[1:, known[:1]]), axis=1)
        expected = residues[known]
        is_there = (here >= 0) & (after >= 0) & (here % old == expected)
        is_there &= after % old == np.roll(expected, -1)
        steps = np.where(is_there, after // old - here // old, np.iinfo(np.int64).max)
        counts = is_there.sum(axis=0)
        middle = np.sort(steps, axis=0)[np.maximum(counts - 1, 0) // 2, np.arange(len(known))]
        agree = (is_there & (steps == middle)).sum(axis=0)
        starts, ranks = np.unique(expected, return_inverse=True)
        agrees = (counts > 0) & (agree >= _SUITS_SHARE * counts)
        return cls(starts, ranks.ravel(), middle, agrees)

    def best_start(self, wished: int | None) -> tuple[int, int] | None:
        """Give which start suits most pairs, and the pair between which a row ends.

        Args:
            wished: the column with which rows begin, if that is as good as any.
        """
        after = np.roll(self.ranks, -1)
        low, high = np.minimum(self.ranks, after) + 1, np.maximum(self.ranks, after) + 1
        is_same = self.agrees & (self.steps == 0)
        is_back = self.agrees & (self.steps == 1) & (after < self.ranks)
        is_ahead = self.agrees & (self.steps == -1) & (after > self.ranks)
        is_between = is_back | is_ahead
        # For each start, how many pairs suit it: those it lies between, and those it does not.
        counts = np.zeros(len(self.starts) + 1, dtype=np.int64)
        for some, sign in ((is_between, 1), (is_same, -1)):
            np.add.at(counts, low[some], sign)
            np.add.at(counts, high[some], -sign)
        suits = counts.cumsum()[:-1] + is_same.sum()
        best = int(np.argmax(suits))
        if suits[best] < _SUITS_SHARE * len(self.ranks):
            return None
        if wished is not None and wished < len(self.ranks):
            start = int(self.ranks[wished])
            if suits[start] == suits[best]:
                best = start
        is_inside = (low <= best) & (best < high)
        ends = np.flatnonzero(~((is_between & is_inside) | (is_same & ~is_inside)))
        if not len(ends):
            return None
        unsure = ends[~self.agrees[ends]]
        return best, int(unsure[0] if len(unsure) else ends[0])
