"""Memory of this process: what it takes, giving back what it does not need.

glibc keeps the pages of freed blocks; after 30 swaps of a 90 MB model that is 100 MB.
`malloc_trim(0)` gives them back, but for the top of each thread's arena; so what a load allocates
is kept out of the arenas (docs/adr/0030: why this, and not a worker process).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from typing import Final

import psutil

from slotcast_schemas.process_memory import status_bytes

_M_TRIM_THRESHOLD: Final = -1
"""The parameter of `mallopt` for how much free memory at the top stays (malloc.h)."""
_M_MMAP_THRESHOLD: Final = -3
"""The parameter of `mallopt` for the size from which a block gets pages of its own (malloc.h)."""
_APART_BYTES: Final = 128 * 1024
"""The bytes from which a block gets pages of its own; glibc's threshold in a process that
begins."""
_SHARED_BYTES: Final = 32 * 1024 * 1024
"""The bytes that this threshold grows to by itself, in a process that frees blocks as large
(mallopt(3))."""


def resident_bytes() -> tuple[int, int]:
    """Resident memory of this process, now and at its peak (0 where the system does not say)."""
    return int(psutil.Process().memory_info().rss), status_bytes("VmHWM")


def give_back() -> bool:
    """Have the allocator return free pages to the system; false where it has no such call."""
    if sys.platform != "linux":
        return False
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:  # musl: returns pages by itself
        return False
    trim(0)
    return True


class _Apart:
    """How many loads want large blocks apart; the setting is the whole process's."""

    def __init__(self) -> None:
        self.forked()

    def forked(self) -> None:
        """Begin anew in a forked process, where no load of its parent goes on or ends."""
        self._lock = threading.Lock()
        self._users = 0

    def begin(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                _set_threshold(_APART_BYTES)

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                _set_threshold(_SHARED_BYTES)


_apart = _Apart()
os.register_at_fork(after_in_child=_apart.forked)


@contextlib.contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Meanwhile give every large block of this process pages of its own, which go when it is freed.

    Without it, blocks of a load lie in the arena of the thread that loads, and what lay at its top
    stays resident when it is freed. Does nothing where the C library is not glibc, or where the
    environment sets these thresholds.
    """
    _apart.begin()
    try:
        yield
    finally:
        _apart.end()


def _set_threshold(size_bytes: int) -> None:
    if sys.platform != "linux" or _is_set_by_user():
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, size_bytes)
    libc.mallopt(_M_TRIM_THRESHOLD, 2 * size_bytes)


def _is_set_by_user() -> bool:
    names = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}
    return not names.isdisjoint(os.environ) or "threshold" in os.environ.get("GLIBC_TUNABLES", "")
