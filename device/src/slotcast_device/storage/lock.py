"""The state directory belongs to one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slotcast_device.storage.disk import FULL_ERRNOS, UNWRITABLE_ERRNOS, storage_errors
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import StateLocked

LOOK_S: Final = 0.05
"""The seconds after which a lock that is held is tried once more: far longer than `is_locked` holds
it, between its two calls of the kernel."""


def _open_lock(state_dir: Path) -> int:
    """Open what is locked: the lock file, or the folder where no file can be made.

    A device whose storage cannot be written must still start: its model serves on, and only a
    running agent can tell the broker what is wrong.
    """
    try:
        return os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        if exc.errno not in UNWRITABLE_ERRNOS | FULL_ERRNOS:
            raise
    with contextlib.suppress(FileNotFoundError):
        return os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    return os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def is_locked(state_dir: Path) -> bool:
    """Say whether a process holds the state directory, by holding it a moment oneself.

    A file that cannot be opened for that is taken for one that nobody holds.
    """
    for path in (state_dir / "lock", state_dir):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False


def _take_lock(fd: int) -> None:
    """Take the lock; once more after a moment, for `is_locked` may hold it just then.

    Raises:
        BlockingIOError: another process keeps it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(LOOK_S)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the state directory for this process alone.

    Raises:
        StateLocked: another process holds it.
        StorageFailed: the lock file cannot be made.
    """
    OsDisk().make_dir(state_dir)
    with storage_errors(f"lock {state_dir}"):
        fd = _open_lock(state_dir)
    try:
        try:
            _take_lock(fd)
        except BlockingIOError as exc:
            raise StateLocked(
                f"{state_dir} is in use by another slotcast-device; stop that one first"
            ) from exc
        yield
    finally:
        os.close(fd)
