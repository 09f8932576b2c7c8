"""How a segment stands in a delta: its form, its size, where in the base it was.

What of it comes later, the maps of a gathered tensor and what a predictor needs, is
`gather_format`'s and `description_format`'s (docs/delta-format.md, section 4).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from slotcast_schemas.codecs.delta.bounded_fields import FieldReader, FieldWriter
from slotcast_schemas.codecs.delta.elements import KINDS
from slotcast_schemas.codecs.delta.gather_format import read_gather
from slotcast_schemas.codecs.delta.headers import check_bound
from slotcast_schemas.codecs.delta.segments import (
    ROW_MAX,
    Copy,
    DecayMap,
    LowRank,
    Other,
    Predictor,
    Rebase,
    Segment,
    TensorSegment,
    Transposition,
)
from slotcast_schemas.errors import PayloadCorrupt

SIZE_MAX: Final = 1 << 62
"""A bound on every size and offset, so that sums of two of them fit 64 bits."""

_OTHER, _COPY, _TENSOR, _GATHERED = 0, 1, 2, 3
_PREDICTORS: Final = {type(None): 0, DecayMap: 1, LowRank: 2, Rebase: 3}


def write_segment(writer: FieldWriter, segment: Segment, expected_offset: int) -> int:
    """Write a segment, without its maps and its predictor; give where the next is expected.

    Args:
        writer: takes the fields.
        segment: the segment.
        expected_offset: where in the base it would go on.
    """
    if isinstance(segment, Other):
        writer.uint(_OTHER)
        writer.uint(segment.size_bytes)
        return expected_offset
    if isinstance(segment, Copy):
        writer.uint(_COPY)
        writer.uint(segment.size_bytes)
        writer.sint(segment.base_offset - expected_offset)
        return segment.base_offset + segment.size_bytes
    flags = _PREDICTORS[type(segment.predictor)] << 2
    gather = segment.gather
    is_turned = segment.transposed is not None or (gather is not None and gather.is_turned)
    flags |= is_turned << 1 | segment.is_exact
    form = _TENSOR if gather is None else _GATHERED
    writer.uint(form | segment.kind.code << 2 | flags << 6)
    writer.uint(segment.size_bytes)
    writer.sint(segment.base_offset - expected_offset)
    writer.uint(segment.block)
    if gather is not None:
        for number in (gather.base_rows, gather.base_columns, gather.unit, len(gather.columns)):
            writer.uint(number)
        return segment.base_offset
    if segment.transposed is None:
        return segment.base_offset + segment.size_bytes
    writer.uint(segment.transposed.base_rows)
    writer.uint(segment.transposed.base_columns)
    writer.uint(segment.transposed.first_row)
    return segment.base_offset


def read_segment(
    reader: FieldReader, left: int, expected_offset: int, base_size_bytes: int
) -> tuple[Segment, int]:
    """Read a segment, without its maps and its predictor, and where the next is expected.

    Args:
        reader: at the segment.
        left: the bytes of the image that no segment before it covers.
        expected_offset: where in the base it would go on.
        base_size_bytes: the size of the image to start from.

    Raises:
        PayloadCorrupt: a number is out of its bounds.
    """
    word = reader.uint("segment", 0x3FF)
    form, code, flags = word & 3, word >> 2 & 15, word >> 6
    size_bytes = reader.uint("segment size", left, least=1)
    if form == _OTHER and word == _OTHER:
        return Other(size_bytes), expected_offset
    base_offset = expected_offset + reader.sint("base offset")
    check_bound("base offset", base_offset, base_size_bytes)
    if form == _COPY and word == _COPY:
        check_bound("end of copy", base_offset + size_bytes, base_size_bytes)
        return Copy(size_bytes, base_offset), base_offset + size_bytes
    if form not in (_TENSOR, _GATHERED) or code not in KINDS:
        raise PayloadCorrupt(f"expected a known segment, got {word:#x}")
    tensor = TensorSegment(size_bytes, base_offset, KINDS[code], is_exact=bool(flags & 1))
    if tensor.kind.size_bytes(tensor.count) != size_bytes:
        raise PayloadCorrupt(
            f"expected whole elements of {tensor.kind.name}, got {size_bytes} bytes"
        )
    tensor.block = reader.uint("block", tensor.count, least=1)
    # What kind of predictor it is must be known before its data, which come after all segments.
    tensor.predictor = _PLACEHOLDERS[flags >> 2]
    if form == _GATHERED:
        is_turned = bool(flags & 2)
        tensor.gather = read_gather(reader, tensor, base_size_bytes, is_turned=is_turned)
        return tensor, base_offset
    if not flags & 2:
        check_bound("end of tensor", base_offset + size_bytes, base_size_bytes)
        return tensor, base_offset + size_bytes
    tensor.transposed = _read_transposition(reader, tensor, base_size_bytes)
    return tensor, base_offset


_PLACEHOLDERS: Final[dict[int, Predictor]] = {
    0: None,
    1: DecayMap(0, np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.bool_)),
    2: LowRank(np.zeros((0, 0), dtype=np.float32), np.zeros((0, 0), dtype=np.float32)),
    3: Rebase(np.float32(0)),
}


def _read_transposition(
    reader: FieldReader, tensor: TensorSegment, base_size_bytes: int
) -> Transposition:
    rows = reader.uint("base rows", min(ROW_MAX, tensor.count), least=1)
    columns = reader.uint("base columns", SIZE_MAX, least=1)
    if tensor.kind.bits == 4 or tensor.count % rows:
        raise PayloadCorrupt(f"expected whole rows of {rows} elements, got {tensor.count} elements")
    matrix_bytes = tensor.kind.size_bytes(rows * columns)
    check_bound("end of matrix", tensor.base_offset + matrix_bytes, base_size_bytes)
    first_row = reader.uint("first row", columns - 1)
    check_bound("last row", first_row + tensor.count // rows, columns)
    return Transposition(rows, columns, first_row)
