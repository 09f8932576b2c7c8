"""The state directory belongs to one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slotcast_device.storage.disk import FULL_ERRNOS, UNWRITABLE_ERRNOS, storage_errors
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import StateLocked
from slotcast_schemas.plain_files import AS_IT_IS, open_plain

LOOK_S: Final = 0.05
"""The seconds after which a lock that is held is tried once more: far longer than `is_locked` holds
it, between its two calls of the kernel."""
LOCK_MODE: Final = 0o600
"""The mode of the lock file: whoever may open it may hold it, and no agent starts then."""
_LOCKS: Final = Path("/proc/locks")


def _open_lock(state_dir: Path) -> int:
    """Open what is locked: the lock file, or the folder where no file can be made.

    A device whose storage cannot be written must still start: its model serves on, and only a
    running agent can tell the broker what is wrong.
    """
    path = state_dir / "lock"
    try:
        return _open_ours(path, os.O_RDWR | os.O_CREAT)
    except OSError as exc:
        if exc.errno not in UNWRITABLE_ERRNOS | FULL_ERRNOS:
            raise
    with contextlib.suppress(FileNotFoundError):
        return _open_ours(path, os.O_RDONLY)
    return os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _open_ours(path: Path, flags: int) -> int:
    """Open the lock file: a plain file that only its owner may open, and so only he may hold.

    Raises:
        OSError: it cannot be opened, or something else lies there.
    """
    fd = open_plain(path, flags, LOCK_MODE)
    try:
        found = os.fstat(fd)
        if stat.S_IMODE(found.st_mode) & ~LOCK_MODE and found.st_uid == os.geteuid():
            with contextlib.suppress(OSError):  # on a disk that cannot be written it stays as it is
                os.fchmod(fd, LOCK_MODE)
    except OSError:
        os.close(fd)
        raise
    return fd


def is_locked(state_dir: Path) -> bool:
    """Say whether a process holds the state directory, by holding it a moment oneself.

    Another user may not open the file, and is told by the kernel's list of locks. Where that says
    nothing either (in a container, of processes outside) it is taken for one that nobody holds.
    """
    for path in (state_dir / "lock", state_dir):
        try:
            fd = os.open(path, os.O_RDONLY | AS_IT_IS)
        except PermissionError:
            if _is_listed(path):
                return True
            continue
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False


def _is_listed(path: Path) -> bool:
    """Whether the kernel lists a lock of this file (proc(5), /proc/locks)."""
    try:
        found = path.stat()
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return False
    ours = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return any("FLOCK" in line and ours in line.split() for line in lines)


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
