"""Random access to the bytes that a codec reads: a payload, or the image in a slot.

An image is a release's files laid end to end in manifest order.
Everything here is opened read-only; a codec can never write where it reads.
What becomes of the bytes that a codec makes is left to the caller's `Sink`.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable, Sequence
from mmap import mmap
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from slotcast_schemas.errors import SlotDamaged
from slotcast_schemas.plain_files import open_regular_number

Sink = Callable[[bytes | memoryview], object]
"""Receives the image's bytes in order; a view is only valid until the call returns."""


class Source(Protocol):
    """Bytes that can be read at any offset."""

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes from `offset`.

        Raises:
            ValueError: the range is not wholly inside the source.
            SlotDamaged: a file is shorter than it was said to be, or cannot be read.
        """
        ...


def check_range(offset: int, size: int, size_bytes: int) -> None:
    """Refuse a range that is not wholly inside a source.

    Args:
        offset: where the range begins, in bytes.
        size: its length in bytes.
        size_bytes: of the source.

    Raises:
        ValueError: it is not.
    """
    if offset < 0 or size < 0 or offset + size > size_bytes:
        raise ValueError(f"expected a range inside {size_bytes} bytes, got {size} at {offset}")


class SourcePart:
    """A part of a source, as a source of its own: a member of an archive, a file of a payload."""

    def __init__(self, source: Source, start: int, size_bytes: int) -> None:
        """Look at a part of `source`.

        Args:
            source: the whole.
            start: where the part begins, in bytes.
            size_bytes: how long it is.

        Raises:
            ValueError: the part is not wholly inside the source.
        """
        if start < 0 or size_bytes < 0 or start + size_bytes > source.size_bytes:
            raise ValueError(f"expected a part of {source.size_bytes} bytes, got from {start}")
        self._source = source
        self._start = start
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return self._size_bytes

    def read_at(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes from `offset`.

        Raises:
            ValueError: the range is not wholly inside the part.
            SlotDamaged: a file is shorter than it was said to be, or cannot be read.
        """
        check_range(offset, size, self._size_bytes)
        return self._source.read_at(self._start + offset, size)


def read_across(
    ends: Sequence[int], offset: int, size: int, read: Callable[[int, int, int], bytes]
) -> bytes:
    """Read exactly `size` bytes of parts that are laid end to end, across their borders.

    Args:
        ends: where each part ends.
        offset: where to begin.
        size: how many bytes.
        read: gives so many bytes, from an offset, of a part that it is told by its number.

    Raises:
        ValueError: the range is not wholly inside.
    """
    check_range(offset, size, ends[-1] if ends else 0)
    index = bisect.bisect_right(ends, offset)
    found: list[bytes] = []
    while size > 0:
        start = ends[index - 1] if index else 0
        take = min(size, ends[index] - offset)
        if take:
            found.append(read(index, offset - start, take))
        offset, size, index = offset + take, size - take, index + 1
    return found[0] if len(found) == 1 else b"".join(found)


class MemorySource:
    """A source over bytes in memory, or over a mapped file."""

    def __init__(self, data: bytes | mmap) -> None:
        self._data = data

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    def read_at(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes from `offset`.

        Raises:
            ValueError: the range is not wholly inside the source.
        """
        check_range(offset, size, len(self._data))
        return self._data[offset : offset + size]


class FilesImage:
    """A source over several files laid end to end: the image of a release in a slot.

    Files are opened when the object is made and closed by `close` or the `with` block.
    """

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        """Open `files`, each a path and the size in bytes that it is known to have.

        Raises:
            SlotDamaged: a file is missing, unreadable or not of the size given.
        """
        self._ends: list[int] = []
        self._fds: list[int] = []
        self._paths: list[Path] = []
        end = 0
        try:
            for path, size_bytes in files:
                self._fds.append(_open_checked(path, size_bytes))
                self._paths.append(path)
                end += size_bytes
                self._ends.append(end)
        except BaseException:
            self.close()
            raise
        self._size_bytes = end

    @property
    def size_bytes(self) -> int:
        """Sum of the files' sizes."""
        return self._size_bytes

    def read_at(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes from `offset`, across file borders where need be.

        Raises:
            ValueError: the range is not wholly inside the image.
            SlotDamaged: a file has become shorter, or cannot be read.
        """
        return read_across(self._ends, offset, size, self._read)

    def _read(self, index: int, offset: int, size: int) -> bytes:
        return _pread_exactly(self._fds[index], self._paths[index], offset, size)

    def close(self) -> None:
        """Close every file; reading afterwards is an error."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class FileSource(FilesImage):
    """A source over one file of whatever size it has now, such as a received payload."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`.

        Raises:
            SlotDamaged: the file is missing or cannot be read.
        """
        try:
            size_bytes = path.stat().st_size
        except OSError as exc:
            raise SlotDamaged(f"expected to read {path}: {exc}") from exc
        super().__init__([(path, size_bytes)])


def _open_checked(path: Path, size_bytes: int) -> int:
    try:
        fd = open_regular_number(path)
    except OSError as exc:
        raise SlotDamaged(f"expected to read {path}: {exc}") from exc
    actual = os.fstat(fd).st_size
    if actual != size_bytes:
        os.close(fd)
        raise SlotDamaged(f"expected {path} to have {size_bytes} bytes, got {actual}")
    return fd


def _pread_exactly(fd: int, path: Path, offset: int, size: int) -> bytes:
    """`size` bytes from a file; a single system call gives at most 2 GiB, hence the loop."""
    parts: list[bytes] = []
    while size > 0:
        try:
            part = os.pread(fd, size, offset)
        except OSError as exc:
            raise SlotDamaged(f"could not read {path} at {offset}: {exc}") from exc
        if not part:
            raise SlotDamaged(f"expected {size} more bytes at {offset} of {path}, got none")
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
