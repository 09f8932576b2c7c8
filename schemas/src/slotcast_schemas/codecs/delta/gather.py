"""Tensors whose rows and columns were elsewhere in a matrix of the base.

A gathered tensor is a matrix of columns of `unit` elements each. Its element in row r and column c
is that of the base in row rows[r] and column columns[c]; where either is -1 there is none, and the
bytes of such *holes* are other bytes; as old elements they count as zero.
docs/delta-format.md, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.source import Source

if TYPE_CHECKING:
    from slotcast_schemas.codecs.delta.elements import Bits
    from slotcast_schemas.codecs.delta.segments import TensorSegment

_SLAB_BYTES: Final = 512 * 1024
"""The bytes of the base that are read at once, or one row of it."""

_BAND_BYTES: Final = 4 * 1024 * 1024
"""The bytes of the target that are made from one pass over a turned base."""

THINNEST: Final = 64
"""How many times as many columns as the tensor its base may have: every row of the base is read
whole, however few of its columns are of use."""


@dataclass(frozen=True, slots=True)
class Gather:
    """Where the rows and columns of a tensor were.

    Attributes:
        base_rows: rows of the base matrix, as it is stored.
        base_columns: columns of it, of `unit` elements each.
        unit: elements that stay together.
        is_turned: the base's rows became columns, and its columns rows.
        rows: int32, for each row of the segment the row of the base, or -1.
        columns: int32, for each column the column of the base, or -1.
    """

    base_rows: int
    base_columns: int
    unit: int
    is_turned: bool
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]

    @property
    def row_length(self) -> int:
        """Elements of a row of the tensor."""
        return len(self.columns) * self.unit

    @property
    def hole_count(self) -> int:
        """How many elements have no old one."""
        rows, columns = (np.count_nonzero(each >= 0) for each in (self.rows, self.columns))
        return int((len(self.rows) * len(self.columns) - rows * columns) * self.unit)

    def holes(self, first: int, count: int) -> NDArray[np.bool_] | None:
        """Say which elements of a strip of whole rows are holes, shape (count,); None for none.

        Args:
            first: index in the segment of the strip's first element.
            count: its elements.
        """
        row = first // self.row_length
        no_row = self.rows[row : row + count // self.row_length] < 0
        no_column = self.columns < 0
        if not no_row.any() and not no_column.any():
            return None
        return np.repeat((no_row[:, None] | no_column).ravel(), self.unit)


class GatherReader:
    """Reads a gathered segment's old elements in the order of the new ones, zero at holes.

    Args:
        base: the image to start from.
        tensor: the segment.
        gather: where its rows and columns lie.
    """

    def __init__(self, base: Source, tensor: TensorSegment, gather: Gather) -> None:
        self._base = base
        self._offset = tensor.base_offset
        self._dtype = tensor.kind.unsigned
        self._gather = gather
        self._band: Bits = np.zeros((0, 0, 0), dtype=self._dtype)
        self._band_first = 0

    def read(self, first: int, count: int) -> bytes:
        """Read the bytes of `count` old elements, whole rows, from element `first` on."""
        row, rows = first // self._gather.row_length, count // self._gather.row_length
        if not self._gather.is_turned:
            return self._rows(row, rows).tobytes()
        if not self._band_first <= row <= row + rows <= self._band_first + len(self._band):
            self._load_band(row, rows)
        start = row - self._band_first
        return self._band[start : start + rows].tobytes()

    def _rows(self, row: int, count: int) -> Bits:
        gather = self._gather
        wanted = gather.rows[row : row + count]
        out = np.zeros((count, len(gather.columns), gather.unit), dtype=self._dtype)
        columns = np.flatnonzero(gather.columns >= 0)
        is_whole = np.array_equal(gather.columns, np.arange(gather.base_columns))
        for start, end in self._runs(wanted):
            old = self._stored(int(wanted[start]), end - start)
            if is_whole:
                out[start:end] = old
            else:
                out[start:end, columns] = old[:, gather.columns[columns]]
        return out

    def _runs(self, wanted: NDArray[np.int32]) -> list[tuple[int, int]]:
        """Rows that follow one another in the base too, not too many at once; no holes."""
        most = max(1, _SLAB_BYTES // self._stored_row_bytes)
        cuts = np.flatnonzero(np.diff(wanted) != 1) + 1
        runs = []
        for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(wanted)], strict=True):
            if wanted[start] >= 0:
                runs += [(at, min(at + most, end)) for at in range(start, end, most)]
        return runs

    @property
    def _stored_row_bytes(self) -> int:
        return self._gather.base_columns * self._gather.unit * self._dtype.itemsize

    def _stored(self, row: int, count: int) -> Bits:
        """Rows of the base as they are stored, shape (count, base columns, unit)."""
        size = self._stored_row_bytes
        data = self._base.read_at(self._offset + row * size, count * size)
        old: Bits = np.frombuffer(data, dtype=self._dtype)
        return old.reshape(count, self._gather.base_columns, self._gather.unit)

    def _load_band(self, row: int, rows: int) -> None:
        """Fill the band with rows of the tensor from `row` on, at least `rows` of them."""
        gather = self._gather
        row_bytes = gather.row_length * self._dtype.itemsize
        rows = min(len(gather.rows) - row, max(rows, _BAND_BYTES // row_bytes))
        self._band = np.zeros((rows, len(gather.columns), gather.unit), dtype=self._dtype)
        self._band_first = row
        wanted = gather.rows[row : row + rows]
        there = np.flatnonzero(wanted >= 0)
        order = np.argsort(gather.columns, kind="stable")
        ordered = gather.columns[order]
        step = max(1, _SLAB_BYTES // self._stored_row_bytes)
        for start in range(0, gather.base_rows, step):
            count = min(step, gather.base_rows - start)
            span = slice(*np.searchsorted(ordered, [start, start + count]))
            if span.start == span.stop:
                continue
            old = self._stored(start, count)
            picked = old[np.ix_(ordered[span] - start, wanted[there])]
            self._band[np.ix_(there, order[span])] = picked.transpose(1, 0, 2)
