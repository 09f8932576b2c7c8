"""What everything durable is made of: the interface, and the orders that survive a power cut.

What it promises is what POSIX can give (borg's `platform/base.py` and SQLite's notes on atomic
commit say why): bytes are durable after `fsync` of the file, a name after `fsync` of its folder.
`write_beside` and `put_in_place` are the two halves of the one right order. Everything above speaks
in terms of `Disk`, so that tests can cut the power between any two of its calls. `os_disk` has it
on real files.

Failures leave here as `StorageFailed` or a sharper kind; no `OSError` passes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from slotcast_device.runtime.users import short_name
from slotcast_schemas.errors import DiskFull, StateUnwritable, StorageFailed
from slotcast_schemas.plain_files import MODE

FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where there is no room: on the disk, in the user's quota, or in a file."""
UNWRITABLE_ERRNOS = {errno.EROFS, errno.EACCES, errno.EPERM}
"""What the system says where this user may not write."""


class RandomFile(Protocol):
    """A file written and read at any offset; sparse until written."""

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Give up to `size_bytes` bytes from `offset`; fewer only at the end of the file."""

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill memory from `offset`, and say how many bytes it got; fewer only at the end."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""

    def sync(self) -> None:
        """Make what was written durable."""

    def close(self) -> None:
        """Release the file."""


class Writer(Protocol):
    """A new file, written from its beginning."""

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`; none of it is looked at after that."""

    def close_synced(self) -> None:
        """Make the bytes durable, then close."""

    def close(self) -> None:
        """Close without a promise."""


class Image(Protocol):
    """Files laid end to end, as a codec reads them (`slotcast_schemas.codecs.source.Source`)."""

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


