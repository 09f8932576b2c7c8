"""How gathered tensors stand in a section's description (docs/delta-format.md, section 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.bounded_fields import (
    FieldReader,
    FieldWriter,
    read_steps,
    write_steps,
)
from slotcast_schemas.codecs.delta.gather import THINNEST, Gather
from slotcast_schemas.codecs.delta.segments import ROW_MAX, TensorSegment
from slotcast_schemas.errors import PayloadCorrupt

_PLAIN: Final = 0
_STEPS: Final = 1
"""How a map of rows or columns is written; the numbers stand in the format."""


def write_map(writer: FieldWriter, places: NDArray[np.int32]) -> None:
    """Write a map of rows or columns, as numbers or as steps, whichever packs better."""
    numbers, steps = FieldWriter(), FieldWriter()
    numbers.planes((places + 1).astype("<u4"))
    write_steps(steps, places)
    compressor = zstandard.ZstdCompressor(3)
    sizes = [len(compressor.compress(bytes(each.data))) for each in (numbers, steps)]
    form = _STEPS if sizes[1] <= sizes[0] else _PLAIN
    writer.uint(form)
    writer.raw(bytes((steps if form == _STEPS else numbers).data))


def read_gather(
    reader: FieldReader, tensor: TensorSegment, base_size_bytes: int, *, is_turned: bool
) -> Gather:
    """Read what a gathered segment says of its matrix; the maps come later, as long as they are.

    Args:
        reader: behind the segment's block.
        tensor: the segment.
        base_size_bytes: the size of the image to start from.
        is_turned: the base's rows became columns.

    Raises:
        PayloadCorrupt: a number is out of its bounds.
    """
    rows = reader.uint("base rows", ROW_MAX, least=1)
    columns = reader.uint("base columns", ROW_MAX, least=1)
    unit = reader.uint("unit", ROW_MAX // max(rows if is_turned else 1, columns), least=1)
    if tensor.kind.bits == 4:
        raise PayloadCorrupt("expected gathered elements of whole bytes, got 4 bits")
    end = tensor.base_offset + tensor.kind.size_bytes(rows * columns * unit)
    if end > base_size_bytes:
        raise PayloadCorrupt(f"end of matrix: expected 0 to {base_size_bytes}, got {end}")
    own = reader.uint("columns", min(ROW_MAX, tensor.count) // unit, least=1)
    if tensor.count % (own * unit) or THINNEST * own < (rows if is_turned else columns):
        raise PayloadCorrupt(
            f"expected whole rows of {own} columns out of {rows} by {columns},"
            f" got {tensor.count} elements"
        )
    # The maps are read later; these stand for them, with their lengths and without their memory.
    to_come = (np.broadcast_to(np.int32(0), n) for n in (tensor.count // (own * unit), own))
    return Gather(rows, columns, unit, is_turned, *to_come)


def read_gather_maps(reader: FieldReader, gather: Gather | None) -> Gather | None:
    """Read the maps of a gathered segment; nothing for another.

    Raises:
        PayloadCorrupt: a row or column is not in the base.
    """
    if gather is None:
        return None
    sizes = gather.base_rows, gather.base_columns
    old_rows, old_columns = sizes[::-1] if gather.is_turned else sizes
    rows = _read_map(reader, len(gather.rows), old_rows)
    columns = _read_map(reader, len(gather.columns), old_columns)
    return replace(gather, rows=rows, columns=columns)


def _read_map(reader: FieldReader, count: int, old_count: int) -> NDArray[np.int32]:
    if reader.uint("form of a map", _STEPS) == _STEPS:
        places: NDArray[Any] = read_steps(reader, count)
    else:
        places = reader.planes(count, np.dtype("<u4")).astype(np.int64) - 1
    if places.min() < -1 or places.max() >= old_count:
        raise PayloadCorrupt(f"expected places of {old_count} rows or columns, got others")
    return places.astype(np.int32)
