"""A section of weights without an old self: what it consists of, and how that is written and read.

docs/weights-format.md is the specification. Such sections make up a `full+weights` payload, and a
delta packs tensors so that the base does not have. Every number is checked against signed sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.bounded_fields import FieldReader, FieldWriter
from slotcast_schemas.codecs.delta.description_format import unpack_description
from slotcast_schemas.codecs.delta.elements import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    INT4,
    KINDS,
    ElementKind,
)
from slotcast_schemas.codecs.delta.headers import SectionHeader
from slotcast_schemas.codecs.delta.packed import PACK_BZ2
from slotcast_schemas.codecs.delta.segments import SEGMENTS_MAX
from slotcast_schemas.codecs.delta.tables import TABLES_MAX
from slotcast_schemas.errors import PayloadCorrupt

CONSTANT: Final = 0
RAW: Final = 1
CODED: Final = 2
RAW_WHERE_HEAD: Final = 3
CODED_WHERE_HEAD: Final = 4
"""The ways to store a byte plane; the numbers stand in the format (docs/weights-format.md)."""
_MODE_MAX: Final = CODED_WHERE_HEAD

_OTHER, _PLANES, _PALETTE, _STEPS = 0, 1, 2, 3

PALETTE_MAX: Final = 256
"""The most values of a palette: an index is a byte."""

STEPPED_KINDS: Final = (FLOAT32, FLOAT16, BFLOAT16)
"""The kinds of floats that whole steps of a scale can give."""


@dataclass(frozen=True, slots=True)
class Plane:
    """How one byte of each element travels.

    `mode` is one of the constants above: always `value`; as it is; or coded with `table`, `value`
    added modulo 256. The last two modes leave out elements whose highest byte is zero.
    """

    mode: int
    value: int = 0
    table: int = 0


@dataclass(frozen=True, slots=True)
class OtherBytes:
    """Bytes that the section's other stream gives."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Planes:
    """Elements taken apart into their bytes, the highest first; floats turned left by one bit."""

    size_bytes: int
    kind: ElementKind
    planes: tuple[Plane, ...]


@dataclass(frozen=True, slots=True)
class Palette:
    """Elements of few values: each is coded as its index among them; `values` has their bits."""

    size_bytes: int
    kind: ElementKind
    table: int
    values: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Steps:
    """Floats that are whole multiples of a scale, one for each `block` of elements.

    Where `has_negative_zero`, the byte 128 stands for -0.0 and not for -128.
    """

    size_bytes: int
    kind: ElementKind
    table: int
    block: int
    has_negative_zero: bool
    scales: NDArray[np.float32]


WeightsSegment = OtherBytes | Planes | Palette | Steps
"""One run of a section's part of the image."""


@dataclass(slots=True)
class WeightsDescription:
    """What a section consists of.

    Attributes:
        segments: in the order of the image.
        packer: how the other bytes are packed.
        tables: bool, shape (tables, 256): the bytes that each table codes.
    """

    segments: list[WeightsSegment]
    packer: int = 0
    tables: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 256), dtype=np.bool_))

    @property
    def other_size_bytes(self) -> int:
        """Size of all the other bytes together."""
        return sum(each.size_bytes for each in self.segments if isinstance(each, OtherBytes))


def pack_weights_description(description: WeightsDescription) -> bytes:
    """Give the description's bytes, before they are compressed."""
    writer = FieldWriter()
    writer.uint(len(description.tables))
    writer.raw(np.packbits(description.tables, axis=1, bitorder="little").tobytes())
    writer.uint(len(description.segments))
    for segment in description.segments:
        _write_segment(writer, segment)
    writer.uint(description.packer)
    return bytes(writer.data)


