"""The encoder of sections of weights without an old self: docs/weights-format.md.

Decides for each tensor whether it goes as bytes of which some are coded, as indices of a palette,
as steps of a scale, or with the other bytes to zstd; the decoder is
`slotcast_schemas.codecs.delta.weights`. The same bytes give the same section.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from slotcast_publisher.delta.table_coder import Run, TablePool, code_runs
from slotcast_publisher.delta.whole_steps import CELL_ELEMENTS, cells_in_steps, find_steps, steps_of
from slotcast_schemas.codecs.delta.elements import INT4, INT8, Bits, ElementKind
from slotcast_schemas.codecs.delta.headers import SectionHeader
from slotcast_schemas.codecs.delta.packed import PACK_NONE, PACK_ZSTD
from slotcast_schemas.codecs.delta.weights import STRIP_ELEMENTS, turned_left
from slotcast_schemas.codecs.delta.weights_format import (
    CODED,
    CODED_WHERE_HEAD,
    CONSTANT,
    PALETTE_MAX,
    RAW,
    RAW_WHERE_HEAD,
    OtherBytes,
    Palette,
    Plane,
    Planes,
    Steps,
    WeightsDescription,
    WeightsSegment,
    pack_weights_description,
)

_SMALL_BYTES: Final = 256
"""The bytes below which a tensor goes with the other bytes: to describe it would cost more."""

_WORTH_CODING: Final = 0.985
"""The share of a byte's 8 bits above which coding does not pay the time that decoding takes."""

_WORTH_A_FORM: Final = 0.98
"""The share of what zstd needs above which a tensor is left to zstd, which is decoded sooner."""

_SPARSE_SHARE: Final = 0.02
"""The share of zeros from which they are left out of the lower bytes."""

_SAMPLE_ELEMENTS: Final = 4096
"""The elements by which a palette is ruled out."""

_WINDOW_LOG_MAX: Final = 23
"""A window of 8 MiB, as a power of two: more is never held for the other bytes."""


@dataclass(frozen=True, slots=True)
class WeightsPiece:
    """A run of the image: a tensor's elements, or other bytes where there is no kind.

    `row` is the number of elements of one output, which may share a scale.
    """

    size_bytes: int
    kind: ElementKind | None = None
    row: int = 0


def encode_weights(data: bytes, pieces: Sequence[WeightsPiece]) -> bytes:
    """Encode one section.

    Args:
        data: the section's part of the image, at most 16 MiB.
        pieces: what it consists of, in order, covering it.
    """
    section = _Section()
    view, start = memoryview(data), 0
    for piece in pieces:
        section.add(view[start : start + piece.size_bytes], piece)
        start += piece.size_bytes
    return section.finish(data)


@dataclass(slots=True)
class _Form:
    """One way to send a tensor: about how many bits it takes, and what it is."""

    bits: float
    segment: Planes | Palette | Steps
    symbols: NDArray[np.uint8] | None = None


