"""One section of a delta while it is decoded: each segment in order, from the base and streams.

Memory is bounded by a strip of a tensor and the streams' windows, whatever the section's size.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.compact import Script
from slotcast_schemas.codecs.delta.description_format import parse_description
from slotcast_schemas.codecs.delta.elements import Bits, ordered, pack, unpack
from slotcast_schemas.codecs.delta.headers import SectionHeader
from slotcast_schemas.codecs.delta.model import FrequencyModel
from slotcast_schemas.codecs.delta.other import open_other
from slotcast_schemas.codecs.delta.packed import (
    PACK_NONE,
    ByteStream,
    PackedStream,
    PayloadRegion,
)
from slotcast_schemas.codecs.delta.predict import apply_rebase, predict
from slotcast_schemas.codecs.delta.rans import BitReader, RansDecoder, WordReader
from slotcast_schemas.codecs.delta.segments import (
    CONTEXT_COUNT,
    SYMBOL_COUNT,
    Copy,
    Description,
    OtherStreams,
    Rebase,
    Segment,
    TensorSegment,
)
from slotcast_schemas.codecs.delta.strips import open_old, strips
from slotcast_schemas.codecs.delta.symbols import SymbolTables, context_of
from slotcast_schemas.codecs.source import MemorySource, Sink, Source
from slotcast_schemas.errors import PayloadCorrupt

_STEP_BYTES: Final = 64 * 1024
"""The bytes that are read and given on at once."""

_BLOCK_ELEMENTS: Final = 16_384
"""The elements of a strip that are put together at once: what numpy makes of them on the way stays
in a processor's second cache (docs/adr/0087)."""


class SectionDecoder:
    """One section while it is decoded, or the whole image of a compact delta.

    Args:
        base: the image to start from.
        description: what the section consists of.
        other: its other bytes.
        coder: gives symbols; None where nothing is coded.
        plain: gives plain bits.
        crc32: of what it makes.
    """

    def __init__(
        self,
        base: Source,
        description: Description,
        other: ByteStream,
        coder: RansDecoder | None,
        plain: BitReader,
        crc32: int,
    ) -> None:
        self._base, self._description, self._other = base, description, other
        self._coder, self._plain, self._expected_crc32 = coder, plain, crc32
        self._context_index = _indices(description.used_contexts)
        symbols = np.flatnonzero(description.used_symbols).astype(np.uint8)
        self._tables = SymbolTables(symbols, int(description.used_contexts.sum()))
        self._crc32 = 0

    @classmethod
    def opened(
        cls, payload: Source, offset: int, header: SectionHeader, base: Source
    ) -> SectionDecoder:
        """Open a section.

        Args:
            payload: what was received.
            offset: where in it the section's header ends, in bytes.
            header: that header.
            base: the image to start from.
        """
        packed = payload.read_at(offset, header.description_packed_bytes)
        description = parse_description(packed, header, base_size_bytes=base.size_bytes)
        offset += header.description_packed_bytes
        other = open_other(payload, offset, base, description.other)
        offset += header.other_bytes
        coder = _open_coder(description, header, payload, offset)
        plain = BitReader(payload.read_at, offset + header.words_bytes, header.plain_bytes)
        return cls(base, description, other, coder, plain, header.crc32)

    @classmethod
    def of_script(cls, script: Script, base: Source) -> SectionDecoder:
        """Open the image that a compact delta makes."""
        given = MemorySource(script.given)
        region = PayloadRegion(given, 0, given.size_bytes)
        other = PackedStream(region, PACK_NONE, given.size_bytes, b"")
        unused = (np.zeros(n, dtype=np.bool_) for n in (CONTEXT_COUNT, SYMBOL_COUNT))
        description = Description(script.segments, OtherStreams(), *unused)
        return cls(base, description, other, None, BitReader(given.read_at, 0, 0), script.crc32)

    def decode(self, sink: Sink) -> None:
        """Give the section's bytes to the sink and check that its parts are used up.

        Raises:
            PayloadCorrupt: it does not decode, or bytes are left over.
            SlotDamaged: the base cannot be read.
        """

        def counted(data: bytes | memoryview) -> None:
            self._crc32 = zlib.crc32(data, self._crc32)
            sink(data)

        for segment in self._description.segments:
            self._segment(segment, counted)
        self._other.finish()
        self._plain.finish()
        if self._coder is not None:
            self._coder.finish()
        if self._crc32 != self._expected_crc32:
            raise PayloadCorrupt(
                f"expected a section with CRC {self._expected_crc32:08x}, got {self._crc32:08x}"
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
