"""The decoder of sections of weights without an old self; docs/weights-format.md.

A trained float's sign and mantissa are noise, its exponent is not: so floats travel as bytes of
their own, the exponents coded and the rest as it is. Integers that are held in wide floats travel
as the integers. Memory is bounded by a strip and the window of the other bytes' packer.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.elements import (
    BFLOAT16,
    FLOAT16,
    Bits,
    ElementKind,
    of_elements,
)
from slotcast_schemas.codecs.delta.headers import SECTION_HEADER_SIZE, SectionHeader
from slotcast_schemas.codecs.delta.packed import PackedStream, PayloadRegion
from slotcast_schemas.codecs.delta.rans import WordReader
from slotcast_schemas.codecs.delta.selftest import check_arithmetic
from slotcast_schemas.codecs.delta.tables import ByteTables, TableDecoder
from slotcast_schemas.codecs.delta.weights_format import (
    CODED,
    CODED_WHERE_HEAD,
    CONSTANT,
    RAW,
    OtherBytes,
    Palette,
    Plane,
    Planes,
    Steps,
    WeightsDescription,
    WeightsSegment,
    parse_weights_description,
)
from slotcast_schemas.codecs.source import Source
from slotcast_schemas.errors import PayloadCorrupt

STRIP_ELEMENTS: Final = 65_536
"""The number of elements that are decoded at once."""

_STEP_BYTES: Final = 64 * 1024
"""The other bytes that are read and given on at once."""

_NEGATIVE_ZERO: Final = 128
"""The byte that stands for -0.0 among steps, where there is one."""


def decode_section(
    payload: Source, offset: int, *, image_left_bytes: int, end: int
) -> Iterator[bytes]:
    """Give one section's bytes, a piece at a time.

    Args:
        payload: what was received.
        offset: where in it the section begins.
        image_left_bytes: the most bytes that it may make.
        end: where in the payload it must end at the latest.

    Raises:
        PayloadCorrupt: it breaks a bound, or does not decode.
        Incompatible: it needs arithmetic that this machine has not.
    """
    header = read_section_header(payload, offset, image_left_bytes=image_left_bytes, end=end)
    crc32 = 0
    for piece in _Section(payload, offset + SECTION_HEADER_SIZE, header).pieces():
        crc32 = zlib.crc32(piece, crc32)
        yield piece
    if crc32 != header.crc32:
        raise PayloadCorrupt(f"expected a section with CRC {header.crc32:08x}, got {crc32:08x}")


def read_section_header(
    payload: Source, offset: int, *, image_left_bytes: int, end: int
) -> SectionHeader:
    """Read a section's header, checked against what is left of image and payload.

    Args:
        payload: what was received.
        offset: where in it the section begins.
        image_left_bytes: the most bytes that it may make.
        end: where in the payload it must end at the latest.

    Raises:
        PayloadCorrupt: a number is out of its bounds.
    """
    if end - offset < SECTION_HEADER_SIZE:
        raise PayloadCorrupt(f"expected a section at {offset} of {end} bytes")
    return SectionHeader.parse(
        payload.read_at(offset, SECTION_HEADER_SIZE),
        image_left_bytes=image_left_bytes,
        payload_left_bytes=end - offset - SECTION_HEADER_SIZE,
    )


class WeightsStream:
    """One section as a stream of bytes: what a delta packs tensors with that have no old self.

    Args:
        payload: what was received.
        offset: where in it the section begins.
        packed_bytes: the bytes that it must take, no more and no less.
        size_bytes: the bytes that it must make.
    """

    def __init__(self, payload: Source, offset: int, packed_bytes: int, size_bytes: int) -> None:
        end = offset + packed_bytes
        header = read_section_header(payload, offset, image_left_bytes=size_bytes, end=end)
        if SECTION_HEADER_SIZE + header.body_bytes != packed_bytes:
            raise PayloadCorrupt(
                f"expected a section of {packed_bytes} bytes, got {header.body_bytes} and a header"
            )
        if header.image_size_bytes != size_bytes:
            raise PayloadCorrupt(
                f"expected a section that makes {size_bytes} bytes, got {header.image_size_bytes}"
            )
        self._pieces = decode_section(payload, offset, image_left_bytes=size_bytes, end=end)
        self._piece = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes.

        Raises:
            PayloadCorrupt: there are not so many, or they do not decode.
        """
        parts: list[memoryview] = []
        while size > 0:
            if not self._piece:
                self._piece = self._next()
            part, self._piece = self._piece[:size], self._piece[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _next(self) -> memoryview:
        piece = next(self._pieces, None)
        if piece is None:
            raise PayloadCorrupt("expected more bytes of a section, got its end")
        return memoryview(piece)

    def finish(self) -> None:
        """Check that every byte was read, and that the section's CRC is right.

        Raises:
            PayloadCorrupt: bytes are left over, or they are not what was packed.
        """
        if self._piece or next(self._pieces, None) is not None:
            raise PayloadCorrupt("expected a section to be used up, got bytes left")


class _Section:
    """One section while it is decoded."""

    def __init__(self, payload: Source, offset: int, header: SectionHeader) -> None:
        packed = payload.read_at(offset, header.description_packed_bytes)
        self._description = parse_weights_description(packed, header)
        offset += header.description_packed_bytes
        self._other = PackedStream(
            PayloadRegion(payload, offset, header.other_bytes),
            self._description.packer,
            self._description.other_size_bytes,
            b"",
        )
        offset += header.other_bytes
        self._coder = _open_coder(self._description, header, payload, offset)
        offset += header.words_bytes
        self._raw = PayloadRegion(payload, offset, header.plain_bytes)
        self._raw_left = header.plain_bytes

    def pieces(self) -> Iterator[bytes]:
        """Give the section's bytes, and check that its parts are used up."""
        for segment in self._description.segments:
            yield from self._segment(segment)
        self._other.finish()
        if self._raw_left:
            raise PayloadCorrupt(f"expected plain bytes to be used up, got {self._raw_left} left")
        if self._coder is not None:
            self._coder.finish()

    def _segment(self, segment: WeightsSegment) -> Iterator[bytes]:
        if isinstance(segment, OtherBytes):
            for start in range(0, segment.size_bytes, _STEP_BYTES):
                yield self._other.read(min(_STEP_BYTES, segment.size_bytes - start))
            return
        total = segment.kind.count(segment.size_bytes)
        if isinstance(segment, Steps):
            check_arithmetic()
        for first in range(0, total, STRIP_ELEMENTS):
            count = min(STRIP_ELEMENTS, total - first)
            if isinstance(segment, Planes):
                yield self._planes(segment, count)
            elif isinstance(segment, Palette):
                yield self._palette(segment, count)
            else:
                symbols = self._coded(segment.table, count)
                yield stepped(segment, symbols, first).tobytes()

    def _planes(self, segment: Planes, count: int) -> bytes:
        """A strip's elements, put together from their bytes."""
        width = len(segment.planes)
        together = np.empty((count, width), dtype=np.uint8)
        head = self._plane(segment.planes[0], count)
        together[:, width - 1] = head
        for place, plane in enumerate(segment.planes[1:], start=2):
            together[:, width - place] = self._where_head(plane, head, count)
        elements: Bits = together.reshape(-1).view(segment.kind.unsigned)
        return turned_right(segment.kind, elements).tobytes()

    def _where_head(
        self, plane: Plane, head: NDArray[np.uint8] | int, count: int
    ) -> NDArray[np.uint8] | int:
        """A byte of each element; where the mode says so, only of those with a head."""
        if plane.mode in (CONSTANT, RAW, CODED):
            return self._plane(plane, count)
        has_head = np.broadcast_to(np.asarray(head, dtype=np.uint8) != 0, (count,))
        values = np.zeros(count, dtype=np.uint8)
        dense = CODED if plane.mode == CODED_WHERE_HEAD else RAW
        few = int(np.count_nonzero(has_head))
        values[has_head] = self._plane(Plane(dense, plane.value, plane.table), few)
        return values

    def _plane(self, plane: Plane, count: int) -> NDArray[np.uint8] | int:
        if plane.mode == CONSTANT:
            return plane.value
        if plane.mode == RAW:
            return self._take_raw(count)
        symbols = self._coded(plane.table, count)
        return symbols + np.uint8(plane.value) if plane.value else symbols

    def _take_raw(self, count: int) -> NDArray[np.uint8]:
        if count > self._raw_left:
            raise PayloadCorrupt(f"expected {count} more plain bytes, got {self._raw_left}")
        self._raw_left -= count
        return np.frombuffer(self._raw.read(count), dtype=np.uint8)

    def _palette(self, segment: Palette, count: int) -> bytes:
        indices = self._coded(segment.table, count)
        if indices.max(initial=0) >= len(segment.values):
            raise PayloadCorrupt(
                f"expected one of {len(segment.values)} values, got number {indices.max()}"
            )
        return segment.values.astype(segment.kind.unsigned).take(indices).tobytes()

    def _coded(self, table: int, count: int) -> NDArray[np.uint8]:
        if count == 0:
            return np.zeros(0, dtype=np.uint8)
        if self._coder is None:
            raise PayloadCorrupt("expected coded bytes, got a section without words")
        return self._coder.decode(table, count)


def _open_coder(
    description: WeightsDescription, header: SectionHeader, payload: Source, offset: int
) -> TableDecoder | None:
    """The coder, or None where a section has nothing coded."""
    if header.words_bytes == 0:
        return None
    if not len(description.tables) or header.words_bytes % 2:
        raise PayloadCorrupt(
            f"expected tables and whole words, got {len(description.tables)} and "
            f"{header.words_bytes} bytes"
        )
    tables = ByteTables(description.tables, header.precision_bits)
    words = WordReader(payload.read_at, offset, header.words_bytes)
    return TableDecoder(tables, 1 << header.lanes_log2, words)


def turned_left(kind: ElementKind, elements: Bits) -> Bits:
    """Turn floats left by a bit, so that the highest byte begins with the exponent; shape (n,).

    The sign becomes the lowest bit. Integers stay as they are.
    """
    if not kind.is_float:
        return elements
    turned: Bits = np.left_shift(elements, 1, dtype=kind.unsigned)
    turned |= np.right_shift(elements, kind.bits - 1, dtype=kind.unsigned)
    return turned


def turned_right(kind: ElementKind, elements: Bits) -> Bits:
    """Undo `turned_left`; unsigned, shape (n,)."""
    if not kind.is_float:
        return elements
    turned: Bits = np.right_shift(elements, 1, dtype=kind.unsigned)
    turned |= np.left_shift(elements, kind.bits - 1, dtype=kind.unsigned)
    return turned


def stepped(segment: Steps, symbols: NDArray[np.uint8], first: int) -> Bits:
    """Give the floats that are so many steps of their block's scale; unsigned, shape (n,).

    One product in float32, rounded to nearest even; then to the element's kind, the same way.

    Args:
        segment: kind, block and scales.
        symbols: how many steps, a signed byte each; uint8, shape (n,).
        first: index in the segment of the first of them.
    """
    scales = of_elements(segment.scales, segment.block, first, len(symbols))
    with np.errstate(all="ignore"):
        steps = symbols.view(np.int8).astype(np.float32)
        floats = np.multiply(steps, scales, dtype=np.float32)
        elements = as_kind(segment.kind, floats)
    if segment.has_negative_zero:
        elements[symbols == _NEGATIVE_ZERO] = 1 << (segment.kind.bits - 1)
    return elements


def as_kind(kind: ElementKind, floats: NDArray[np.float32]) -> Bits:
    """Round float32 numbers to a kind of floats, to nearest even; unsigned, shape (n,)."""
    if kind == FLOAT16:
        return floats.astype("<f2").view("<u2")
    bits = floats.view("<u4")
    if kind == BFLOAT16:
        return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return bits
