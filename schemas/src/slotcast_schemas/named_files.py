"""Reads small files that a person names in a command.

It may be a pipe of the shell's, such as `<(ssh device cat request)`. What has no end, such as
`/dev/zero`, is read no further than such a file is long.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from slotcast_schemas.errors import UsageError


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def read_named(path: Path, max_bytes: int, open_file: Callable[[Path], BinaryIO] = _open) -> bytes:
    """Read a file as a whole.

    Args:
        path: that was named.
        max_bytes: the most bytes that a file of its kind has.
        open_file: opens it; `plain_files.open_regular` waits at no pipe.

    Raises:
        UsageError: it cannot be read, or has more bytes.
    """
    try:
        with open_file(path) as file:
            data = file.read(max_bytes + 1)
    except OSError as exc:
        raise UsageError(f"could not read {path}: {exc.strerror}") from exc
    if len(data) > max_bytes:
        raise UsageError(f"{path}: expected at most {max_bytes} bytes, it has more")
    return data
