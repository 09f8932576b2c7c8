"""How far apart the rows of a matrix are, now and in the base, by where its elements were.

Where columns or rows of a matrix came, went or moved, what lies a row on in the new one came from
some whole rows further on, or further back, in the old one. So of all distances the new row's
length is the shortest at which origins differ by multiples of one number, which is the old row's;
and what breaks off at a place, because a column went there, breaks off a row on as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Places = NDArray[np.int32]

LENGTH_MAX: Final = 16_384
"""The most elements of a row that is looked for."""

_LENGTH_MIN: Final = 8
"""The least elements of a row, old or new."""

BREAKS_MIN: Final = 12
"""The least places at which something broke off by which a row's length is looked for."""

_STEP: Final = 1 << 19
"""The elements that are looked at together for what breaks off."""

_GROUP: Final = 4
"""The differences of which the greatest common divisor is taken: of four by chance mostly 1."""

_GROUPS: Final = 8
"""The groups of differences that each length is tried with."""

_GROUPS_AGREE: Final = 0.5
"""The share of groups whose divisor must be a row's length for a length to be looked at closely."""

_MULTIPLE_SHARE: Final = 0.85
"""The share of differences that must be multiples of the old row's length."""

_AGAIN_SHARE: Final = 0.7
"""The share of breaks that must be there again a row on."""

_CLOSELY: Final = 24
"""The most lengths that are looked at closely."""

_PERIODS_MAX: Final = 64
"""The most rows by which it is told where rows begin."""


@dataclass(frozen=True, slots=True)
class Stride:
    """The length of a row: `new` in elements, `old` in the units of origins."""

    new: int
    old: int


def breaks_in(origins: Numbers, width: int, *, with_gaps: bool) -> Places:
    """Give the known elements that do not follow, in the base, the known one before them.

    Args:
        origins: where each element was, -1 where that is not known, shape (n,).
        width: how far elements are apart there.
        with_gaps: also those that follow one that is not known.
    """
    found = []
    last, shift = -1, 0
    for first in range(0, len(origins), _STEP):
        part = origins[first : first + _STEP]
        known = np.flatnonzero(part >= 0)
        places = np.concatenate(([last], first + known))
        shifts = np.concatenate(([shift], part[known] - (first + known) * width))
        is_break = np.diff(shifts) != 0
        if with_gaps:
            is_break |= np.diff(places) != 1
        is_break[:1] &= last >= 0
        found.append(places[1:][is_break].astype(np.int32))
        last, shift = int(places[-1]), int(shifts[-1])
    return np.concatenate([np.zeros(0, dtype=np.int32), *found])


def find_stride(origins: Numbers, breaks: Places, width: int) -> Stride | None:
    """Find the length of rows; None where there seem to be none.

    Args:
        origins: where each element of some rows was, or -1, shape (n,).
        breaks: what `breaks_in` gives of them.
        width: how far elements are apart in the base.
    """
    longest = min(LENGTH_MAX, len(origins) // 2)
    early = breaks[breaks + longest < len(origins)]
    if len(early) < BREAKS_MIN:
        return None
    is_break = np.zeros(len(origins), dtype=np.bool_)
    is_break[breaks] = True
    picked = early[np.linspace(0, len(early) - 1, _GROUP * _GROUPS).astype(int)]
    lengths = np.arange(_LENGTH_MIN, longest + 1)
    divisors = _divisors(_differences(origins, picked, lengths))
    likely = (divisors >= _LENGTH_MIN * width).mean(axis=1) >= _GROUPS_AGREE
    likely &= is_break[picked[None, :] + lengths[:, None]].mean(axis=1) >= _AGAIN_SHARE
    for number in np.flatnonzero(likely)[:_CLOSELY].tolist():
        length = int(lengths[number])
        old = _old_length(origins, early, length, divisors[number], width)
        if old is not None and is_break[early + length].mean() >= _AGAIN_SHARE:
            return Stride(length, old)
    return None


def _differences(origins: Numbers, at: Places, lengths: Numbers) -> Numbers:
    """How far on what lies each length on came from; 0 where that is not known; (lengths, at)."""
    ahead = origins[at[None, :] + lengths[:, None]]
    return np.where(ahead >= 0, ahead - origins[at], 0)


def _divisors(differences: Numbers) -> Numbers:
    """The greatest common divisor of each group, shape (lengths, groups)."""
    groups = differences.reshape(len(differences), _GROUPS, _GROUP)
    result: Numbers = np.gcd.reduce(np.abs(groups), axis=2)
    return result


def _old_length(
    origins: Numbers, breaks: Places, length: int, divisors: Numbers, width: int
) -> int | None:
    """The number that most differences at this length are multiples of, if there is one."""
    values, counts = np.unique(divisors[divisors >= _LENGTH_MIN * width], return_counts=True)
    old = int(values[np.argmax(counts)])
    ahead = origins[breaks + length]
    differences = (ahead - origins[breaks])[ahead >= 0]
    if len(differences) < BREAKS_MIN or (differences % old == 0).mean() < _MULTIPLE_SHARE:
        return None
    return old if old % width == 0 else None
