"""Old elements of a matrix that stands the other way round in the base, read in bands."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta import strips as module
from slotcast_schemas.codecs.delta.elements import FLOAT16, FLOAT32, ElementKind
from slotcast_schemas.codecs.delta.segments import TensorSegment, Transposition
from slotcast_schemas.codecs.delta.strips import BaseReader, strips
from slotcast_schemas.codecs.source import MemorySource

BEFORE = 12
"""Bytes of the base before the matrix."""


def _segment(
    kind: ElementKind, matrix: NDArray[np.unsignedinteger], first: int, rows: int
) -> TensorSegment:
    return TensorSegment(
        size_bytes=kind.size_bytes(rows * len(matrix)),
        base_offset=BEFORE,
        kind=kind,
        transposed=Transposition(len(matrix), matrix.shape[1], first),
    )


def _read(segment: TensorSegment, matrix: NDArray[np.unsignedinteger]) -> bytes:
    base = MemorySource(bytes(BEFORE) + matrix.tobytes() + b"behind")
    reader = BaseReader(base, segment)
    return b"".join(reader.read(first, count) for first, count in strips(segment))


@pytest.mark.parametrize("kind", [FLOAT32, FLOAT16])
@pytest.mark.parametrize("columns", [40, 3000], ids=["most of the columns", "few of many"])
@pytest.mark.parametrize("band_bytes", [1, 2000, 1 << 22])
def test_the_columns_of_the_base_are_the_rows_that_are_read(
    monkeypatch: pytest.MonkeyPatch, kind: ElementKind, columns: int, band_bytes: int
) -> None:
    """By whole rows of the base, or by a piece of each; in one band or in many; from any row on."""
    monkeypatch.setattr(module, "STRIP_ELEMENTS", 150)
    monkeypatch.setattr(module, "_BAND_BYTES", band_bytes)
    monkeypatch.setattr(module, "_SLAB_BYTES", 600)
    rng = np.random.default_rng(3)
    matrix = rng.integers(0, 1 << kind.bits, (70, columns)).astype(kind.unsigned)
    for first, rows in ((0, columns), (7, 23), (columns - 5, 5)):
        segment = _segment(kind, matrix, first, rows)
        assert _read(segment, matrix) == matrix.T[first : first + rows].tobytes()
