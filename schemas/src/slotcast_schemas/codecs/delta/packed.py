"""Streams of bytes, packed by a general packer and unpacked as they are read, in bounded memory."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from typing import IO, Final, Protocol, cast

import zstandard

from slotcast_schemas.codecs.delta.segments import OTHER_MAX
from slotcast_schemas.codecs.source import Source
from slotcast_schemas.errors import PayloadCorrupt

PACK_NONE: Final = 0
PACK_ZSTD: Final = 1
PACK_XZ: Final = 2
PACK_BZ2: Final = 3
"""How a stream is packed; the numbers stand in the format (docs/delta-format.md)."""
PACK_WEIGHTS: Final = 4
"""A section of weights (docs/weights-format.md); only in deltas that say so in their header."""

XZ_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": OTHER_MAX}]
"""The filters of raw LZMA2 streams, the same for both sides, since such streams do not carry
them."""

ZSTD_WINDOW_MAX: Final = 2 * OTHER_MAX
"""The largest window of zstd, in bytes: a dictionary and what is made from it must both lie in
it."""

_STEP_BYTES: Final = 64 * 1024
"""The bytes that are unpacked at once."""

_READ_BYTES: Final = 16 * 1024
"""The packed bytes that are read at once."""


class ByteStream(Protocol):
    """Bytes to be read in order."""

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes, or raise PayloadCorrupt."""
        ...

    def finish(self) -> None:
        """Raise PayloadCorrupt unless the stream ended just here."""
        ...


class PayloadRegion:
    """A region of the payload as a file to read from.

    Args:
        payload: what was received.
        offset: where in it the region begins.
        size_bytes: the region's size.
    """

    def __init__(self, payload: Source, offset: int, size_bytes: int) -> None:
        self._payload, self._offset, self._left = payload, offset, size_bytes

    def read(self, size: int = -1) -> bytes:
        """Read at most so many bytes, all that are left if less than 0; fewer at the end."""
        take = self._left if size < 0 else min(size, self._left)
        data = self._payload.read_at(self._offset, take)
        self._offset += take
        self._left -= take
        return data


class _Decompressor(Protocol):
    """What lzma and bz2 have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class PackedStream:
    """A stream of known size, unpacked as it is read.

    Args:
        stored: the packed bytes.
        packer: how they are packed: one of the `PACK_` numbers of the format.
        size_bytes: the size of what they unpack to.
        dictionary: what zstd may refer back to; empty for none.
    """

    def __init__(
        self, stored: PayloadRegion, packer: int, size_bytes: int, dictionary: bytes
    ) -> None:
        self._left = size_bytes
        self._unpack: Callable[[int], bytes]
        if packer == PACK_NONE:
            self._unpack = stored.read
        elif packer == PACK_ZSTD:
            self._unpack = _zstd_reader(stored, dictionary)
        elif packer == PACK_XZ:
            unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=XZ_FILTERS)
            self._unpack = _looped(stored, unpacker)
        else:
            self._unpack = _looped(stored, bz2.BZ2Decompressor())

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes.

        Raises:
            PayloadCorrupt: the stream is shorter, or does not unpack.
        """
        if size > self._left:
            raise PayloadCorrupt(f"expected {size} more bytes of a stream, got {self._left}")
        parts: list[bytes] = []
        self._left -= size
        while size > 0:
            try:
                part = self._unpack(size)
            except (zstandard.ZstdError, lzma.LZMAError, OSError, EOFError) as exc:
                raise PayloadCorrupt(f"expected a packed stream, got: {exc}") from exc
            if not part:
                raise PayloadCorrupt(f"expected {size} more bytes of a packed stream, got its end")
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Check that every byte was read.

        Raises:
            PayloadCorrupt: bytes are left over.
        """
        if self._left:
            raise PayloadCorrupt(f"expected a stream to be used up, got {self._left} bytes left")


def _zstd_reader(stored: PayloadRegion, dictionary: bytes) -> Callable[[int], bytes]:
    prefix = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    decompressor = zstandard.ZstdDecompressor(
        dict_data=prefix if dictionary else None, max_window_size=ZSTD_WINDOW_MAX
    )
    reader = decompressor.stream_reader(cast("IO[bytes]", stored), read_size=_READ_BYTES)
    return reader.read


def _looped(stored: PayloadRegion, unpacker: _Decompressor) -> Callable[[int], bytes]:
    def unpack(size: int) -> bytes:
        while not unpacker.eof:
            # Asked before, not after: what is held back from the last call may turn out to be
            # nothing, and only then is more needed.
            is_hungry = unpacker.needs_input
            fresh = stored.read(_READ_BYTES) if is_hungry else b""
            data = unpacker.decompress(fresh, size)
            if data or (is_hungry and not fresh):
                return data
        return b""

    return unpack
