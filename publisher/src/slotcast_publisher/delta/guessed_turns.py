"""Matrices in guessed arrays that were turned: what are neighbours were a row apart."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.row_reach import Reach

Numbers = NDArray[np.int64]

_WINDOW: Final = 32 * 1024
"""The elements of an array by which it is told: some rows."""

_TURNED_SHARE: Final = 0.64
"""The share of neighbours that must have been a row apart."""

_IS_ROW: Final = 0.8
"""The share of a row's elements that must be where a turned matrix has them."""


def find_turned(origins: Numbers, width: int) -> tuple[Reach, int, int] | None:
    """Find a matrix that was turned, around the middle of an array; None where there is none.

    Args:
        origins: where each element was, or -1, shape (n,).
        width: how far elements are apart there.

    Returns:
        Its rows and the old ones; the length of a row in elements, and that of an old one in the
        units of origins.
    """
    first = max(0, (len(origins) - _WINDOW) // 2)
    window = origins[first : first + _WINDOW]
    is_known = (window[1:] >= 0) & (window[:-1] >= 0)
    steps = np.diff(window)
    ahead = steps[is_known & (steps > width)]
    if not len(ahead):
        return None
    values, counts = np.unique(ahead, return_counts=True)
    old_length = int(values[np.argmax(counts)])
    breaks = np.flatnonzero(is_known & (steps != old_length)) + 1
    if np.mean(steps == old_length) < _TURNED_SHARE or len(breaks) < 2 or old_length % width:
        return None
    length = int(np.bincount(np.diff(breaks)).argmax())
    return _reach(origins, first + int(breaks[0]), length, old_length, width)


def _reach(
    origins: Numbers, anchor: int, length: int, old_length: int, width: int
) -> tuple[Reach, int, int] | None:
    """The matrix around a row's begin, if all columns of the old one are its rows."""
    start, count = anchor % length, (len(origins) - anchor % length) // length
    grid = origins[start : start + count * length].reshape(count, length)
    # Where the old matrix began, by each element.
    begins = grid - np.arange(length) * old_length - np.arange(count)[:, None] * width
    begin = int(begins[anchor // length, 0])
    is_row = ((grid >= 0) & (begins == begin)).mean(axis=1) >= _IS_ROW
    others = np.flatnonzero(~is_row)
    low = int(others[others < anchor // length].max(initial=-1)) + 1
    high = int(others[others > anchor // length].min(initial=count))
    if not is_row[anchor // length] or (high - low) * width != old_length:
        return None
    reach = Reach(start + low * length, high - low, begin + low * width, length)
    return (reach, length, old_length) if begin + low * width >= 0 else None
