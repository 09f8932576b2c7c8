"""Bytes of the target that lie elsewhere in the base: found by hash, given as runs to copy.

What no tensor explains is looked for in the whole base: tensors without an old self, and files that
nothing is known of where they are too large to be searched as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import zstandard

from slotcast_publisher.delta.block_index import BlockIndex, Region, Run
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.source import Source

RUNS_MAX: Final = 16_384
"""The most runs of one tensor, or of one piece of a file, that are copied; the longest are kept."""

_TENSOR_RUN_MIN_BYTES: Final = 40
"""The least bytes of a run inside a tensor: describing one costs about six."""

_FILE_RUN_MIN_BYTES: Final = 1024
"""The least bytes of a run among other bytes, which are searched for what is alike as well."""


class MovedTensors:
    """The tensors of a base, in which the runs of new ones are found; indexed when first needed.

    Args:
        base: the old image.
        old: its tensors.
    """

    def __init__(self, base: Source, old: Iterable[TensorPlace]) -> None:
        self._base = base
        self._regions = [_region(place) for place in old]
        self._indices: dict[int, BlockIndex] = {}

    def find(self, target: Source, place: TensorPlace) -> list[Run]:
        """Find the runs of a tensor, or a part of one, that lie in tensors of the base.

        Args:
            target: the new image.
            place: the tensor.
        """
        wanted = _region(place)
        if wanted.width not in self._indices:
            alike = [region for region in self._regions if region.width == wanted.width]
            self._indices[wanted.width] = BlockIndex(self._base, alike)
        runs = self._indices[wanted.width].runs(target, wanted)
        return _longest(runs, _TENSOR_RUN_MIN_BYTES)


def cost_bytes(place: TensorPlace, runs: list[Run]) -> int:
    """Estimate what a tensor costs as runs: what is in none of them, and saying where they are."""
    if not runs:
        return place.size_bytes
    sizes = np.array([run.size_bytes for run in runs])
    seeks = np.diff([run.base_offset for run in runs], prepend=0) - sizes
    said = zstandard.ZstdCompressor(3).compress(
        np.stack([sizes, seeks], axis=1).astype("<i4").view(np.uint8).tobytes()
    )
    return place.size_bytes - int(sizes.sum()) + len(said)


def find_moved_files(
    base: Source, free: list[tuple[int, int]], target: Source, gaps: Iterable[tuple[int, int]]
) -> list[Run]:
    """Find the runs of large ranges of other bytes that lie in other bytes of the base.

    Args:
        base: the old image.
        free: offset and size in bytes of its ranges that no tensor takes.
        target: the new image.
        gaps: the ranges of the new image to look for.
    """
    gaps = list(gaps)
    if not gaps:
        return []
    index = BlockIndex(base, (Region(offset, size_bytes, 1) for offset, size_bytes in free))
    runs = []
    for offset, size_bytes in gaps:
        runs += _longest(index.runs(target, Region(offset, size_bytes, 1)), _FILE_RUN_MIN_BYTES)
    return runs


def without_runs(place: TensorPlace, runs: Iterable[Run]) -> Iterator[TensorPlace]:
    """Give what is left of a tensor between runs in it, as places of their own.

    Args:
        place: the tensor.
        runs: in order, apart.
    """
    end, start = place.offset + place.size_bytes, place.offset
    for run in runs:
        if run.offset > start:
            yield part_of(place, start, run.offset - start)
        start = run.end
    if start < end:
        yield part_of(place, start, end - start)


def part_of(place: TensorPlace, offset: int, size_bytes: int) -> TensorPlace:
    """Give a range of a tensor as a place of its own: some of its rows, or else in one dimension.

    Args:
        place: the tensor.
        offset: where the range begins in the image.
        size_bytes: its size, whole elements.
    """
    first, count = place.kind.count(offset - place.offset), place.kind.count(size_bytes)
    has_whole_rows = len(place.dims) > 1 and first % place.row == count % place.row == 0
    dims = (count // place.row, *place.dims[1:]) if has_whole_rows else (count,)
    return TensorPlace(place.name, place.kind, dims, offset, size_bytes)


def _width(place: TensorPlace) -> int:
    return int(place.kind.unsigned.itemsize)


def _region(place: TensorPlace) -> Region:
    return Region(place.offset, place.size_bytes, _width(place))


def _longest(runs: list[Run], least_bytes: int) -> list[Run]:
    worth = [run for run in runs if run.size_bytes >= least_bytes]
    if len(worth) > RUNS_MAX:
        worth = sorted(worth, key=lambda run: run.size_bytes)[-RUNS_MAX:]
        worth.sort(key=lambda run: run.offset)
    return worth
