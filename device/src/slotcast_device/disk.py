"""The durable layer: the only module that writes to the state directory.

What it promises is what POSIX can give (borg's `platform/base.py` and SQLite's notes on atomic
commit say why): bytes are durable after `fsync` of the file, a name after `fsync` of its folder.
`write_atomic` puts those in the one right order. Everything above speaks in terms of `Disk`, so
that tests can cut the power between any two of its calls.

Failures leave here as `StorageFailed` or a sharper kind; no `OSError` passes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from slotcast_schemas.codecs import FilesImage
from slotcast_schemas.errors import DiskFull, StateLocked, StateUnwritable, StorageFailed

WRITE_BACK_BYTES: Final = 2 * 1024 * 1024
"""Of a large file, what is written before the system is told to begin storing it."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}


class RandomFile(Protocol):
    """A file written and read at any offset; sparse until written."""

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Give up to `size_bytes` bytes from `offset`; fewer only at the end of the file."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""

    def sync(self) -> None:
        """Make what was written durable."""

    def close(self) -> None:
        """Release the file."""


class Writer(Protocol):
    """A new file, written from its beginning."""

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`."""

    def close_synced(self) -> None:
        """Make the bytes durable, then close."""

    def close(self) -> None:
        """Close without a promise."""


class Image(Protocol):
    """Files laid end to end, as a codec reads them (`slotcast_schemas.codecs.Source`)."""

    @property
    def size_bytes(self) -> int:
        """Sum of the files' sizes."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Give exactly `size` bytes from `offset`.

        Raises:
            ValueError: the range is not wholly inside.
            SlotDamaged: a file has become shorter, or cannot be read.
        """

    def close(self) -> None:
        """Release the files."""


class Disk(Protocol):
    """What the device asks of its storage. Paths are absolute; folders must exist."""

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """Give a whole file, or None if there is none.

        Raises:
            StorageFailed: it cannot be read, or is larger than `limit_bytes`.
        """

    def write_atomic(self, path: Path, data: bytes) -> None:
        """Replace `path` so that a power cut leaves the old bytes or the new ones, whole."""

    def create(self, path: Path) -> Writer:
        """Begin a new file; an old one of that name is truncated."""

    def open_random(self, path: Path) -> RandomFile:
        """Open for reading and writing at any offset; made if missing."""

    def open_read(self, path: Path) -> RandomFile:
        """Open an existing file for reading only."""

    def open_image(self, files: Sequence[tuple[Path, int]]) -> Image:
        """Open files, each of the size in bytes that it is known to have, laid end to end.

        Raises:
            SlotDamaged: a file is missing, unreadable or not of the size given.
        """

    def make_dir(self, path: Path) -> None:
        """Make a folder and its parents; the names of those that were made are durable."""

    def make_one_dir(self, path: Path) -> None:
        """Make one folder whose name need not be durable; there already is fine."""

    def remove_tree(self, path: Path) -> None:
        """Remove a file or folder and all below it, read-only or not; missing is fine."""

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name on the same file system; durable after `sync_dir` of both."""

    def make_read_only(self, path: Path) -> None:
        """Take write permission from a file."""

    def sync_dir(self, path: Path) -> None:
        """Make the names in a folder durable."""

    def replace_link(self, path: Path, target: str) -> None:
        """Point the symlink `path` at `target` in one step, and make that durable."""

    def remove_link(self, path: Path) -> None:
        """Remove a symlink, durably; missing is fine."""

    def read_link(self, path: Path) -> str | None:
        """Give where a symlink points, or None if there is none."""

    def names(self, path: Path) -> list[str]:
        """Give the names in a folder, sorted; none if it is missing."""

    def size_bytes(self, path: Path) -> int | None:
        """Give the size of a regular file, None for anything else."""

    def free_bytes(self, path: Path) -> int:
        """Give the room left for this user on the file system of `path`."""


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn `OSError` into ours, with what was being done and who must act."""
    try:
        yield
    except OSError as exc:
        raise _failure(what, exc) from exc


def _failure(what: str, exc: OSError) -> StorageFailed:
    text = f"{what}: {exc.strerror or exc}"
    if exc.errno in _FULL:
        return DiskFull(f"{text}; free some room on this device")
    if exc.errno in _UNWRITABLE:
        uid = os.getuid()
        return StateUnwritable(f"{text}; the state directory must be writable by uid {uid}")
    return StorageFailed(f"{text}; check this device's storage")


class _OsRandomFile:
    def __init__(self, path: Path, flags: int) -> None:
        self._path = path
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o644)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        with storage_errors(f"read {self._path}"):
            return os.pread(self._fd, size_bytes, offset)

    def write_at(self, offset: int, data: bytes) -> None:
        try:
            done = os.pwrite(self._fd, data, offset)
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], offset + done)
        except OSError as exc:
            raise _failure(f"write {self._path}", exc) from exc

    def sync(self) -> None:
        with storage_errors(f"sync {self._path}"):
            os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _OsWriter:
    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o644)
        self._written = 0
        self._begun = 0

    def write(self, data: bytes | memoryview) -> None:
        with storage_errors(f"write {self._path}"):
            view = memoryview(data)
            while view:
                done = os.write(self._fd, view)
                self._written += done
                view = view[done:]
        if self._written - self._begun >= WRITE_BACK_BYTES:
            self._begin_write_back()

    def _begin_write_back(self) -> None:
        """Have the system begin to write to the storage, so that the sync finds little left.

        Dirty pages are not dropped by this advice; on Linux it only starts their writing.
        """
        with contextlib.suppress(OSError):  # not every file system takes it, and none must
            size = self._written - self._begun
            os.posix_fadvise(self._fd, self._begun, size, os.POSIX_FADV_DONTNEED)
        self._begun = self._written

    def close_synced(self) -> None:
        with storage_errors(f"sync {self._path}"):
            os.fsync(self._fd)
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OrderedSteps(ABC):
    """The orders of single steps that survive a power cut between any two of them.

    `OsDisk` gives the steps on real files; the simulation gives them on a disk that forgets, so
    that what is tried there is this very order.
    """

    def __init__(self) -> None:
        self._unsynced: set[Path] = set()

    def write_atomic(self, path: Path, data: bytes) -> None:
        """See `Disk`: bytes first, then the name (the commit point), then the name durable."""
        temporary = path.with_name(path.name + ".tmp")
        writer = self.create(temporary)
        try:
            writer.write(data)
            writer.close_synced()
        finally:
            writer.close()
        self.rename(temporary, path)
        self.sync_dir(path.parent)

    def make_dir(self, path: Path) -> None:
        """See `Disk`: what is synced inside a folder is lost with it if its name is.

        A folder whose name could not be synced is there all the same, so it is remembered, and
        synced before anything is put into another one.
        """
        missing = []
        while not self.is_dir(path):
            missing.append(path)
            path = path.parent
        for folder in reversed(missing):
            self.make_one_dir(folder)
            self._unsynced.add(folder)
        for folder in sorted(self._unsynced):
            self.sync_dir(folder.parent)
            self._unsynced.discard(folder)

    def replace_link(self, path: Path, target: str) -> None:
        """See `Disk`: made beside, then renamed over the old one."""
        temporary = path.with_name(path.name + ".tmp")
        self.unlink(temporary)
        self.make_link(temporary, target)
        self.rename(temporary, path)
        self.sync_dir(path.parent)

    def remove_link(self, path: Path) -> None:
        """See `Disk`."""
        self.unlink(path)
        self.sync_dir(path.parent)

    @abstractmethod
    def create(self, path: Path) -> Writer:
        """See `Disk`."""

    @abstractmethod
    def rename(self, path: Path, to: Path) -> None:
        """See `Disk`."""

    @abstractmethod
    def sync_dir(self, path: Path) -> None:
        """See `Disk`."""

    @abstractmethod
    def is_dir(self, path: Path) -> bool:
        """Say whether there is a folder."""

    @abstractmethod
    def make_one_dir(self, path: Path) -> None:
        """Make one folder; there already is fine."""

    @abstractmethod
    def make_link(self, path: Path, target: str) -> None:
        """Make a symlink."""

    @abstractmethod
    def unlink(self, path: Path) -> None:
        """Remove a name; missing is fine."""


class OsDisk(OrderedSteps):
    """`Disk` on the operating system's files."""

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """See `Disk`."""
        with storage_errors(f"read {path}"):
            try:
                with path.open("rb") as file:
                    data = file.read(limit_bytes + 1)
            except FileNotFoundError:
                return None
        if len(data) > limit_bytes:
            raise StorageFailed(f"{path}: expected at most {limit_bytes} bytes, it has more")
        return data

    def create(self, path: Path) -> Writer:
        """See `Disk`."""
        with storage_errors(f"create {path}"):
            return _OsWriter(path)

    def open_random(self, path: Path) -> RandomFile:
        """See `Disk`."""
        with storage_errors(f"open {path}"):
            return _OsRandomFile(path, os.O_RDWR | os.O_CREAT)

    def open_read(self, path: Path) -> RandomFile:
        """See `Disk`."""
        with storage_errors(f"open {path}"):
            return _OsRandomFile(path, os.O_RDONLY)

    def open_image(self, files: Sequence[tuple[Path, int]]) -> Image:
        """See `Disk`."""
        return FilesImage(files)

    def is_dir(self, path: Path) -> bool:
        """See `OrderedSteps`."""
        with storage_errors(f"look at {path}"):
            return path.is_dir()

    def make_one_dir(self, path: Path) -> None:
        """See `OrderedSteps`."""
        with storage_errors(f"make folder {path}"):
            path.mkdir(exist_ok=True)

    def make_link(self, path: Path, target: str) -> None:
        """See `OrderedSteps`."""
        with storage_errors(f"link {path}"):
            path.symlink_to(target)

    def unlink(self, path: Path) -> None:
        """See `OrderedSteps`."""
        with storage_errors(f"unlink {path}"):
            path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """See `Disk`."""
        with storage_errors(f"remove {path}"):
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.exists():
                shutil.rmtree(path)

    def rename(self, path: Path, to: Path) -> None:
        """See `Disk`."""
        with storage_errors(f"rename {path}"):
            path.replace(to)

    def make_read_only(self, path: Path) -> None:
        """See `Disk`."""
        with storage_errors(f"make read-only {path}"):
            path.chmod(0o444)

    def sync_dir(self, path: Path) -> None:
        """See `Disk`."""
        with storage_errors(f"sync folder {path}"):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def read_link(self, path: Path) -> str | None:
        """See `Disk`."""
        with storage_errors(f"read link {path}"):
            return str(path.readlink()) if path.is_symlink() else None

    def names(self, path: Path) -> list[str]:
        """See `Disk`."""
        with storage_errors(f"list {path}"):
            return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []

    def size_bytes(self, path: Path) -> int | None:
        """See `Disk`."""
        with storage_errors(f"look at {path}"):
            return path.stat().st_size if path.is_file() and not path.is_symlink() else None

    def free_bytes(self, path: Path) -> int:
        """See `Disk`."""
        with storage_errors(f"look at {path}"):
            return shutil.disk_usage(path).free


def _open_lock(state_dir: Path) -> int:
    """Open what is locked: the lock file, or the folder where no file can be made.

    A device whose storage cannot be written must still start: its model serves on, and only a
    running agent can tell the broker what is wrong.
    """
    try:
        return os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        if exc.errno not in _UNWRITABLE | _FULL:
            raise
    with contextlib.suppress(FileNotFoundError):
        return os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    return os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


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
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise StateLocked(
                f"{state_dir} is in use by another slotcast-device; stop that one first"
            ) from exc
        yield
    finally:
        os.close(fd)
