"""Reads small things all over a file, through a small cache."""

from __future__ import annotations

from typing import Final

from slotcast_schemas.codecs.source import Source

_CACHE_BYTES: Final = 64 * 1024
"""The bytes that are read at once, and kept for what follows."""


class NotThisFormat(Exception):
    """The bytes are not what the format has there."""


class Reader:
    """Reads bytes and little-endian numbers anywhere in a source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._cache = b""
        self._cache_start = 0

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return self._source.size_bytes

    def read(self, start: int, size_bytes: int) -> bytes:
        """Read the bytes of a range.

        Raises:
            NotThisFormat: the range is not inside the file.
        """
        end = start + size_bytes
        if start < 0 or size_bytes < 0 or end > self.size_bytes:
            raise NotThisFormat(
                f"expected a range in {self.size_bytes} bytes, got {start} to {end}"
            )
        if size_bytes > _CACHE_BYTES:
            return self._source.read_at(start, size_bytes)
        if start < self._cache_start or end > self._cache_start + len(self._cache):
            size = min(_CACHE_BYTES, self.size_bytes - start)
            self._cache, self._cache_start = self._source.read_at(start, size), start
        return self._cache[start - self._cache_start : end - self._cache_start]

    def unsigned(self, start: int, size_bytes: int) -> int:
        """Read an unsigned number.

        Raises:
            NotThisFormat: it is not inside the file.
        """
        return int.from_bytes(self.read(start, size_bytes), "little")

    def signed(self, start: int, size_bytes: int) -> int:
        """Read a number in two's complement.

        Raises:
            NotThisFormat: it is not inside the file.
        """
        return int.from_bytes(self.read(start, size_bytes), "little", signed=True)
