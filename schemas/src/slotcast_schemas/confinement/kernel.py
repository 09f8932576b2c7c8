"""The kernel's calls that Python's library has not, by `ctypes`."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import struct
import sys
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_SET_SECCOMP: Final = 22
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
"""Numbers of linux/prctl.h."""


@functools.cache
def libc() -> Any:
    """Give the C library; its functions set `ctypes.get_errno()`."""
    return ctypes.CDLL(None, use_errno=True)


def process_control(option: int, *arguments: int) -> bool:
    """Call prctl(2); false where the kernel refuses."""
    four = [*arguments, 0, 0, 0, 0][:4]
    return bool(libc().prctl(option, *map(ctypes.c_ulong, four)) == 0)


def call(number: int, *arguments: Any) -> int:
    """Call the kernel by a call's number.

    Raises:
        OSError: it refuses, or knows no such call.
    """
    result: int = libc().syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def machine() -> str:
    """Give this process's kind of calls, by the kernel's name for it; empty where it has none.

    A process of 32 bits has calls of its own, whatever the kernel is.
    """
    name = platform.machine()
    if sys.platform != "linux":
        return ""
    if struct.calcsize("P") == 4:
        return "arm" if name.startswith(("arm", "aarch64")) else ""
    return name