@dataclass(slots=True)
class _Section:
    """Collects a section's segments and streams."""

    segments: list[WeightsSegment] = field(default_factory=list)
    pool: TablePool = field(default_factory=TablePool)
    runs: list[Run] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    other: list[memoryview] = field(default_factory=list)

    def add(self, data: memoryview, piece: WeightsPiece) -> None:
        """Take the next piece."""
        for part, of_part in _parts(data, piece):
            self._add_part(part, of_part)

    def _add_part(self, data: memoryview, piece: WeightsPiece) -> None:
        form = None if piece.kind is None else _best_form(data, piece.kind, piece.row)
        if form is None:
            self._add_other(data)
        elif isinstance(form.segment, Planes):
            self._add_planes(data, form.segment)
        elif form.symbols is not None:
            table, _ = self.pool.place(np.bincount(form.symbols, minlength=256), may_shift=False)
            self.segments.append(replace(form.segment, table=table))
            for strip in _strips(form.symbols):
                self.runs.append((table, strip))

    def _add_other(self, data: memoryview) -> None:
        self.other.append(data)
        last = self.segments[-1] if self.segments else None
        if isinstance(last, OtherBytes):
            self.segments[-1] = OtherBytes(last.size_bytes + len(data))
        elif len(data):
            self.segments.append(OtherBytes(len(data)))

    def _add_planes(self, data: memoryview, segment: Planes) -> None:
        elements = _elements(data, segment.kind)
        planes = [
            self._placed(elements, plane, place) for place, plane in enumerate(segment.planes)
        ]
        self.segments.append(replace(segment, planes=tuple(planes)))
        for strip in _strips(elements):
            head = _byte_of(strip, 0)
            for place, plane in enumerate(planes):
                values = _byte_of(strip, place)
                if plane.mode in (RAW_WHERE_HEAD, CODED_WHERE_HEAD):
                    values = values[head != 0]
                if plane.mode in (RAW, RAW_WHERE_HEAD):
                    self.raw.append(values.tobytes())
                elif plane.mode != CONSTANT:
                    self.runs.append((plane.table, values - np.uint8(plane.value)))

    def _placed(self, elements: Bits, plane: Plane, place: int) -> Plane:
        """The plane with a table to code it, where it is coded."""
        if plane.mode not in (CODED, CODED_WHERE_HEAD):
            return plane
        values = _byte_of(elements, place)
        if plane.mode == CODED_WHERE_HEAD:
            values = values[_byte_of(elements, 0) != 0]
        table, shift = self.pool.place(np.bincount(values, minlength=256), may_shift=place == 0)
        return Plane(plane.mode, shift, table)

    def finish(self, data: bytes) -> bytes:
        """Give the section's bytes."""
        packer, other = _packed(b"".join(self.other))
        coded = code_runs(self.pool.used(), self.runs)
        description = WeightsDescription(self.segments, packer, self.pool.used())
        raw_description = pack_weights_description(description)
        packed = zstandard.ZstdCompressor(19).compress(raw_description)
        plain = b"".join(self.raw)
        header = SectionHeader(
            len(data),
            len(raw_description),
            len(packed),
            len(other),
            len(coded.words),
            len(plain),
            coded.lanes_log2,
            coded.precision_bits,
            zlib.crc32(data),
        )
        return b"".join((header.pack(), packed, other, coded.words, plain))


def _packed(data: bytes) -> tuple[int, bytes]:
    """The other bytes by zstd at its best usual level or its fastest, or as they are.

    Bytes that repeat nothing, as quantised weights, take 0.1 % less at the fastest.
    """
    packed = min((_packed_at(level, data) for level in (1, 19)), key=len)
    return (PACK_ZSTD, packed) if len(packed) < len(data) else (PACK_NONE, data)


def _packed_at(level: int, data: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(data),
        window_log=min(_WINDOW_LOG_MAX, max(10, len(data).bit_length())),
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _elements(data: memoryview, kind: ElementKind) -> Bits:
    """A tensor's elements, floats turned so that the exponent is the highest byte."""
    return turned_left(kind, np.frombuffer(data, dtype=kind.unsigned))


def _byte_of(elements: Bits, place: int) -> NDArray[np.uint8]:
    """One byte of each element, the highest being place 0; shape (n,)."""
    width = elements.itemsize
    return np.ascontiguousarray(elements.view(np.uint8)[width - 1 - place :: width])


def _strips(values: Bits) -> Iterator[Bits]:
    for first in range(0, len(values), STRIP_ELEMENTS):
        yield values[first : first + STRIP_ELEMENTS]


def _parts(data: memoryview, piece: WeightsPiece) -> Iterator[tuple[memoryview, WeightsPiece]]:
    """Give an array without rows in parts, where some of it is in whole steps of several scales.

    Such is one that was found by its looks: many tensors, of which nobody says where they begin.
    """
    kind = piece.kind
    cells: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
    if kind is not None and kind.bits > 8 and len(data) % kind.size_bytes(1) == 0:
        elements = np.frombuffer(data, dtype=kind.unsigned)
        if piece.row in {0, len(elements)}:
            cells = cells_in_steps(kind, elements)
    if kind is None or not cells.any():
        yield data, piece
        return
    cell_bytes = kind.size_bytes(CELL_ELEMENTS)
    cuts = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(cells)]
    for first, last in itertools.pairwise(cuts):
        part = data[first * cell_bytes : last * cell_bytes]
        row = CELL_ELEMENTS if cells[first] else 0
        yield part, WeightsPiece(len(part), kind, row)
    if rest := data[len(cells) * cell_bytes :]:
        yield rest, WeightsPiece(len(rest), kind, kind.count(len(rest)))