class Disk(ABC):
    """What the device asks of its storage. Paths are absolute; folders must exist.

    A disk gives single steps; the orders of steps that survive a power cut between any two of
    them are here. `OsDisk` gives the steps on real files, the simulation gives them on a disk that
    forgets, so that what is tried there is this very order.
    """

    def __init__(self) -> None:
        self._unsynced: set[Path] = set()

    # --- orders of steps ----------------------------------------------------------------------

    def write_atomic(self, path: Path, data: bytes, mode: int = MODE) -> None:
        """Replace `path` so that a power cut leaves the old bytes or the new ones, whole.

        The bytes are made durable first, then the name changes (the commit point), and then that
        name is made durable.

        Args:
            path: the file.
            data: its new bytes.
            mode: its new mode, less what the umask takes.
        """
        self.write_together(path.parent, {path.name: data}, mode)

    def write_together(self, folder: Path, files: Mapping[str, bytes], mode: int = MODE) -> None:
        """Replace files of one folder, each as `write_atomic` does, with one sync for all names.

        A power cut leaves each of them old or new, whole: any of them new, whatever their order.

        Args:
            folder: where they are.
            files: the new bytes of each, by name.
            mode: their new mode, less what the umask takes.
        """
        self.write_beside(folder, files, mode)
        self.put_in_place(folder, files)

    def write_beside(self, folder: Path, files: Mapping[str, bytes], mode: int = MODE) -> None:
        """Make the bytes of files durable beside them, each as `NAME.tmp`.

        Args:
            folder: where they are.
            files: the new bytes of each, by name.
            mode: their new mode, less what the umask takes.
        """
        for name, data in files.items():
            writer = self.create(folder / f"{name}.tmp", mode)
            try:
                writer.write(data)
                writer.close_synced()
            finally:
                writer.close()

    def put_in_place(self, folder: Path, names: Iterable[str]) -> None:
        """Give files that `write_beside` wrote their names, and make those durable."""
        for name in names:
            self.rename(folder / f"{name}.tmp", folder / name)
        self.sync_dir(folder)

    def make_dir(self, path: Path) -> None:
        """Make a folder and its parents; the names of those that were made are durable.

        What is synced inside a folder is lost with it if its name is. A folder whose name could
        not be synced is there all the same, so it is remembered, and synced before anything is
        put into another one.
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

    def is_no_dir(self, path: Path) -> bool:
        """Whether something has the name that is neither a folder nor a link to one."""
        return not self.is_dir(path) and path.name in self.names(path.parent)

    def make_own_dir(self, path: Path) -> None:
        """Make a folder that is ours alone, in place of a link or file that somebody put there.

        What we put into it, and remove from it, would else be in a folder of somebody's choice. The
        state directory and a model's folder may be links of the owner's; what lies in them may not.
        """
        if self.read_link(path) is not None:
            self.remove_link(path)
        elif self.is_no_dir(path):
            self.unlink(path)
        self.make_dir(path)

    def make_dir_beside(self, path: Path) -> None:
        """Make a folder; a file in its place goes on as `NAME.aside`, and a link stays."""
        if self.is_no_dir(path) and self.read_link(path) is None:
            self.rename(path, path.with_name(f"{path.name}.aside"))
        self.make_dir(path)

    def replace_link(self, path: Path, target: str) -> None:
        """Point the symlink `path` at `target` in one step, and make that durable.

        The new link is made beside the old one, and renamed over it. What is in the way there
        goes, even a folder: a copy that follows links makes one of a link that a power cut left.
        """
        temporary = path.with_name(path.name + ".tmp")
        self.remove_tree(temporary)
        self.make_link(temporary, target)
        self.rename(temporary, path)
        self.sync_dir(path.parent)

    def remove_link(self, path: Path) -> None:
        """Remove a symlink, durably; missing is fine."""
        self.unlink(path)
        self.sync_dir(path.parent)

    # --- single steps -------------------------------------------------------------------------

    @abstractmethod
    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """Give a whole file, or None if there is none.

        Raises:
            StorageFailed: it cannot be read, or is larger than `limit_bytes`.
        """

    @abstractmethod
    def create(self, path: Path, mode: int = MODE) -> Writer:
        """Begin a new file of this mode, less what the umask takes, in place of an old one."""

    @abstractmethod
    def open_random(self, path: Path) -> RandomFile:
        """Open for reading and writing at any offset; made if missing."""

    @abstractmethod
    def open_read(self, path: Path) -> RandomFile:
        """Open an existing file for reading only."""

    @abstractmethod
    def open_image(self, files: Sequence[tuple[Path, int]]) -> Image:
        """Open files, each of the size in bytes that it is known to have, laid end to end.

        Raises:
            SlotDamaged: a file is missing, unreadable or not of the size given.
        """

    @abstractmethod
    def is_dir(self, path: Path) -> bool:
        """Say whether there is a folder."""

    @abstractmethod
    def make_one_dir(self, path: Path) -> None:
        """Make one folder whose name need not be durable; there already is fine."""

    @abstractmethod
    def remove_tree(self, path: Path) -> None:
        """Remove a file or folder and all below it, read-only or not; missing is fine."""

    @abstractmethod
    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name on the same file system; durable after `sync_dir` of both."""

    @abstractmethod
    def make_read_only(self, path: Path) -> None:
        """Take write permission from a file."""

    @abstractmethod
    def sync_dir(self, path: Path) -> None:
        """Make the names in a folder durable."""

    @abstractmethod
    def make_link(self, path: Path, target: str) -> None:
        """Make a symlink; its name is durable after `sync_dir` of the folder."""

    @abstractmethod
    def unlink(self, path: Path) -> None:
        """Remove a name; missing is fine."""

    @abstractmethod
    def read_link(self, path: Path) -> str | None:
        """Give where a symlink points, or None if there is none."""

    @abstractmethod
    def names(self, path: Path) -> list[str]:
        """Give the names in a folder, sorted; none if it is missing."""

    @abstractmethod
    def size_bytes(self, path: Path) -> int | None:
        """Give the size of a regular file, None for anything else."""

    def holds_no_file(self, path: Path, limit_bytes: int) -> bool:
        """Say whether something lies there that is no plain file of at most so many bytes.

        Nobody but a stranger puts a link, a pipe, a folder or something large where a small file of
        ours belongs.

        Raises:
            StorageFailed: it cannot be looked at.
        """
        size_bytes = self.size_bytes(path)
        is_file = size_bytes is not None and size_bytes <= limit_bytes
        return not is_file and path.name in self.names(path.parent)

    def read_small_file(self, path: Path, limit_bytes: int) -> bytes | None:
        """Give a whole file of ours; no bytes, which prove nothing, for what is no such file.

        An error would have the agent leave everything as it is, so that whatever else the stranger
        changed would go on serving. None where there is nothing.

        Raises:
            StorageFailed: it cannot be read.
        """
        try:
            return self.read(path, limit_bytes)
        except StorageFailed:
            if self.holds_no_file(path, limit_bytes):
                return b""
            raise

    @abstractmethod
    def free_bytes(self, path: Path) -> int:
        """Give the room left for this user on the file system of `path`."""


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn `OSError` into ours, with what was being done and who must act."""
    try:
        yield
    except OSError as exc:
        raise as_storage_failure(what, exc) from exc


def as_storage_failure(what: str, exc: OSError) -> StorageFailed:
    """Give our error for one of the system's: what was being done, and who must act."""
    text = f"{what}: {exc.strerror or exc}"
    if exc.errno in FULL_ERRNOS:
        return DiskFull(f"{text}; free some room on this device")
    if exc.errno == errno.EROFS:
        return StateUnwritable(
            f"{text}; mount it writable, or let the service write there (systemd: ReadWritePaths=)"
        )
    if exc.errno in UNWRITABLE_ERRNOS:
        return StateUnwritable(
            f"{text}; the state directory must be writable by uid {os.geteuid()},"
            f" {short_name(os.geteuid())}, as whom this runs; `slotcast-device check` says more"
        )
    return StorageFailed(f"{text}; check this device's storage")
