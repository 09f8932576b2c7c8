"""Huge pages for a file in memory, so that it is taken, read and given back in few steps.

A model of 90 MB lies in 22,000 small pages, and what the system does for each costs more than to
decrypt what it holds. Linux (6.1 and later) puts huge ones in their place where it is asked to,
whatever it does unasked, unless the administrator forbade it (`deny` in `shmem_enabled`).
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from slotcast_schemas.confinement.kernel import libc

_SIZE_FILE: Final = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_MADV_COLLAPSE: Final = 25
_MAP_FIXED: Final = 0x10
_PROT_NONE: Final = 0
"""Numbers of asm-generic/mman-common.h that Python's library has not."""
SAVED_MOST: Final = 3
"""The most savings that are kept to pay for dear pages, in numbers of huge pages: a single dear
page ends nothing, a row of them soon does."""
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


def take_huge_pages(number: int, size_bytes: int) -> int:
    """Have an empty file in memory lie in huge pages as far as it fills them; the rest in small.

    Nothing but time depends on it. It stops at the first huge page that the system cannot give, and
    where huge pages cost more time than small ones. They do where memory is fragmented, so that the
    system moves it for each, or where the host of a virtual machine must first give memory back.

    Args:
        number: of the open file, which may be written; it reads as zeros afterwards.
        size_bytes: what it is to hold.

    Returns:
        How many bytes lie in huge pages.

    Raises:
        OSError: memory ended.
    """
    page_bytes = huge_page_bytes()
    count = size_bytes // page_bytes if page_bytes else 0
    if not count:
        return 0
    os.ftruncate(number, count * page_bytes)
    # The system replaces only small pages that are there, so one is written in the place of each
    # huge page. The quickest write tells what a small page costs; a slow one may have waited for
    # the host of a virtual machine.
    quickest_s = min(_take_small_page(number, index * page_bytes) for index in range(count))
    small_s = quickest_s * (page_bytes // mmap.PAGESIZE)
    return _replace_small_pages(number, count, page_bytes, small_s) * page_bytes


def _take_small_page(number: int, offset: int) -> float:
    """Write one small page, and give the processor time in seconds that it took."""
    started_s = time.thread_time()
    os.pwrite(number, b"\0", offset)
    return time.thread_time() - started_s


@functools.cache
def huge_page_bytes(size_file: Path = _SIZE_FILE) -> int:
    """Give the size of a huge page; 0 where this system has none.

    Args:
        size_file: where Linux says it.
    """
    try:
        return int(size_file.read_text())
    except (OSError, ValueError):
        return 0


def count_until_dear(costs_s: Iterable[float], small_s: float) -> int:
    """Take huge pages until the last ones cost more than those before had saved; say how many.

    Args:
        costs_s: the seconds that each took; taking the next one from here takes that page.
        small_s: the seconds that the small pages in the place of one take.
    """
    count, saved_s = 0, 0.0
    for cost_s in costs_s:
        count += 1
        saved_s = min(saved_s + small_s - cost_s, SAVED_MOST * small_s)
        if saved_s < 0:
            break
    return count


def _replace_small_pages(number: int, count: int, page_bytes: int, small_s: float) -> int:
    """Map the file where huge pages may lie, and ask for them.

    They may lie at multiples of their size. The mapping is private and read-only: a fork in another
    thread copies mappings, and the copy of one for writing would keep the file from being sealed.

    Args:
        number: of the open file.
        count: of the huge pages that it fills.
        page_bytes: the size of one.
        small_s: what the small pages in the place of one cost.

    Returns:
        How many there are.
    """
    room_bytes = (count + 1) * page_bytes
    room = _map(None, room_bytes, _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
    if room is None:
        return 0
    try:
        start, length = -(-room // page_bytes) * page_bytes, count * page_bytes
        starts = range(start, start + length, page_bytes)
        if _map(start, length, mmap.PROT_READ, mmap.MAP_PRIVATE | _MAP_FIXED, number) is None:
            return 0
        return count_until_dear(_collapse_each(starts, page_bytes), small_s)
    finally:
        libc().munmap(ctypes.c_void_p(room), ctypes.c_size_t(room_bytes))


def _collapse_each(starts: Sequence[int], page_bytes: int) -> Iterator[float]:
    """Ask for one huge page after the other, while there are any, and give what each cost."""
    for start in starts:
        started_s = time.thread_time()
        if not _collapse(start, page_bytes):
            return
        yield time.thread_time() - started_s


def _collapse(start: int, length: int) -> bool:
    asked = ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(_MADV_COLLAPSE)
    return bool(libc().madvise(*asked) == 0)


def _map(address: int | None, length: int, access: int, flags: int, number: int) -> int | None:
    """Call mmap(2); None for an error."""
    start: int | None = _mmap()(address, length, access, flags, number, 0)
    return None if start == _MAP_FAILED else start


@functools.cache
def _mmap() -> Any:
    """Give mmap(2), whose address would be cut to an `int` without its types."""
    numbers = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    types = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, *numbers)
    return types(("mmap", libc()))
