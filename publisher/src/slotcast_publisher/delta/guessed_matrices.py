"""Matrices in guessed arrays whose columns changed places, or which were turned.

An array that was found by its looks has no shape, and where columns moved no stretch of it lies in
the base. But floats of 32 bits are seldom there twice, so where each lies in the base says how it
came there: if columns changed places, what lies a row on came from a row on; if a matrix was
turned, neighbours came from a row apart. As a matrix it is then told by the maps of tensors that a
format tells of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.source import Source

_ARRAY_MIN_BYTES: Final = 64 * 1024
_ARRAY_MAX_BYTES: Final = 32 * 1024 * 1024
"""The bytes of an array in which a matrix is looked for."""

_WINDOW: Final = 32 * 1024
"""The elements of an array that are looked for in the base: some rows."""

_SAMPLED: Final = 512
"""One in so many elements of a window is looked for first: few are found sooner than many."""

_STEP: Final = 1 << 20
"""The elements of the base that are searched at once."""

_ARRAYS_MAX: Final = 4
"""The most arrays that are looked at, the largest ones: for each the base is read once."""

_FOUND_SHARE: Final = 0.8
"""The share of a window that must be in the base, and come from where a matrix's would."""

_STARTS: Final = 16
"""The elements by which the length of a row is told."""

_CHECKED: Final = 8
"""The elements of each row by which it is told how far the matrix reaches."""

_AROUND: Final = 64
"""The elements on both sides of what is unexplained that a matrix may take from its neighbours."""

_WIDTH: Final = 4
"""The bytes of an element."""

Pair = tuple[TensorPlace, TensorPlace]
Numbers = NDArray[np.int64]


def find_matrices(
    base: Source,
    old: Sequence[TensorPlace],
    target: Source,
    new: Sequence[TensorPlace],
    within: Sequence[TensorPlace],
) -> list[Pair]:
    """Find matrices of the target whose columns moved, or which were turned; each with its old one.

    Args:
        base: the old image.
        old: its guessed arrays of one kind.
        target: the new image.
        new: what is unexplained of its guessed arrays of that kind.
        within: those arrays; a matrix may reach a little beyond what is unexplained.
    """
    large = [
        place
        for place in new
        if place.kind == FLOAT32 and _ARRAY_MIN_BYTES <= place.size_bytes <= _ARRAY_MAX_BYTES
    ]
    large.sort(key=lambda place: -place.size_bytes)
    wider = (_wider(place, within) for place in large[:_ARRAYS_MAX])
    found = (_matrix_in(base, old, target, place) for place in wider)
    return [pair for pair in found if pair is not None]


