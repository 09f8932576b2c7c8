"""The delta decoder: a payload and the base image in, the new image out, in order.

Memory is bounded by a strip of a tensor and the streams' windows, whatever the size of the model.
Whether the image is the one that was signed is left to the caller, who hashes what the sink gets.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.description_format import parse_description
from slotcast_schemas.codecs.delta.elements import Bits, ordered, pack, unpack
from slotcast_schemas.codecs.delta.headers import (
    FEATURE_RECORDS,
    HEADER_SIZE,
    SECTION_HEADER_SIZE,
    Header,
    SectionHeader,
)
from slotcast_schemas.codecs.delta.model import FrequencyModel
from slotcast_schemas.codecs.delta.other import open_other
from slotcast_schemas.codecs.delta.predict import apply_rebase, predict
from slotcast_schemas.codecs.delta.rans import BitReader, RansDecoder, WordReader
from slotcast_schemas.codecs.delta.records import (
    RECORDS_SIZE_BYTES,
    TABLE_MAX_BYTES,
    InFieldOrder,
    PutTogether,
    RecordRun,
    parse_runs,
)
from slotcast_schemas.codecs.delta.segments import (
    Copy,
    Description,
    Rebase,
    Segment,
    TensorSegment,
)
from slotcast_schemas.codecs.delta.selftest import check_arithmetic
from slotcast_schemas.codecs.delta.strips import open_old, strips
from slotcast_schemas.codecs.delta.symbols import SymbolTables, context_of
from slotcast_schemas.codecs.source import Sink, Source
from slotcast_schemas.errors import PayloadCorrupt

_STEP_BYTES: Final = 64 * 1024
"""The bytes that are read and given on at once."""

_BLOCK_ELEMENTS: Final = 16_384
"""The elements of a strip that are put together at once: what numpy makes of them on the way stays
in a processor's second cache (docs/adr/0087)."""


def decode_delta(
    payload: Source, base: Source, *, image_size_bytes: int, base_sha256: bytes, sink: Sink
) -> None:
    """Give the new image to `sink`, in order, exactly `image_size_bytes` of it.

    Args:
        payload: the received delta.
        base: the image that it starts from, which the caller has verified.
        image_size_bytes: the signed size of the new image; never exceeded.
        base_sha256: digest of the base image, as the caller has it on record.
        sink: gets the bytes; a piece is valid until the call returns.

    Raises:
        WrongBase: the delta starts from another image; nothing was given to the sink.
        Incompatible: the delta needs what this decoder, or this machine's arithmetic, has not.
        PayloadCorrupt: the payload breaks a bound or does not decode.
        SlotDamaged: the base cannot be read.
    """
    check_arithmetic()
    header = Header.parse(
        payload.read_at(0, min(HEADER_SIZE, payload.size_bytes)),
        base_size_bytes=base.size_bytes,
        base_sha256=base_sha256,
        image_size_bytes=image_size_bytes,
    )
    offset = HEADER_SIZE
    if header.features & FEATURE_RECORDS:
        base_runs, image_runs, offset = _read_records(payload, header)
        base, sink = InFieldOrder(base, base_runs), PutTogether(sink, image_runs)
    decode_sections(payload, offset, header.section_count, base, image_size_bytes, sink)


def _read_records(payload: Source, header: Header) -> tuple[list[RecordRun], list[RecordRun], int]:
    """Both images' runs of records, and where the sections begin."""
    offset = HEADER_SIZE + RECORDS_SIZE_BYTES
    if payload.size_bytes < offset:
        raise PayloadCorrupt(f"expected runs of records, got {payload.size_bytes} bytes")
    size_bytes = int.from_bytes(payload.read_at(HEADER_SIZE, RECORDS_SIZE_BYTES), "little")
    if size_bytes > min(TABLE_MAX_BYTES, payload.size_bytes - offset):
        raise PayloadCorrupt(f"expected runs of records, got {size_bytes} bytes of them")
    base_runs, image_runs = parse_runs(
        payload.read_at(offset, size_bytes),
        base_size_bytes=header.base_size_bytes,
        image_size_bytes=header.image_size_bytes,
    )
    return base_runs, image_runs, offset + size_bytes


def decode_sections(
    payload: Source, offset: int, count: int, base: Source, image_size_bytes: int, sink: Sink
) -> None:
    """Decode `count` sections that begin at `offset`; together they make the whole image.

    Args:
        payload: what was received.
        offset: where in it the first section begins, in bytes.
        count: how many sections follow one another.
        base: the image to start from.
        image_size_bytes: the size of what they make.
        sink: takes the image's bytes, in order.
    """
    image_left = image_size_bytes
    for _ in range(count):
        if payload.size_bytes - offset < SECTION_HEADER_SIZE:
            raise PayloadCorrupt(f"expected a section at {offset} of {payload.size_bytes} bytes")
        data = payload.read_at(offset, SECTION_HEADER_SIZE)
        offset += SECTION_HEADER_SIZE
        section = SectionHeader.parse(
            data, image_left_bytes=image_left, payload_left_bytes=payload.size_bytes - offset
        )
        _Section(payload, offset, section, base).decode(sink)
        offset += section.body_bytes
        image_left -= section.image_size_bytes
    if image_left or offset != payload.size_bytes:
        raise PayloadCorrupt(
            f"expected sections to end with image and payload, got {image_left} bytes of image and "
            f"{payload.size_bytes - offset} of payload left"
        )


