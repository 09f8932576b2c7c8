"""Puts what tests write into memory, where there is room, since on a disk they mostly wait for it.

A device's update syncs some two hundred files and folders, a release forty; a disk takes
milliseconds for each. That only what is synced survives is no matter of a real disk, from which
nobody takes the power: disks that forget prove it (tests/crash, tests/simulation/ramdisk.py).

The folder becomes `TMPDIR`, for the tests and for the processes that they start, until the run
ends: one process may run tests several times. Who has set `TMPDIR` gets that one. The folder of a
run that failed is kept until the next run, to be looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from slotcast_schemas.process_memory import available_bytes

MEMORY: Final = Path("/dev/shm")
FOLDER_MIN_BYTES: Final = 3 << 30
"""Free space that a whole run may need, a container's archives and a machine's layers included."""
AVAILABLE_MIN_BYTES: Final = 6 << 30
"""Memory that must be available: for the folder, and for the tests beside it."""
_PREFIX: Final = "slotcast-test-"
_LOCK: Final = ".in-use"
_SETTLED_S: Final = 60.0
"""A folder that is younger may be about to be locked by the run that has made it."""


class TestFolder:
    """A folder in memory for one run of the tests, locked as long as it runs.

    Attributes:
        is_kept: whether it stays, to be looked at, when it is closed.
    """

    __test__ = False  # it is no test, whatever pytest makes of its name

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_kept = False
        path.chmod(0o1777)  # as /tmp: PostgreSQL, for one, is another user
        self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Unlock it, remove it unless it is kept, and have temporary files go where they went."""
        os.close(self._lock)
        if os.environ.get("TMPDIR") == str(self.path):
            del os.environ["TMPDIR"]
            tempfile.tempdir = None
        if not self.is_kept:
            shutil.rmtree(self.path, ignore_errors=True)


def take(memory: Path = MEMORY) -> TestFolder | None:
    """Make a folder in memory and have temporary files go there; None where that cannot be.

    Folders that earlier runs have left are removed.
    """
    if "TMPDIR" in os.environ:
        return None
    remove_left(memory)
    if not has_room(memory):
        return None
    folder = TestFolder(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=memory)))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder.path)
    return folder


def has_room(memory: Path = MEMORY) -> bool:
    """Whether a folder is in memory, has room for a run, and lets programs be run from it."""
    try:
        space = os.statvfs(memory)
    except OSError:
        return False
    return (
        os.access(memory, os.W_OK)
        and not space.f_flag & os.ST_NOEXEC
        and space.f_bavail * space.f_frsize >= FOLDER_MIN_BYTES
        and available_bytes() >= AVAILABLE_MIN_BYTES
    )


def remove_left(memory: Path = MEMORY) -> None:
    """Remove our user's folders that no running process holds locked."""
    for lock in memory.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):
            about = lock.stat()
            if about.st_uid != os.geteuid() or time.time() - about.st_mtime < _SETTLED_S:
                continue
            if not _is_held(lock):
                shutil.rmtree(lock.parent, ignore_errors=True)


def _is_held(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