def _wider(place: TensorPlace, within: Sequence[TensorPlace]) -> TensorPlace:
    """Give it with a few elements around: of a neighbour, signs agree on beyond it by chance."""
    array = next(each for each in within if each.offset <= place.offset < each.end)
    before = min(_AROUND * _WIDTH, place.offset - array.offset)
    after = min(_AROUND * _WIDTH, array.end - place.end)
    size_bytes = before + place.size_bytes + after
    return replace(
        place, offset=place.offset - before, size_bytes=size_bytes, dims=(size_bytes // _WIDTH,)
    )


def _matrix_in(
    base: Source, old: Sequence[TensorPlace], target: Source, place: TensorPlace
) -> Pair | None:
    elements = _elements(target, place)
    first = max(0, (len(elements) - _WINDOW) // 2)
    window = elements[first : first + _WINDOW]
    for some in (window[::_SAMPLED], window):
        origins = _origins(base, old, some)
        if np.mean(origins >= 0) < _FOUND_SHARE:
            return None
    home = _home(old, origins)
    if home is None:
        return None
    theirs = _elements(base, home)
    own = np.where(origins >= 0, (origins - home.offset) // _WIDTH, -1)
    own[(own < 0) | (own >= len(theirs))] = -1
    for matrix in (_shuffled(theirs, elements, own, first), _turned(theirs, elements, own, first)):
        if matrix is not None:
            start, dims, old_start, old_dims = matrix
            name = f"matrix found at {place.offset + start * _WIDTH}"
            return _place(home, name, old_start, old_dims), _place(place, name, start, dims)
    return None


Matrix = tuple[int, tuple[int, int], int, tuple[int, int]]
"""The first element and the dimensions of a matrix, and those of the old one."""


def _elements(source: Source, place: TensorPlace) -> NDArray[np.uint32]:
    return np.frombuffer(source.read_at(place.offset, place.size_bytes), dtype="<u4")


def _place(array: TensorPlace, name: str, start: int, dims: tuple[int, int]) -> TensorPlace:
    return replace(
        array,
        name=name,
        dims=dims,
        offset=array.offset + start * _WIDTH,
        size_bytes=dims[0] * dims[1] * _WIDTH,
        is_guess=False,
    )


def _origins(base: Source, old: Sequence[TensorPlace], window: NDArray[np.uint32]) -> Numbers:
    """The offset in the base of each element that is there once, or -1; int64, shape (n,)."""
    wanted, inverse = np.unique(window, return_inverse=True)
    offsets = np.full(len(wanted), -1, dtype=np.int64)
    counts = np.zeros(len(wanted), dtype=np.int64)
    for place in old:
        for at in range(0, place.size_bytes, _STEP * _WIDTH):
            size_bytes = min(_STEP * _WIDTH, place.size_bytes - at) // _WIDTH * _WIDTH
            part = np.frombuffer(base.read_at(place.offset + at, size_bytes), dtype="<u4")
            number = np.minimum(np.searchsorted(wanted, part), len(wanted) - 1)
            hits = np.flatnonzero(wanted[number] == part)
            offsets[number[hits]] = place.offset + at + hits * _WIDTH
            counts += np.bincount(number[hits], minlength=len(wanted))
    offsets[counts != 1] = -1
    result: Numbers = offsets[inverse.ravel()]
    return result


def _home(old: Sequence[TensorPlace], origins: Numbers) -> TensorPlace | None:
    """The old array that most elements are from, if it can be held."""
    middle = int(np.median(origins[origins >= 0]))
    home = next((place for place in old if place.offset <= middle < place.end), None)
    return home if home is not None and home.size_bytes <= _ARRAY_MAX_BYTES else None


def _shuffled(
    theirs: NDArray[np.uint32], ours: NDArray[np.uint32], origins: Numbers, first: int
) -> Matrix | None:
    """The matrix whose columns changed places, if that is what the origins of a window say."""
    row = _period(origins)
    if row is None:
        return None
    # Where the elements of one row were, of which some may be known from later rows alone.
    rows = len(origins) // row
    grid = origins[: rows * row].reshape(rows, row)
    profile = np.where(grid >= 0, grid - np.arange(rows)[:, None] * row, -row).max(axis=0)
    # Rows begin where all that follows for a row's length is from one old row.
    lows = np.minimum.accumulate(profile[::-1])[::-1], np.minimum.accumulate(profile + row)
    highs = np.maximum.accumulate(profile[::-1])[::-1], np.maximum.accumulate(profile + row)
    low = np.minimum(lows[0], np.concatenate(([lows[0][0]], lows[1][:-1])))
    high = np.maximum(highs[0], np.concatenate(([highs[0][0]], highs[1][:-1])))
    starts = np.flatnonzero(high - low == row - 1)
    if not len(starts):
        return None
    start, old_start = int(starts[0]), int(low[starts[0]])
    places = np.concatenate((profile[start:], profile[:start] + row)) - old_start
    columns = np.unique(np.linspace(0, row - 1, _CHECKED).astype(int))
    reach = _reach(theirs, ours, (old_start, row, places[columns]), (first + start, row, columns))
    if reach is None:
        return None
    before, count = reach
    dims = (count, row)
    return first + start - before * row, dims, old_start - before * row, dims


def _period(origins: Numbers) -> int | None:
    """After how many elements origins are as much further on."""
    shifts = np.where(origins >= 0, origins - np.arange(len(origins)), np.iinfo(np.int64).min)
    known = np.flatnonzero(origins >= 0)
    steps: list[int] = []
    for start in known[np.linspace(0, len(known) - 1, _STARTS).astype(int)].tolist():
        steps += np.diff(np.flatnonzero(shifts == shifts[start])).tolist()
    if not steps:
        return None
    row = int(np.bincount(steps).argmax())
    is_so = (shifts[row:] == shifts[:-row]) & (origins[row:] >= 0)
    return row if row > 1 and is_so.mean() > _FOUND_SHARE**2 else None


def _turned(
    theirs: NDArray[np.uint32], ours: NDArray[np.uint32], origins: Numbers, first: int
) -> Matrix | None:
    """The matrix that was turned, if that is what the origins of a window say."""
    is_known = (origins[1:] >= 0) & (origins[:-1] >= 0)
    steps = np.diff(origins)
    ahead = steps[is_known & (steps > 1)]
    if not len(ahead):
        return None
    old_row = int(np.bincount(ahead).argmax())
    breaks = np.flatnonzero(is_known & (steps != old_row)) + 1
    if np.mean(steps == old_row) < _FOUND_SHARE**2 or len(breaks) < 2:
        return None
    row = int(np.bincount(np.diff(breaks)).argmax())
    start = int(breaks[0])
    columns = np.unique(np.linspace(0, row - 1, _CHECKED).astype(int))
    old_start = int(origins[start])
    reach = _reach(theirs, ours, (old_start, 1, columns * old_row), (first + start, row, columns))
    if reach is None or reach[1] != old_row:
        return None
    before, count = reach
    return first + start - before * row, (count, row), old_start - before, (row, old_row)


Steps = tuple[int, int, Numbers]
"""Where a row begins, how far apart rows are, and which elements after its start are looked at."""


def _reach(
    theirs: NDArray[np.uint32], ours: NDArray[np.uint32], old: Steps, new: Steps
) -> tuple[int, int] | None:
    """How many rows before the known one, and how many in all, came from the old matrix."""
    before = min(new[0] // new[1], old[0] // old[1])
    after = min(
        (len(ours) - 1 - new[0] - int(new[2].max())) // new[1],
        (len(theirs) - 1 - old[0] - int(old[2].max())) // old[1],
    )
    numbers = np.arange(-before, after + 1)
    is_equal = np.ones(len(numbers), dtype=np.bool_)
    for there, here in zip(old[2].tolist(), new[2].tolist(), strict=True):
        is_equal &= (
            theirs[old[0] + there + numbers * old[1]] == ours[new[0] + here + numbers * new[1]]
        )
    if after < 0 or not is_equal[before]:
        return None
    ends = np.flatnonzero(~is_equal)
    low = int(ends[ends < before].max(initial=-1)) + 1
    high = int(ends[ends > before].min(initial=len(is_equal)))
    return before - low, high - low
