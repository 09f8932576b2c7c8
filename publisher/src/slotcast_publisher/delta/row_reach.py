"""How far a matrix reaches, now and in the base, once it is known where its rows begin.

A few elements of each row say whether it is the matrix's, and which old row it was. Rows that came
new may lie between; the first row and the last are looked at closely, for what is before and
behind may look like most of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.row_starts import RowStarts

Numbers = NDArray[np.int64]

_CHECKED: Final = 16
"""The elements of each row that are looked at."""

_KNOWN_SHARE: Final = 0.4
"""The share of them of which it must be known where they were."""

_IS_ROW: Final = 0.6
"""The share of them that must be from one old row."""

_IS_WHOLE_ROW: Final = 0.9
"""The share of the elements of the first row, and of the last, that must be."""

_ROWS_AT_ONCE: Final = 1 << 13
"""The rows that are looked at together."""

_GAP_MAX: Final = 256
"""The most rows one after another that are new."""

_ROWS_MIN: Final = 4
"""The least rows of a matrix."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The rows of a matrix: where the first begins, how many there are, and those of the old."""

    new: int
    rows: int
    old: int
    old_rows: int


def find_reach(origins: Numbers, starts: RowStarts, bounds: tuple[int, int]) -> Reach | None:
    """Find the rows around the one that is known; None where too few are like it.

    Args:
        origins: where each element of an array was, or -1, shape (n,).
        starts: how rows lie.
        bounds: the first element that the matrix may have, and the first that it may not.
    """
    length, anchor = starts.stride.new, starts.new
    before, after = (anchor - bounds[0]) // length, (bounds[1] - anchor) // length
    checked = [_some(each) for each in _telling_columns(starts)]
    first = anchor - before * length
    numbers = np.full(before + after, -1, dtype=np.int64)
    for row in range(0, before + after, _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, before + after - row)
        at = first + (row + np.arange(count)) * length
        numbers[row : row + count] = _old_rows(origins, at, starts, checked, _IS_ROW)
    low, high = _around(np.flatnonzero(numbers >= 0), before)
    while low < high and not _is_whole(origins, starts, first + low * length):
        low += 1
    while low < high and not _is_whole(origins, starts, first + (high - 1) * length):
        high -= 1
    if high - low < _ROWS_MIN:
        return None
    there = numbers[low:high]
    there = there[there >= 0]
    lowest, highest = int(there.min()), int(there.max())
    old = lowest * starts.stride.old + starts.old % starts.stride.old
    return Reach(first + low * length, high - low, old, highest - lowest + 1)


def _telling_columns(starts: RowStarts) -> list[Numbers]:
    """Give the columns that are known, those of them that do not follow the last, and the others.

    Behind the matrix all elements may be where they were, and so would most of its columns be.
    """
    known = np.flatnonzero(starts.places >= 0)
    follows = np.diff(starts.places[known]) == np.diff(known) * starts.width
    return [known, known[1:][~follows], np.flatnonzero(starts.places < 0)]


def _some(columns: Numbers) -> Numbers:
    count = min(len(columns), _CHECKED)
    some: Numbers = columns[np.linspace(0, len(columns) - 1, count).astype(int)]
    return some


def _old_rows(
    origins: Numbers, at: Numbers, starts: RowStarts, columns: list[Numbers], share: float
) -> Numbers:
    """Give the old row of each row, counted from the base's begin, or -1; shape (n,).

    Args:
        origins: where each element of an array was, or -1.
        at: where rows begin, shape (n,).
        starts: how rows lie.
        columns: known ones, telling ones and unknown ones, to be looked at.
        share: of each of those, what must be as in the matrix.
    """
    known, telling, unknown = columns
    begins = _begins(origins, at, starts, known)
    counts = (begins >= 0).sum(axis=1)
    ordered = np.sort(np.where(begins >= 0, begins, np.iinfo(np.int64).max), axis=1)
    rows = ordered[np.arange(len(at)), np.maximum(counts - 1, 0) // 2]
    is_row = _mostly(begins == rows[:, None], origins[at[:, None] + known] >= 0, share)
    if len(telling):
        is_same = _begins(origins, at, starts, telling) == rows[:, None]
        is_row &= _mostly(is_same, origins[at[:, None] + telling] >= 0, share)
    if len(unknown):
        is_row &= (origins[at[:, None] + unknown] < 0).mean(axis=1) >= share
    return np.where(is_row & (counts > 0), rows, -1)


def _mostly(
    is_so: NDArray[np.bool_], is_known: NDArray[np.bool_], share: float
) -> NDArray[np.bool_]:
    """Say of which rows enough is known, and most of that is so; of many floats some are twice."""
    known = is_known.sum(axis=1)
    is_enough = known >= np.maximum(1, _KNOWN_SHARE * is_known.shape[1])
    result: NDArray[np.bool_] = is_enough & (is_so.sum(axis=1) >= share * known)
    return result


def _begins(origins: Numbers, at: Numbers, starts: RowStarts, columns: Numbers) -> Numbers:
    """Give the old row that each element of these columns was in, or -1; shape (rows, columns)."""
    old = starts.stride.old
    found = origins[at[:, None] + columns]
    begins = found - starts.places[columns] - starts.old % old
    return np.where((found >= 0) & (begins % old == 0) & (begins >= 0), begins // old, -1)


def _around(rows: Numbers, near: int) -> tuple[int, int]:
    """Give the rows without a large gap around one: the first, and the one after the last."""
    if not len(rows):
        return 0, 0
    cuts = np.flatnonzero(np.diff(rows) > _GAP_MAX) + 1
    parts = np.split(rows, cuts)
    best = min(parts, key=lambda part: max(part[0] - near, near - part[-1], 0))
    return int(best[0]), int(best[-1]) + 1


def _is_whole(origins: Numbers, starts: RowStarts, at: int) -> bool:
    columns = _telling_columns(starts)
    return bool(_old_rows(origins, np.array([at]), starts, columns, _IS_WHOLE_ROW)[0] >= 0)
