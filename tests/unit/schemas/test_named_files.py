"""A small file that a person names is read as a whole, be it a pipe, and no further than is due."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from slotcast_schemas.errors import UsageError
from slotcast_schemas.named_files import read_named


def test_a_file_of_just_the_bound_is_read_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "request"
    file.write_bytes(b"0123456789")
    assert read_named(file, 10) == b"0123456789"


def test_a_pipe_of_the_shell_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"asked for",))
    writer.start()
    assert read_named(pipe, 100) == b"asked for"
    writer.join()


def test_what_has_no_end_is_not_read_to_it() -> None:
    with pytest.raises(UsageError, match="/dev/zero: expected at most 1000 bytes, it has more"):
        read_named(Path("/dev/zero"), 1000)


def test_one_byte_more_is_too_many(tmp_path: Path) -> None:
    file = tmp_path / "request"
    file.write_bytes(b"01234567890")
    with pytest.raises(UsageError, match="at most 10"):
        read_named(file, 10)


@pytest.mark.parametrize("name", ["gone", "."])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"could not read {tmp_path}"):
        read_named(tmp_path / name, 10)
