"""One arena for all threads of a process, where the C library is glibc."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

_M_ARENA_MAX: Final = -8
"""The parameter of `mallopt` for the number of arenas (malloc.h)."""


def share_one_arena() -> None:
    """Have all threads of this process allocate from one arena; before the first thread.

    Else each gets its own (mallopt(3)), and what one thread freed serves no other: an agent's loop,
    its workers and the thread that decodes ahead take turns with the same large blocks. Python's
    lock lets hardly two of them allocate at once. Does nothing where the C library is not glibc, or
    where the environment sets this.
    """
    if sys.platform != "linux" or _is_set_by_user():
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_ARENA_MAX, 1)


def _is_set_by_user() -> bool:
    return "MALLOC_ARENA_MAX" in os.environ or "arena" in os.environ.get("GLIBC_TUNABLES", "")
