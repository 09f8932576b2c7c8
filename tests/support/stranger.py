"""Doing something as a user that has nothing to do with Slotcast, in a process of its own."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable
from typing import Final

import pytest

STRANGER: Final = 12345
"""A uid and gid that no test machine has a name for."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users need root")


def as_stranger(work: Callable[[], str]) -> str:
    """Give what `work` says as that user; what it raises is said as a traceback."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover (another process)
        # What earlier tests left stays: freeing a session waits for threads that a fork has not.
        gc.disable()
        try:
            os.setgroups([])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            said = work()
        except BaseException:  # noqa: BLE001 - it must not go on as a second test run
            said = traceback.format_exc()
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        said = told.read()
    os.waitpid(child, 0)
    return said