def _write_segment(writer: FieldWriter, segment: WeightsSegment) -> None:
    if isinstance(segment, OtherBytes):
        writer.uint(_OTHER)
        writer.uint(segment.size_bytes)
        return
    form = {Planes: _PLANES, Palette: _PALETTE, Steps: _STEPS}[type(segment)]
    writer.uint(form | segment.kind.code << 2)
    writer.uint(segment.size_bytes)
    if isinstance(segment, Planes):
        for plane in segment.planes:
            writer.raw(bytes((plane.mode, plane.value, plane.table)))
        return
    writer.uint(segment.table)
    if isinstance(segment, Palette):
        writer.uint(len(segment.values))
        writer.planes(segment.values.astype(segment.kind.unsigned))
        return
    writer.uint(segment.block)
    writer.uint(int(segment.has_negative_zero))
    writer.planes(segment.scales.astype("<f4"))


def parse_weights_description(packed: bytes, header: SectionHeader) -> WeightsDescription:
    """Unpack and read a section's description, checked against the header.

    Args:
        packed: the description's bytes, as stored.
        header: the section's header.

    Raises:
        PayloadCorrupt: it does not unpack to its size, or a number is out of its bounds.
    """
    reader = FieldReader(unpack_description(packed, header.description_size_bytes))
    tables = _read_tables(reader)
    segments: list[WeightsSegment] = []
    left = header.image_size_bytes
    for _ in range(reader.uint("segments", SEGMENTS_MAX)):
        segments.append(_read_segment(reader, left, len(tables)))
        left -= segments[-1].size_bytes
    if left:
        raise PayloadCorrupt(f"expected segments to cover the section, got {left} bytes uncovered")
    packer = reader.uint("packer", PACK_BZ2)
    reader.finish()
    return WeightsDescription(segments, packer, tables)


def _read_tables(reader: FieldReader) -> NDArray[np.bool_]:
    count = reader.uint("tables", TABLES_MAX)
    flags = np.frombuffer(reader.raw(32 * count), dtype=np.uint8).reshape(count, 32)
    tables = np.unpackbits(flags, axis=1, bitorder="little").astype(np.bool_)
    if not tables.any(axis=1).all():
        raise PayloadCorrupt("expected every table to have a symbol, got one without")
    return tables


def _read_segment(reader: FieldReader, left: int, tables: int) -> WeightsSegment:
    word = reader.uint("segment", 0x3F)
    form, code = word & 3, word >> 2
    size_bytes = reader.uint("segment size", left, least=1)
    if word == _OTHER:
        return OtherBytes(size_bytes)
    kind = KINDS.get(code)
    if form == _OTHER or kind is None or kind == INT4:
        raise PayloadCorrupt(f"expected a known segment, got {word:#x}")
    if size_bytes % (kind.bits // 8):
        raise PayloadCorrupt(f"expected whole elements of {kind.name}, got {size_bytes} bytes")
    if form == _PLANES:
        planes = tuple(_read_plane(reader, tables, kind, place) for place in range(kind.bits // 8))
        return Planes(size_bytes, kind, planes)
    table = reader.uint("table", tables - 1)
    if form == _PALETTE:
        count = reader.uint("palette", PALETTE_MAX, least=1)
        values = reader.planes(count, kind.unsigned).astype(np.uint32)
        return Palette(size_bytes, kind, table, values)
    return _read_steps(reader, size_bytes, kind, table)


def _read_plane(reader: FieldReader, tables: int, kind: ElementKind, place: int) -> Plane:
    mode, value, table = reader.raw(3)
    if mode > (CODED if place == 0 else _MODE_MAX):
        raise PayloadCorrupt(f"expected a known way for a byte of {kind.name}, got {mode}")
    if mode in (CODED, CODED_WHERE_HEAD) and table >= tables:
        raise PayloadCorrupt(f"table: expected less than {tables}, got {table}")
    return Plane(mode, value, table)


def _read_steps(reader: FieldReader, size_bytes: int, kind: ElementKind, table: int) -> Steps:
    if kind not in STEPPED_KINDS:
        raise PayloadCorrupt(f"expected steps of floats, got {kind.name}")
    count = kind.count(size_bytes)
    block = reader.uint("block", count, least=1)
    has_negative_zero = bool(reader.uint("negative zero", 1))
    scales = reader.planes(-(-count // block), np.dtype("<f4"))
    return Steps(size_bytes, kind, table, block, has_negative_zero, scales)
