"""The bytes around the tensors: graph text, names, labels, tokenizers, anything that is no tensor.

They form one stream in a section, made in one of three ways: plain; as a patch in the manner of
bsdiff (C. Percival, "Naive differences of executable code", 2003) against ranges of the base; or as
zstd with those ranges for a dictionary. Streams are unpacked as they are used, with bounded memory.
"""

from __future__ import annotations

import numpy as np

from slotcast_schemas.codecs.delta.packed import (
    PACK_WEIGHTS,
    ByteStream,
    PackedStream,
    PayloadRegion,
)
from slotcast_schemas.codecs.delta.segments import (
    MODE_DICTIONARY,
    MODE_PATCH,
    MODE_SPARSE_PATCH,
    OtherStreams,
)
from slotcast_schemas.codecs.delta.weights import WeightsStream
from slotcast_schemas.codecs.source import Source
from slotcast_schemas.errors import PayloadCorrupt


class RangesOfBase:
    """Some ranges of the base laid end to end, with random access."""

    def __init__(self, base: Source, ranges: list[tuple[int, int]]) -> None:
        self._base = base
        self._offsets = np.array([offset for offset, _ in ranges], dtype=np.int64)
        sizes = np.array([size for _, size in ranges], dtype=np.int64)
        self._ends = np.cumsum(sizes)
        self.size_bytes = int(sizes.sum())

    def read_at(self, position: int, size: int) -> bytes:
        """Read bytes of the ranges; zeros outside them, as bsdiff has it."""
        start, end = min(max(position, 0), self.size_bytes), min(position + size, self.size_bytes)
        if end <= start:
            return bytes(size)
        middle = self._read_inside(start, end - start)
        return bytes(start - position) + middle + bytes(position + size - end)

    def _read_inside(self, position: int, size: int) -> bytes:
        parts: list[bytes] = []
        index = int(np.searchsorted(self._ends, position, side="right"))
        while size > 0:
            end = int(self._ends[index])
            start = int(self._ends[index - 1]) if index else 0
            take = min(size, end - position)
            parts.append(self._base.read_at(int(self._offsets[index]) + position - start, take))
            position, size, index = position + take, size - take, index + 1
        return b"".join(parts)


class NumberStream:
    """Integers of 0 or more in a stream, 7 bits a byte, the lowest first."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def next(self) -> int:
        """Read the next number.

        Raises:
            PayloadCorrupt: the stream ended, or the number is of more than 42 bits.
        """
        value = 0
        for shift in range(0, 42, 7):
            byte = self._stream.read(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise PayloadCorrupt("expected numbers of at most 42 bits in a stream, got more")

    def finish(self) -> None:
        """Check that every number was read.

        Raises:
            PayloadCorrupt: bytes are left over.
        """
        self._stream.finish()


class SparseStream:
    """Bytes that are zero but for some: how many zeros come before each of those, and its value.

    Args:
        gaps: how many zeros come before each other byte.
        values: those bytes.
        count: how many of those there are.
    """

    def __init__(self, gaps: NumberStream, values: ByteStream, count: int) -> None:
        self._gaps, self._values = gaps, values
        self._left = count
        self._zeros = 0
        self._advance()

    def _advance(self) -> None:
        self._zeros = self._gaps.next() if self._left else -1
        self._left -= 1

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes.

        Raises:
            PayloadCorrupt: a stream ended too early.
        """
        out = bytearray(size)
        position = 0
        while 0 <= self._zeros < size - position:
            position += self._zeros
            out[position] = self._values.read(1)[0]
            position += 1
            self._advance()
        if self._zeros >= 0:
            self._zeros -= size - position
        return bytes(out)

    def finish(self) -> None:
        """Check that every value was used.

        Raises:
            PayloadCorrupt: some are left over.
        """
        if self._zeros >= 0:
            raise PayloadCorrupt("expected every difference to be used, got some left")
        self._gaps.finish()
        self._values.finish()


class PatchStream:
    """Bytes made from ranges of the base as a control stream says: add differences, insert.

    Args:
        ranges: the ranges of the base, laid end to end.
        controls: for each step, how many bytes to add, how many to insert, and how far to move on.
        difference: what is added to bytes of the base, modulo 256.
        extra: what is inserted.
    """

    def __init__(
        self,
        ranges: RangesOfBase,
        controls: tuple[NumberStream, NumberStream, NumberStream],
        difference: ByteStream,
        extra: ByteStream,
    ) -> None:
        self._ranges = ranges
        self._controls = controls
        self._difference, self._extra = difference, extra
        self._position = 0
        self._add = 0
        self._insert = 0
        self._seek = 0

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes.

        Raises:
            PayloadCorrupt: a stream ended too early.
        """
        out = bytearray()
        while len(out) < size:
            take = size - len(out)
            if self._add:
                out += self._added(min(take, self._add))
            elif self._insert:
                inserted = self._extra.read(min(take, self._insert))
                self._insert -= len(inserted)
                out += inserted
            else:
                self._next_control()
        return bytes(out)

    def _added(self, size: int) -> bytes:
        old = np.frombuffer(self._ranges.read_at(self._position, size), dtype=np.uint8)
        self._position += size
        self._add -= size
        return (old + np.frombuffer(self._difference.read(size), dtype=np.uint8)).tobytes()

    def _next_control(self) -> None:
        """A control of two sizes of zero is allowed: it costs the payload bytes, so it ends."""
        self._position += self._seek
        self._add, self._insert, zigzag = (stream.next() for stream in self._controls)
        self._seek = -(zigzag + 1) // 2 if zigzag & 1 else zigzag // 2

    def finish(self) -> None:
        """Check that all streams were used up.

        Raises:
            PayloadCorrupt: bytes are left over.
        """
        for stream in (*self._controls, self._difference, self._extra):
            stream.finish()


def open_other(payload: Source, offset: int, base: Source, streams: OtherStreams) -> ByteStream:
    """Open the stream of a section's other bytes.

    Args:
        payload: what was received.
        offset: where in it the packed streams begin, in bytes.
        base: the image to start from.
        streams: how the bytes are stored, and from which ranges of the base they are made.
    """
    ranges = RangesOfBase(base, streams.ranges)
    dictionary = b""
    if streams.mode == MODE_DICTIONARY:
        dictionary = ranges.read_at(0, ranges.size_bytes)
    opened: list[ByteStream] = []
    for packer, packed_bytes, size_bytes in streams.streams:
        if packer == PACK_WEIGHTS:
            opened.append(WeightsStream(payload, offset, packed_bytes, size_bytes))
        else:
            stored = PayloadRegion(payload, offset, packed_bytes)
            opened.append(PackedStream(stored, packer, size_bytes, dictionary))
        offset += packed_bytes
    if streams.mode not in (MODE_PATCH, MODE_SPARSE_PATCH):
        return opened[0]
    add, insert, seek, difference, *values, extra = opened
    made: ByteStream = difference
    if streams.mode == MODE_SPARSE_PATCH:
        made = SparseStream(NumberStream(difference), values[0], streams.streams[4][2])
    controls = NumberStream(add), NumberStream(insert), NumberStream(seek)
    return PatchStream(ranges, controls, made, extra)