class _Section:
    """One section while it is decoded."""

    def __init__(self, payload: Source, offset: int, header: SectionHeader, base: Source) -> None:
        self._header = header
        self._base = base
        packed = payload.read_at(offset, header.description_packed_bytes)
        self._description = parse_description(packed, header, base_size_bytes=base.size_bytes)
        offset += header.description_packed_bytes
        self._other = open_other(payload, offset, base, self._description.other)
        offset += header.other_bytes
        plain_offset = offset + header.words_bytes
        self._coder = _open_coder(self._description, header, payload, offset)
        self._plain = BitReader(payload.read_at, plain_offset, header.plain_bytes)
        self._context_index = _indices(self._description.used_contexts)
        symbols = np.flatnonzero(self._description.used_symbols).astype(np.uint8)
        self._tables = SymbolTables(symbols, int(self._description.used_contexts.sum()))
        self._crc32 = 0

    def decode(self, sink: Sink) -> None:
        """Give the section's bytes to the sink and check that its parts are used up."""

        def counted(data: bytes | memoryview) -> None:
            self._crc32 = zlib.crc32(data, self._crc32)
            sink(data)

        for segment in self._description.segments:
            self._segment(segment, counted)
        self._other.finish()
        self._plain.finish()
        if self._coder is not None:
            self._coder.finish()
        if self._crc32 != self._header.crc32:
            raise PayloadCorrupt(
                f"expected a section with CRC {self._header.crc32:08x}, got {self._crc32:08x}"
            )

    def _segment(self, segment: Segment, sink: Sink) -> None:
        if isinstance(segment, TensorSegment):
            self._tensor(segment, sink)
            return
        for start in range(0, segment.size_bytes, _STEP_BYTES):
            size = min(_STEP_BYTES, segment.size_bytes - start)
            if isinstance(segment, Copy):
                sink(self._base.read_at(segment.base_offset + start, size))
            else:
                sink(self._other.read(size))

    def _tensor(self, tensor: TensorSegment, sink: Sink) -> None:
        reader = open_old(self._base, tensor)
        for first, count in strips(tensor):
            old = unpack(tensor.kind, reader.read(first, count))
            holes = tensor.gather.holes(first, count) if tensor.gather else None
            predicted = predict(tensor, old, first)
            if tensor.is_exact:
                sink(pack(tensor.kind, self._filled(tensor, predicted, holes)))
            elif holes is None:
                self._coded(tensor, predicted, first, sink)
            else:
                self._coded_apart_from_holes(tensor, predicted, first, holes, sink)

    def _coded(self, tensor: TensorSegment, predicted: Bits, first: int, sink: Sink) -> None:
        places = self._places(context_of(tensor, predicted, first))
        for start in range(0, len(predicted), _BLOCK_ELEMENTS):
            block = slice(start, start + _BLOCK_ELEMENTS)
            sink(pack(tensor.kind, self._corrected(tensor, predicted[block], places[block])))

    def _coded_apart_from_holes(
        self,
        tensor: TensorSegment,
        predicted: Bits,
        first: int,
        holes: NDArray[np.bool_],
        sink: Sink,
    ) -> None:
        """Nothing is coded for holes: all others are decoded together, and put in their places."""
        there = ~holes
        new = predicted.copy()
        if there.any():
            places = self._places(context_of(tensor, predicted, first)[there])
            new[there] = self._corrected(tensor, predicted[there], places)
        sink(pack(tensor.kind, self._filled(tensor, new, holes)))

    def _filled(
        self, tensor: TensorSegment, elements: Bits, holes: NDArray[np.bool_] | None
    ) -> Bits:
        """The elements with the next other bytes at the holes."""
        if holes is None:
            return elements
        filled = elements.copy()
        given = self._other.read(tensor.kind.size_bytes(int(np.count_nonzero(holes))))
        filled[holes] = unpack(tensor.kind, given)
        return filled

    def _places(self, used: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Where in the tables the symbol of each element is, by the contexts of all."""
        contexts = self._context_index.take(used)
        if self._coder is None or contexts.min(initial=0) < 0:
            raise PayloadCorrupt("expected only contexts that the section names, got another")
        return self._coder.decode(contexts)

    def _corrected(self, tensor: TensorSegment, predicted: Bits, places: NDArray[np.intp]) -> Bits:
        """The prediction with the coded differences added."""
        kind = tensor.kind
        plain = self._plain.take(self._tables.plain_bits.take(places))
        difference = self._tables.join(kind, places, plain, predicted)
        if isinstance(tensor.predictor, Rebase):
            return apply_rebase(kind, tensor.predictor, predicted, difference)
        difference += ordered(kind, predicted)
        if kind.bits == 4:
            return difference & np.uint8(15)
        return ordered(kind, difference)


def _indices(used: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Index among the used ones for each, -1 where not used."""
    return np.where(used, np.cumsum(used) - 1, -1)


def _open_coder(
    description: Description, header: SectionHeader, payload: Source, offset: int
) -> RansDecoder | None:
    """The coder, or None where a section has nothing coded."""
    contexts = int(description.used_contexts.sum())
    symbols = int(description.used_symbols.sum())
    if header.words_bytes == 0:
        return None
    if contexts == 0 or symbols == 0 or header.words_bytes % 2:
        raise PayloadCorrupt(
            f"expected contexts, symbols and whole words, got {contexts}, {symbols} and "
            f"{header.words_bytes} bytes"
        )
    model = FrequencyModel(
        description.used_contexts, description.used_symbols, header.precision_bits
    )
    words = WordReader(payload.read_at, offset, header.words_bytes)
    return RansDecoder(model, 1 << header.lanes_log2, words)
