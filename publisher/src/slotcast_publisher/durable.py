"""Every durable write of the publisher: whole or not at all, also across a power cut.

Bytes first, then the name, then the folder that holds the name: ext4 may lose a rename whose
folder was not synced. What is written in which order is decided by the callers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slotcast_schemas.errors import DiskFull, StateLocked, StateUnwritable, StorageFailed
from slotcast_schemas.plain_files import create_anew, open_plain

_STEP_BYTES: Final = 1024 * 1024
"""The bytes that are copied and hashed at once."""

_LOCK_STEP_S: Final = 0.1
"""The seconds between two tries to take a lock."""


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about `path` into an error that says who must act.

    Raises:
        DiskFull: no room, or a quota is used up.
        StateUnwritable: rights, or a read-only mount.
        StorageFailed: anything else.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(f"no room to write {path}: {exc.strerror}") from exc
        if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise StateUnwritable(f"may not write {path}: {exc.strerror}") from exc
        raise StorageFailed(f"could not write {path}: {exc}") from exc


def fsync_dir(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_dir(folder: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take them.

    Raises:
        StorageFailed: the disk is full, read-only or failing.
    """
    with storage_errors(folder):
        missing = [f for f in (folder, *folder.parents) if not f.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            fsync_dir(made.parent)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` so that a power cut leaves the old bytes or the new ones, whole.

    Args:
        path: the file to replace; its folder is made where it is missing.
        data: the new bytes.
        mode: the new file's permissions.

    Raises:
        StorageFailed: the disk is full, read-only or failing; the old bytes are still there.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.with_name(f".{path.name}.tmp")
        with os.fdopen(create_anew(tmp, mode=mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        tmp.replace(path)
        fsync_dir(path.parent)


def copy_file(source: Path, target: Path) -> tuple[int, bytes]:
    """Copy a file durably; gives the size and SHA-256 of the bytes that were copied.

    Raises:
        StorageFailed: `target` cannot be written, or `source` cannot be read.
    """
    digest, size_bytes = hashlib.sha256(), 0
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # What was a file when it was looked at may be a link or a pipe by now.
        reading = os.fdopen(open_plain(source, os.O_RDONLY), "rb")
        with reading as reader, os.fdopen(create_anew(target), "wb") as writer:
            while piece := reader.read(_STEP_BYTES):
                writer.write(piece)
                digest.update(piece)
                size_bytes += len(piece)
            writer.flush()
            os.fsync(writer.fileno())
    return size_bytes, digest.digest()


def fsync_tree(folder: Path) -> None:
    """Make a whole folder durable: every file and every name in it.

    Raises:
        StorageFailed: the disk is failing.
    """
    with storage_errors(folder):
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                fsync_dir(path)
            else:
                fd = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        fsync_dir(folder)


def commit_dir(staged: Path, final: Path) -> None:
    """Give a finished folder its name: the commit point of whatever was built in it.

    Raises:
        StorageFailed: `final` exists and is not empty, or the disk is failing.
    """
    fsync_tree(staged)
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(final)
        fsync_dir(final.parent)


def link_tree(source: Path, target: Path) -> None:
    """Give `target` the files of `source` without a second copy, where the disk can.

    Raises:
        StorageFailed: `target` cannot be written.
    """
    with storage_errors(target):
        shutil.copytree(source, target, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


@contextlib.contextmanager
def exclusive(lock: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold `lock` against a second process; the kernel frees it when this one dies.

    Args:
        lock: the file that is locked.
        what: what it guards, in words.
        wait_s: how long to wait for another process: a service holds it for moments.

    Raises:
        StateLocked: another process holds it.
        StorageFailed: the lock file cannot be made.
    """
    with storage_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(fd, what, time.monotonic() + wait_s)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, what: str, deadline_s: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if time.monotonic() >= deadline_s:
                raise StateLocked(
                    f"another slotcast command works on {what}; wait for it to end"
                ) from exc
            time.sleep(_LOCK_STEP_S)
        else:
            return
