"""What Linux says of this process's memory, in /proc/self/status (proc_pid_status(5)).

`psutil` does not give the peak (`VmHWM`), and a child that measures itself imports as little as it
can, so this imports nothing but the standard library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
"""The file that Linux writes such figures to; other systems have none."""


def status_bytes(field: str) -> int:
    """Give a figure of this process's status, such as `VmRSS`, in bytes; 0 where it is not said."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0
