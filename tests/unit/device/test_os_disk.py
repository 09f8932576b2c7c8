"""What the file system says, and what a disk that fails says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import StorageFailed


def test_only_a_plain_file_has_a_size(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"four")
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    names = ("file", "link", "pipe", ".", "missing", "file/below")
    assert [OsDisk().size_bytes(tmp_path / name) for name in names] == [4, *[None] * 5]


def test_a_disk_that_cannot_be_read_does_not_say_that_there_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By that word a thing that is no file is taken away, and others are written anew."""

    def fails(path: Path) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "lstat", fails)
    with pytest.raises(StorageFailed, match="look at"):
        OsDisk().size_bytes(tmp_path)
