"""How long the rows of a guessed array are, where many of them moved.

An array that was found by its looks has no shape. Where it was put together anew from stretches of
the base, the places at which those begin are a row apart, and so say where its rows begin. As a
matrix it is then told by one number a row, as a tensor that a format tells of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.block_index import BlockIndex, Region, Run
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.source import Source

STRETCHES_MIN: Final = 12
"""The least stretches of an array by which the length of its rows is looked for."""

_TRIED: Final = 3
"""The distances between stretches that are tried, the most frequent ones."""

_GROUP: Final = 3
"""The distances whose greatest common divisor may be a row's length."""

_ON_ROWS: Final = 0.8
"""The share of stretches that must begin with a row; a few go on by chance into the next."""

_EQUAL_MIN: Final = 0.5
"""The share of an array that must be in the base word for word."""

Tensors = list[TensorPlace]
Rows = tuple[int, int, int]
"""The bytes of a row, and the offset of one modulo that in the target and in the base."""


def find_rows(
    base: Source, old: Sequence[TensorPlace], target: Source, new: Sequence[TensorPlace]
) -> tuple[Tensors, Tensors]:
    """Find guessed arrays of the target whose rows moved; give them as matrices, and the old ones.

    Args:
        base: the old image.
        old: its guessed arrays of one kind.
        target: the new image.
        new: its guessed arrays of that kind.
    """
    befores: dict[TensorPlace, None] = {}
    afters: Tensors = []
    index = BlockIndex(base, map(_region, old))
    for place in new:
        runs = index.runs(target, _region(place))
        if sum(run.size_bytes for run in runs) < _EQUAL_MIN * place.size_bytes:
            continue
        for part, (row_bytes, phase, old_phase) in _rows_in(place, runs):
            matrix = _matrix(part, row_bytes, phase)
            if matrix is not None:
                afters.append(matrix)
                matrices = (_matrix(each, row_bytes, old_phase) for each in old)
                befores |= dict.fromkeys(each for each in matrices if each is not None)
    return list(befores), afters


def _region(place: TensorPlace) -> Region:
    return Region(place.offset, place.size_bytes, place.kind.size_bytes(1))


def _rows_in(place: TensorPlace, runs: Sequence[Run]) -> Iterator[tuple[TensorPlace, Rows]]:
    """Give the rows of an array, or of its parts, where it has matrices of several lengths."""
    found = _rows_of(runs)
    if found is not None:
        yield place, found
    elif len(runs) >= 2 * STRETCHES_MIN:
        half = len(runs) // 2
        for low, high, some in (
            (place.offset, runs[half].offset, runs[:half]),
            (runs[half].offset, place.end, runs[half:]),
        ):
            count = place.kind.count(high - low)
            part = replace(place, offset=low, size_bytes=high - low, dims=(count,))
            yield from _rows_in(part, some)


def _rows_of(runs: Sequence[Run]) -> Rows | None:
    """Give the bytes of a row, and the offset of one modulo that in the target and in the base."""
    if len(runs) < STRETCHES_MIN:
        return None
    starts = np.array([run.offset for run in runs])
    bases = np.array([run.base_offset for run in runs])
    for step in _likely_steps(np.diff(starts)):
        phase, share = _commonest(starts % step)
        if share >= _ON_ROWS:
            old_phase, share = _commonest(bases[starts % step == phase] % step)
            if share >= _ON_ROWS:
                return step, phase, old_phase
    return None


def _likely_steps(distances: NDArray[np.int64]) -> list[int]:
    """Give likely lengths of rows: of many that moved the distance itself, of few its divisor."""
    groups = distances[: len(distances) // _GROUP * _GROUP].reshape(-1, _GROUP)
    found: dict[int, None] = {}
    for some in (distances, np.gcd.reduce(groups, axis=1)):
        steps, counts = np.unique(some, return_counts=True)
        likely = steps[np.argsort(-counts, kind="stable")][:_TRIED].tolist()
        found |= dict.fromkeys(step for step in likely if step > 0)
    return list(found)


def _commonest(numbers: NDArray[np.int64]) -> tuple[int, float]:
    """Give the number that comes most often, and its share."""
    found, counts = np.unique(numbers, return_counts=True)
    best = int(np.argmax(counts))
    return int(found[best]), float(counts[best] / len(numbers))


def _matrix(place: TensorPlace, row_bytes: int, phase: int) -> TensorPlace | None:
    """Give the whole rows of an array; None where there are fewer than two."""
    offset = place.offset + (phase - place.offset) % row_bytes
    rows, width = (place.end - offset) // row_bytes, place.kind.size_bytes(1)
    if rows < 2 or (offset - place.offset) % width or row_bytes % width:
        return None
    return replace(
        place,
        name=f"rows of {row_bytes} from {offset}",
        dims=(rows, row_bytes // width),
        offset=offset,
        size_bytes=rows * row_bytes,
        is_guess=False,
    )
