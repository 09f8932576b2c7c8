"""A file that is on no disk: what an encrypted one holds, for who has no key or reads by a path."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from slotcast_device.at_rest.huge_pages import take_huge_pages

Write = Callable[[bytes | memoryview], None]
"""Takes the next bytes of a file, and keeps none of them."""


class NoMemoryFiles(Exception):
    """This system has no files in memory, as Linux has."""


@contextlib.contextmanager
def memory_file(size_bytes: int, fill: Callable[[Write], None]) -> Iterator[int]:
    """Have a file in memory for the length of a block.

    Args:
        size_bytes: what it will hold; where it holds another number of bytes, that costs time.
        fill: is given what takes the file's bytes, before the block.

    Yields:
        The number of the open file. Nobody changes it any more, not even who opens it anew.

    Raises:
        NoMemoryFiles: there are none here.
        OSError: memory ended.
    """
    if not hasattr(os, "memfd_create"):
        raise NoMemoryFiles("this system has none (Linux has)")
    written = os.memfd_create("slotcast-slot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        take_huge_pages(written, size_bytes)
        fill(lambda data: _write_all(written, data))
        os.ftruncate(written, os.lseek(written, 0, os.SEEK_CUR))
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(written, fcntl.F_ADD_SEALS, seals)
        # Linux before 6.7 maps a sealed file only through a number that was opened for reading
        # alone.
        number = os.open(f"/proc/self/fd/{written}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(written)
    try:
        yield number
    finally:
        os.close(number)


def _write_all(number: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]
