"""Memory of this process: what is free, what it takes, giving back what it does not need.

glibc keeps the pages of freed blocks; after 30 swaps of a 90 MB model that is 100 MB.
`malloc_trim(0)` gives them back (docs/adr/0030: why this, and not a worker process).
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import Final

import psutil

_CGROUP: Final = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """What this process may still take: the machine's free memory, or its cgroup's if less."""
    free_bytes = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError, IndexError):
        group = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2].lstrip("/")
        folder = _CGROUP / group
        most = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        # Cached files count as used, and go when memory is asked for.
        cached = _stat_bytes(folder / "memory.stat", "inactive_file")
        free_bytes = min(free_bytes, most - used + cached)
    return max(0, free_bytes)


def _stat_bytes(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def resident_bytes() -> tuple[int, int]:
    """Resident memory of this process, now and at its peak (0 where the system does not say)."""
    now = int(psutil.Process().memory_info().rss)
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return now, int(line.split()[1]) * 1024
    return now, 0


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
