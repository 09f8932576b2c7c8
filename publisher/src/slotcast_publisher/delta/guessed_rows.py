"""How long the rows of a guessed array are, where many of them moved.

An array that was found by its looks has no shape. Where it was put together anew from stretches of
the base, the places at which those begin are a row apart, and so say where its rows begin. As a
matrix it is then told by one number a row, as a tensor that a format tells of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.block_index import BlockIndex, Region, Run
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.source import Source

STRETCHES_MIN: Final = 24
"""The least stretches of an array by which the length of its rows is looked for."""

_TRIED: Final = 3
"""The distances between stretches that are tried, the most frequent ones."""

_ON_ROWS: Final = 0.8
"""The share of stretches that must begin with a row; a few go on by chance into the next."""

_EQUAL_MIN: Final = 0.5
"""The share of an array that must be in the base word for word."""

Tensors = list[TensorPlace]


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
        if (found := _rows_of(runs)) is None:
            continue
        row_bytes, phase, old_phase = found
        matrix = _matrix(place, row_bytes, phase)
        if matrix is not None:
            afters.append(matrix)
            matrices = (_matrix(each, row_bytes, old_phase) for each in old)
            befores |= dict.fromkeys(each for each in matrices if each is not None)
    return list(befores), afters


def _region(place: TensorPlace) -> Region:
    return Region(place.offset, place.size_bytes, place.kind.size_bytes(1))


def _rows_of(runs: Sequence[Run]) -> tuple[int, int, int] | None:
    """Give the bytes of a row, and the offset of one modulo that in the target and in the base."""
    if len(runs) < STRETCHES_MIN:
        return None
    starts = np.array([run.offset for run in runs])
    bases = np.array([run.base_offset for run in runs])
    steps, counts = np.unique(np.diff(starts), return_counts=True)
    for step in steps[np.argsort(-counts, kind="stable")][:_TRIED].tolist():
        phase, share = _commonest(starts % step)
        if share >= _ON_ROWS:
            old_phase, share = _commonest(bases[starts % step == phase] % step)
            if share >= _ON_ROWS:
                return step, phase, old_phase
    return None


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
