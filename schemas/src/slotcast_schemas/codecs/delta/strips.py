"""Tensors in strips: pieces small enough to hold, and the reading of their old elements.

A transposed base is read in bands of the target's rows, since one row of the target is one column
of the base; a band costs one pass over the base matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np

from slotcast_schemas.codecs.delta.gather import GatherReader
from slotcast_schemas.codecs.delta.segments import (
    TensorSegment,
    Transposition,
)
from slotcast_schemas.codecs.source import Source

STRIP_ELEMENTS: Final = 65_536
"""The number of elements that are decoded at once, but for whole rows where rows matter."""

_BAND_BYTES: Final = 4 * 1024 * 1024
"""The bytes of the target that are made from one pass over a transposed base."""

_SLAB_BYTES: Final = 512 * 1024
"""The bytes of a transposed base that are read at once."""


def strips(tensor: TensorSegment) -> Iterator[tuple[int, int]]:
    """Give each strip's first element and number of elements; whole rows where rows matter."""
    row = tensor.row_length
    step = max(1, STRIP_ELEMENTS // row) * row
    for first in range(0, tensor.count, step):
        yield first, min(step, tensor.count - first)


class OldElements(Protocol):
    """Reads a segment's old elements in the order of the new ones."""

    def read(self, first: int, count: int) -> bytes:
        """Read the bytes of `count` old elements from the segment's element `first` on."""
        ...


def open_old(base: Source, tensor: TensorSegment) -> OldElements:
    """Open the old elements of a segment, wherever they lie."""
    if tensor.gather is not None:
        return GatherReader(base, tensor, tensor.gather)
    return BaseReader(base, tensor)


class BaseReader:
    """Reads old elements that follow one another in the base, or in its columns."""

    def __init__(self, base: Source, tensor: TensorSegment) -> None:
        self._base = base
        self._tensor = tensor
        self._band = np.zeros((0, 0), dtype=tensor.kind.unsigned)
        self._band_first = 0

    def read(self, first: int, count: int) -> bytes:
        """Read the bytes of `count` old elements from the segment's element `first` on."""
        kind = self._tensor.kind
        turned = self._tensor.transposed
        if turned is None:
            offset = self._tensor.base_offset + kind.size_bytes(first)
            return self._base.read_at(offset, kind.size_bytes(count))
        row, rows = first // turned.base_rows, count // turned.base_rows
        if not self._band_first <= row <= row + rows <= self._band_first + len(self._band):
            self._load_band(turned, row, rows)
        start = row - self._band_first
        return self._band[start : start + rows].tobytes()

    def _load_band(self, turned: Transposition, row: int, rows: int) -> None:
        """Fill the band with rows of the target from `row` on, at least `rows` of them."""
        width = self._tensor.kind.unsigned.itemsize
        left = self._tensor.count // turned.base_rows - row
        rows = min(left, max(rows, _BAND_BYTES // (turned.base_rows * width)))
        self._band = np.empty((rows, turned.base_rows), dtype=self._tensor.kind.unsigned)
        self._band_first = row
        column = turned.first_row + row
        # Also where a row of the base is too long to be held: its length is the payload's word.
        if turned.base_columns > max(8 * rows, _SLAB_BYTES // width):
            self._load_by_row(turned, column)
        else:
            self._load_by_slab(turned, column)

    def _load_by_row(self, turned: Transposition, column: int) -> None:
        """A few columns out of many: read just those of each row of the base."""
        dtype = self._tensor.kind.unsigned
        size = len(self._band) * dtype.itemsize
        for base_row in range(turned.base_rows):
            element = base_row * turned.base_columns + column
            data = self._base.read_at(self._tensor.base_offset + element * dtype.itemsize, size)
            self._band[:, base_row] = np.frombuffer(data, dtype=dtype)

    def _load_by_slab(self, turned: Transposition, column: int) -> None:
        """Most columns: read whole rows of the base, some at a time."""
        dtype = self._tensor.kind.unsigned
        row_bytes = turned.base_columns * dtype.itemsize
        step = max(1, _SLAB_BYTES // row_bytes)
        for base_row in range(0, turned.base_rows, step):
            count = min(step, turned.base_rows - base_row)
            offset = self._tensor.base_offset + base_row * row_bytes
            slab = np.frombuffer(self._base.read_at(offset, count * row_bytes), dtype=dtype)
            columns = slab.reshape(count, -1)[:, column : column + len(self._band)]
            self._band[:, base_row : base_row + count] = columns.T
