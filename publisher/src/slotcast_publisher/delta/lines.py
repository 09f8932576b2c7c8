"""Rows and columns of tensors, as what they may be found again by: a hash, or a sketch.

A tensor is looked at as a matrix in more than one way: cut between any two of its dimensions, and
as rows of columns that keep their innermost elements together, as a convolution's channels do.
The *lines* of a view are its rows or its columns. A hash finds those that are what they were; a
sketch, two dozen random projections, those that training moved a little.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.hash_factors import FACTOR, SPREAD
from slotcast_publisher.delta.match import as_floats
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import (
    FLOAT32,
    INT4,
    INT8,
    Bits,
    ElementKind,
    unpack,
)
from slotcast_schemas.codecs.delta.segments import ROW_MAX
from slotcast_schemas.codecs.source import Source

ROWS: Final = 0
COLUMNS: Final = 1
"""The axis of a matrix along which its lines lie."""

SKETCH_SIZE: Final = 24
"""The number of random projections of a line."""

_LINE_MIN_BYTES: Final = 32
"""The least bytes of a line that is worth finding."""

_LINES_MAX: Final = 1 << 20
"""The most lines of one family that are hashed."""

_TENSOR_MIN_BYTES: Final = 2048
"""The least bytes of a tensor whose lines are looked for."""

_SLAB_BYTES: Final = 512 * 1024
"""The bytes that are read at once, or one row."""


@dataclass(frozen=True, slots=True)
class LineView:
    """A tensor as rows of columns of `unit` elements each."""

    place: TensorPlace
    rows: int
    columns: int
    unit: int = 1

    @property
    def row_length(self) -> int:
        """Elements of a row."""
        return self.columns * self.unit

    def line_count(self, axis: int) -> int:
        """Give the number of rows, or of columns."""
        return self.rows if axis == ROWS else self.columns

    def line_length(self, axis: int) -> int:
        """Give the elements of a row, or of a column."""
        return self.row_length if axis == ROWS else self.rows * self.unit

    def has_lines(self, axis: int) -> bool:
        """Say whether its lines are worth finding, and can be said where they are."""
        length, count = self.line_length(axis), self.line_count(axis)
        size_bytes = self.place.kind.size_bytes(length)
        return count > 1 and size_bytes >= _LINE_MIN_BYTES and count <= _LINES_MAX

    def slabs(self, source: Source) -> Iterator[tuple[int, Bits]]:
        """Give its elements in slabs of rows: the first row, and an array (rows, columns, unit)."""
        kind = self.place.kind
        row_bytes = kind.size_bytes(self.row_length)
        step = max(1, _SLAB_BYTES // row_bytes)
        for row in range(0, self.rows, step):
            count = min(step, self.rows - row)
            data = source.read_at(self.place.offset + row * row_bytes, count * row_bytes)
            yield row, unpack(kind, data).reshape(count, self.columns, self.unit)


def views_of(place: TensorPlace) -> list[LineView]:
    """Give the ways to look at a tensor as a matrix; none for what has but one dimension."""
    dims = [dim for dim in place.dims if dim != 1]
    if len(dims) < 2 or place.kind == INT4 or place.size_bytes < _TENSOR_MIN_BYTES:
        return []
    if math.prod(dims) != place.count:
        return []
    shapes = [(math.prod(dims[:k]), math.prod(dims[k:]), 1) for k in range(1, len(dims))]
    if len(dims) > 2:
        shapes.append((dims[0], dims[1], math.prod(dims[2:])))
    # What a gathered tensor can be: rows that a decoder can hold, in both directions.
    return [
        LineView(place, *shape)
        for shape in shapes
        if shape[1] * shape[2] <= ROW_MAX and shape[0] * shape[2] <= ROW_MAX
    ]


def line_hashes(source: Source, view: LineView, axis: int) -> NDArray[np.uint64]:
    """Hash each line of a view; uint64, shape (lines,): equal lines of any view have equal hashes.

    Args:
        source: the image.
        view: a tensor of it.
        axis: `ROWS` or `COLUMNS`.
    """
    factors = _factors()
    sums = np.zeros(view.line_count(axis), dtype=np.uint64)
    for row, slab in view.slabs(source):
        elements = slab.astype(np.uint64) * SPREAD
        elements ^= elements >> np.uint64(31)
        if axis == ROWS:
            products = elements.reshape(len(slab), -1) * factors[: view.row_length]
            sums[row : row + len(slab)] = products.sum(axis=1, dtype=np.uint64)
        else:
            own = factors[row * view.unit : (row + len(slab)) * view.unit]
            products = elements * own.reshape(len(slab), 1, view.unit)
            sums += products.sum(axis=(0, 2), dtype=np.uint64)
    seed = view.line_length(axis) << 8 | view.place.kind.code
    mixed = (sums ^ np.uint64(seed * FACTOR % (1 << 64))) * SPREAD
    result: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(32))
    return result


@functools.cache
def _factors() -> NDArray[np.uint64]:
    """Odd numbers without a pattern, the same each time."""
    rng = np.random.Generator(np.random.PCG64(84))
    return rng.integers(0, 1 << 64, ROW_MAX, dtype=np.uint64) | np.uint64(1)


@np.errstate(over="ignore", invalid="ignore")  # huge numbers have a sketch that is near nothing
def line_sketches(source: Source, view: LineView, axis: int) -> NDArray[np.float32]:
    """Sketch each line of a view; float32, shape (lines, SKETCH_SIZE): near lines, near sketches.

    Args:
        source: the image.
        view: a tensor of it.
        axis: `ROWS` or `COLUMNS`.
    """
    projections = _projections(view.line_length(axis))
    sums = np.zeros((view.line_count(axis), SKETCH_SIZE), dtype=np.float32)
    for row, slab in view.slabs(source):
        values = _as_singles(view.place.kind, slab.ravel()).reshape(slab.shape)
        if axis == ROWS:
            sums[row : row + len(slab)] = values.reshape(len(slab), -1) @ projections
        else:
            own = projections[row * view.unit : (row + len(slab)) * view.unit]
            sums += values.transpose(1, 0, 2).reshape(view.columns, -1) @ own
    return sums


def _as_singles(kind: ElementKind, bits: Bits) -> NDArray[np.float32]:
    """Elements' values as `as_floats` gives them, as float32; shape (n,)."""
    if kind == INT8:
        return bits.view(np.int8).astype(np.float32)
    if kind == FLOAT32:
        values: NDArray[np.float32] = bits.view(np.float32)
        is_usual = np.abs(values) < np.float32(1e30)
        return values if is_usual.all() else np.where(is_usual, values, np.float32(0))
    return as_floats(kind, bits).astype(np.float32)


@functools.lru_cache(maxsize=4)
def _projections(length: int) -> NDArray[np.float32]:
    rng = np.random.Generator(np.random.PCG64(length))
    return rng.standard_normal((length, SKETCH_SIZE), dtype=np.float32)
