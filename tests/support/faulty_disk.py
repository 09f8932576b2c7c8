"""A disk that refuses to be written when told to: full or read-only, in the kernel's words."""

from __future__ import annotations

import os
from pathlib import Path

from slotcast_device.storage.disk import RandomFile, Writer, storage_errors
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.plain_files import MODE


class FaultyDisk(OsDisk):
    """The real disk; while `errno` is set, everything that writes fails with that error."""

    def __init__(self) -> None:
        super().__init__()
        self.errno = 0

    def check(self, what: str) -> None:
        """Fail if told to, through the same mapping as a real failure."""
        if self.errno:
            with storage_errors(what):
                raise OSError(self.errno, os.strerror(self.errno))

    def create(self, path: Path, mode: int = MODE) -> Writer:
        self.check(f"create {path}")
        return super().create(path, mode)

    def open_random(self, path: Path) -> RandomFile:
        self.check(f"open {path}")
        return _File(self, super().open_random(path))

    def make_one_dir(self, path: Path) -> None:
        self.check(f"make folder {path}")
        super().make_one_dir(path)

    def make_link(self, path: Path, target: str) -> None:
        self.check(f"link {path}")
        super().make_link(path, target)

    def remove_tree(self, path: Path) -> None:
        self.check(f"remove {path}")
        super().remove_tree(path)

    def rename(self, path: Path, to: Path) -> None:
        self.check(f"rename {path}")
        super().rename(path, to)


class _File:
    """An open file whose writes ask the disk first."""

    def __init__(self, disk: FaultyDisk, file: RandomFile) -> None:
        self._disk = disk
        self._file = file

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        return self._file.read_at(offset, size_bytes)

    def read_into(self, offset: int, target: memoryview) -> int:
        return self._file.read_into(offset, target)

    def write_at(self, offset: int, data: bytes) -> None:
        self._disk.check("write")
        self._file.write_at(offset, data)

    def sync(self) -> None:
        self._disk.check("sync")
        self._file.sync()

    def close(self) -> None:
        self._file.close()
