"""The durable layer on real files: the only module that writes to the state directory."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from slotcast_device.storage.disk import (
    Disk,
    Image,
    RandomFile,
    Writer,
    as_storage_failure,
    storage_errors,
)
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.plain_files import MODE, create_anew, open_plain, read_start

WRITE_BACK_BYTES: Final = 2 * 1024 * 1024
"""The bytes of a large file that are written before the system is told to begin storing them."""
_NOWHERE_ERRNOS: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""What the system says of a path below what is missing or no folder, or below a link that leads
nowhere: nothing is there, and the storage is well."""


class _OsRandomFile:
    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        with storage_errors(f"read {self._path}"):
            return os.pread(self._fd, size_bytes, offset)

    def read_into(self, offset: int, target: memoryview) -> int:
        with storage_errors(f"read {self._path}"):
            return os.preadv(self._fd, [target], offset)

    def write_at(self, offset: int, data: bytes) -> None:
        try:
            done = os.pwrite(self._fd, data, offset)
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], offset + done)
        except OSError as exc:
            raise as_storage_failure(f"write {self._path}", exc) from exc

    def sync(self) -> None:
        with storage_errors(f"sync {self._path}"):
            os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _OsWriter:
    def __init__(self, path: Path, mode: int) -> None:
        self._path = path
        self._fd = create_anew(path, mode=mode)
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


class OsDisk(Disk):
    """`Disk` on the operating system's files."""

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """Read up to the limit and one byte more, which says that there is more."""
        with storage_errors(f"read {path}"):
            try:
                data = read_start(path, limit_bytes + 1)
            except OSError:
                if _look(path) is None:
                    return None
                raise
        if len(data) > limit_bytes:
            raise StorageFailed(f"{path}: expected at most {limit_bytes} bytes, it has more")
        return data

    def create(self, path: Path, mode: int = MODE) -> Writer:
        """Make it anew in place of what is there; nothing is durable yet."""
        with storage_errors(f"create {path}"):
            return _OsWriter(path, mode)

    def open_random(self, path: Path) -> RandomFile:
        """Open it, or make it in place of what is no file of ours alone; sparse until written."""
        with storage_errors(f"open {path}"):
            if not path.is_file() or path.is_symlink() or path.stat().st_nlink > 1:
                return _OsRandomFile(path, create_anew(path, os.O_RDWR))
            return _OsRandomFile(path, open_plain(path, os.O_RDWR))

    def open_read(self, path: Path) -> RandomFile:
        """Open with O_RDONLY."""
        with storage_errors(f"open {path}"):
            return _OsRandomFile(path, open_plain(path, os.O_RDONLY))

    def open_image(self, files: Sequence[tuple[Path, int]]) -> Image:
        """Open each file once, and compare its size."""
        from slotcast_schemas.codecs.source import (
            FilesImage,  # brings numpy, and status needs no image
        )

        return FilesImage(files)

    def is_dir(self, path: Path) -> bool:
        """Ask the file system; a symlink to a folder is one too."""
        with storage_errors(f"look at {path}"):
            about = _look(path, follow_links=True)
            return about is not None and stat.S_ISDIR(about.st_mode)

    def make_one_dir(self, path: Path) -> None:
        """Make it with the rights that the umask leaves."""
        with storage_errors(f"make folder {path}"):
            try:
                path.mkdir(exist_ok=True)
            except FileExistsError as exc:
                said = "expected a folder, found something else: remove it"
                raise FileExistsError(exc.errno, said) from exc

    def make_link(self, path: Path, target: str) -> None:
        """Make it as given, relative or not."""
        with storage_errors(f"link {path}"):
            path.symlink_to(target)

    def unlink(self, path: Path) -> None:
        """Remove it; what it named stays if it has another name."""
        with storage_errors(f"unlink {path}"):
            path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Remove the name of a link or file, and a folder from its leaves."""
        with storage_errors(f"remove {path}"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:  # a file, a link, or a pipe that somebody left there
                path.unlink(missing_ok=True)

    def rename(self, path: Path, to: Path) -> None:
        """Replace what has the new name, in one step."""
        with storage_errors(f"rename {path}"):
            path.replace(to)

    def make_read_only(self, path: Path) -> None:
        """Set mode 0444."""
        with storage_errors(f"make read-only {path}"):
            path.chmod(0o444)

    def sync_dir(self, path: Path) -> None:
        """Open the folder and call fsync on it."""
        with storage_errors(f"sync folder {path}"):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def read_link(self, path: Path) -> str | None:
        """Give the link's text, unresolved."""
        with storage_errors(f"read link {path}"):
            try:
                return str(path.readlink())
            except OSError as exc:
                if exc.errno in {errno.EINVAL, *_NOWHERE_ERRNOS}:  # EINVAL: it is no link
                    return None
                raise

    def names(self, path: Path) -> list[str]:
        """List the folder at once."""
        with storage_errors(f"list {path}"):
            return sorted(entry.name for entry in path.iterdir()) if self.is_dir(path) else []

    def size_bytes(self, path: Path) -> int | None:
        """Ask the file system; a symlink is not followed, and a disk that fails is no answer."""
        with storage_errors(f"look at {path}"):
            about = _look(path)
            return about.st_size if about and stat.S_ISREG(about.st_mode) else None

    def free_bytes(self, path: Path) -> int:
        """Give what is not reserved for root."""
        with storage_errors(f"look at {path}"):
            return shutil.disk_usage(path).free


def _look(path: Path, *, follow_links: bool = False) -> os.stat_result | None:
    """Say what is there, None for nothing.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        return path.stat() if follow_links else path.lstat()
    except OSError as exc:
        if exc.errno in _NOWHERE_ERRNOS:
            return None
        raise
