"""Doing something as a user that has nothing to do with Slotcast, in a thread of its own.

Linux keeps a user for each thread; that libc changes all of them together is libc's affair
(nptl(7)), and is passed by here. A forked process would have no other thread, and whatever of
earlier tests it comes to free may wait for one without end: a session of onnxruntime does.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import traceback
from collections.abc import Callable
from typing import Final

import pytest

from slotcast_schemas.confinement import kernel

STRANGER: Final = 12345
"""A uid and gid that no test machine has a name for."""
_CALLS: Final = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}
"""Linux's numbers of setgroups, setresgid and setresuid (asm/unistd.h)."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users need root")


def as_stranger(work: Callable[[], str]) -> str:
    """Give what `work` says as that user; what it raises is said as a traceback."""
    said: list[str] = []

    def run() -> None:
        try:
            _become_stranger()
            said.append(work())
        except BaseException:  # noqa: BLE001 - told to the thread that waits
            said.append(traceback.format_exc())

    thread = threading.Thread(target=run, name="stranger")
    thread.start()
    thread.join()
    return said[0]


def _become_stranger() -> None:
    """Change this thread's user, and no other's."""
    setgroups, setresgid, setresuid = _CALLS[platform.machine()]
    for number, *values in (
        (setgroups, 0, 0),
        (setresgid, STRANGER, STRANGER, STRANGER),
        (setresuid, STRANGER, STRANGER, STRANGER),
    ):
        kernel.call(number, *map(ctypes.c_long, values))