def _best_form(data: memoryview, kind: ElementKind, row: int) -> _Form | None:
    """The form that takes fewest bits; None where zstd does about as well."""
    if kind == INT4:
        kind = INT8  # two in a byte: a byte is what there is to code
    if len(data) < _SMALL_BYTES or len(data) % (kind.bits // 8):
        return None
    best = _planes_form(data, kind)
    if kind.bits > 8:
        for form in (_palette_form(data, kind), _steps_form(data, kind, row)):
            if form is not None and form.bits < best.bits:
                best = form
    packed_bits = 8 * len(zstandard.ZstdCompressor(1).compress(data))
    return best if best.bits < packed_bits * _WORTH_A_FORM else None


def _planes_form(data: memoryview, kind: ElementKind) -> _Form:
    elements = _elements(data, kind)
    head = _byte_of(elements, 0)
    has_head = head != 0
    is_sparse = np.count_nonzero(has_head) <= len(head) * (1 - _SPARSE_SHARE)
    plane, bits = _plane_form(head)
    planes = [plane]
    for place in range(1, elements.itemsize):
        values = _byte_of(elements, place)
        plane, plane_bits = _plane_form(values)
        if is_sparse and not values[~has_head].any():
            dense, dense_bits = _plane_form(values[has_head])
            if dense_bits < plane_bits and dense.mode in (RAW, CODED):
                mode = RAW_WHERE_HEAD if dense.mode == RAW else CODED_WHERE_HEAD
                plane, plane_bits = Plane(mode), dense_bits
        planes.append(plane)
        bits += plane_bits
    return _Form(bits, Planes(len(data), kind, tuple(planes)))


def _plane_form(values: NDArray[np.uint8]) -> tuple[Plane, float]:
    """How one byte of each element goes, and the bits that it takes."""
    counts = np.bincount(values, minlength=256)
    if np.count_nonzero(counts) == 1:
        return Plane(CONSTANT, int(values[0])), 0.0
    bits = entropy_bits(counts)
    if bits < 8 * len(values) * _WORTH_CODING:
        return Plane(CODED), bits
    return Plane(RAW), 8.0 * len(values)


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Give the bits of symbols that came so often, with a table that is learnt; shape (256,)."""
    seen = counts[counts > 0].astype(np.float64)
    return float(-(seen * np.log2(seen / seen.sum())).sum() + 5 * len(seen)) if len(seen) else 0.0


def _palette_form(data: memoryview, kind: ElementKind) -> _Form | None:
    elements: Bits = np.frombuffer(data, dtype=kind.unsigned)
    step = max(1, len(elements) // _SAMPLE_ELEMENTS)
    if len(np.unique(elements[::step])) > PALETTE_MAX:
        return None
    values, symbols = np.unique(elements, return_inverse=True)
    if len(values) > PALETTE_MAX:
        return None
    indices = symbols.astype(np.uint8)
    bits = entropy_bits(np.bincount(indices, minlength=256)) + kind.bits * len(values)
    segment = Palette(len(data), kind, 0, values.astype(np.uint32))
    return _Form(bits, segment, indices)


def _steps_form(data: memoryview, kind: ElementKind, row: int) -> _Form | None:
    found = find_steps(kind, np.frombuffer(data, dtype=kind.unsigned), row)
    if found is None:
        return None
    segment = Steps(len(data), kind, 0, found.block, found.has_negative_zero, found.scales)
    symbols = steps_of(kind, np.frombuffer(data, dtype=kind.unsigned), segment)
    if symbols is None:
        return None
    bits = entropy_bits(np.bincount(symbols, minlength=256)) + 24.0 * len(found.scales)
    return _Form(bits, segment, symbols)
