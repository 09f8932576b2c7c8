"""What Linux says of memory: what this process takes, and what it may still take.

`psutil` does not give the peak (`VmHWM`), and a child that measures itself imports as little as it
can, so this imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

_STATUS: Final = "/proc/{}/status"
"""The file that Linux writes such figures to (proc_pid_status(5)); other systems have none."""

_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")


def status_bytes(field: str, process_id: int | str = "self") -> int:
    """Give a figure of a process's status, such as `VmRSS`, in bytes; 0 where it is not said."""
    try:
        lines = Path(_STATUS.format(process_id)).read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0


def available_bytes() -> int:
    """Give what this process may still take: the machine's free memory, or its cgroup's if less."""
    free_bytes = _lines(_MEMINFO).get("MemAvailable:", 0) * 1024
    with contextlib.suppress(OSError, ValueError, IndexError):
        group = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2].lstrip("/")
        folder = _CGROUP / group
        most = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        # Cached files count as used, and go when memory is asked for.
        cached = _lines(folder / "memory.stat").get("inactive_file", 0)
        free_bytes = min(free_bytes, most - used + cached)
    return max(0, free_bytes)


def _lines(path: Path) -> dict[str, int]:
    """Give the figures of a file that has one on each line, behind its name."""
    with contextlib.suppress(OSError):
        rows = (line.split() for line in path.read_text().splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
    return {}
