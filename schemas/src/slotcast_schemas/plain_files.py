"""Files that are opened and made as what they are, on both sides: no link, no pipe, no second name.

In a folder that others may write to, what lies under a name may have been put there by somebody
who thereby chooses what is read, or where bytes go. Files of a configuration and of a repository
may be links of their owner (`open_regular`); a pipe, a device or a file without end in their place
holds up nobody either.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

AS_IT_IS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags of open(2): follow no link, and wait at no pipe."""
MODE: Final = 0o644
"""The mode of what is made, less what the umask takes."""
FILE_MAX_BYTES: Final = 64 * 1024 * 1024
"""The most bytes of a file that is read as a whole, where nothing smaller is known of it."""

_REGULAR: Final = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
)


def open_plain(path: Path, flags: int, mode: int = MODE) -> int:
    """Open what is a plain file, and nothing else; gives the descriptor.

    Args:
        path: of the file.
        flags: of open(2), beside `AS_IT_IS`.
        mode: of the file, where it is made.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe, a device or a folder.
    """
    return _open_checked(path, flags | AS_IT_IS, mode)


def _open_checked(path: Path, flags: int, mode: int = MODE) -> int:
    try:
        fd = os.open(path, flags, mode)
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # a socket; a pipe to write to that nobody reads
            raise _no_plain_file(path, path.stat().st_mode) from exc
        raise
    found = os.fstat(fd).st_mode
    if stat.S_ISREG(found):
        return fd
    os.close(fd)
    raise _no_plain_file(path, found)


def _no_plain_file(path: Path, mode: int) -> OSError:
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
    # A folder may be what a person has named by mistake.
    to_do = "" if stat.S_ISDIR(mode) else ": remove it"
    return OSError(errno.EINVAL, f"expected a plain file, found {kind}{to_do}", str(path))


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


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read it, also through links; waits at no pipe.

    Raises:
        OSError: it cannot be opened, or is a pipe, a socket, a device or a folder.
    """
    return os.fdopen(open_regular_number(path), "rb")


def open_regular_number(path: Path) -> int:
    """Open a file as `open_regular` does; gives the descriptor."""
    return _open_checked(path, os.O_RDONLY | _REGULAR)


def read_regular(path: Path, limit_bytes: int = FILE_MAX_BYTES) -> bytes:
    """Read a file as a whole, also through links.

    Args:
        path: of the file.
        limit_bytes: the most that it may have.

    Raises:
        OSError: it cannot be read, is a pipe, a socket, a device or a folder, or has more bytes.
    """
    with open_regular(path) as file:
        # Room for all that it may have would be asked of the system each time.
        size_bytes = min(os.fstat(file.fileno()).st_size, limit_bytes)
        data = file.read(size_bytes + 1)
        if len(data) > size_bytes:  # it grew, or says no size, as those of /proc
            data += file.read(limit_bytes + 1 - len(data))
    if len(data) > limit_bytes:
        said = (
            f"expected at most {limit_bytes} bytes, it has more: bring back the file that was there"
        )
        raise OSError(errno.EFBIG, said, str(path))
    return data


def check_regular(path: Path) -> None:
    """Refuse what is no plain file, for readers that open by name, as those of TLS do.

    Raises:
        OSError: it cannot be opened, is a pipe, a socket, a device or a folder, or is larger than
            such files are.
    """
    read_regular(path)
