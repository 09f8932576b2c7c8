"""Files that are opened and made as what they are, on both sides: no link, no pipe, no second name.

In a folder that others may write to, what lies under a name may have been put there by somebody
who thereby chooses what is read, or where bytes go.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

AS_IT_IS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags of open(2): follow no link, and wait at no pipe."""
MODE: Final = 0o644
"""The mode of what is made, less what the umask takes."""


def open_plain(path: Path, flags: int, mode: int = MODE) -> int:
    """Open what is a plain file, and nothing else; gives the descriptor.

    Args:
        path: of the file.
        flags: of open(2), beside `AS_IT_IS`.
        mode: of the file, where it is made.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe, a device or a folder.
    """
    fd = os.open(path, flags | AS_IT_IS, mode)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(
            errno.EINVAL, "expected a plain file, found something else: remove it", str(path)
        )
    return fd


def create_anew(path: Path, flags: int = os.O_WRONLY, mode: int = MODE) -> int:
    """Make a file that is nobody's yet, in place of what has the name; gives the descriptor.

    Args:
        path: of the file.
        flags: how it is opened, as for open(2).
        mode: of the file, less what the umask takes.

    Raises:
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def replace_plain(path: Path, data: bytes, mode: int | None = None) -> None:
    """Replace a file as a whole, by one that is made beside it; nothing is made durable.

    Args:
        path: of the file.
        data: what is to be in it.
        mode: of the file, whatever the umask takes; what it leaves of `MODE` unless given.

    Raises:
        OSError: it cannot be made.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with os.fdopen(create_anew(temporary), "wb") as file:
        file.write(data)
        if mode is not None:
            with contextlib.suppress(OSError):  # some file systems know no modes
                os.fchmod(file.fileno(), mode)
    temporary.replace(path)


def read_start(path: Path, limit_bytes: int) -> bytes:
    """Read a plain file up to a bound.

    Args:
        path: of the file.
        limit_bytes: the most that is read.

    Raises:
        OSError: it cannot be read, or is a link, a pipe, a device or a folder.
    """
    with os.fdopen(open_plain(path, os.O_RDONLY), "rb") as file:
        return file.read(limit_bytes)
