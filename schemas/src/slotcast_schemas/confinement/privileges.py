"""Whose a process is and what it may: another user, no capabilities, memory that nobody reads."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from slotcast_schemas.confinement import kernel

UNUSED_USER: Final = 65527
"""A user and a group of nobody's: above those that systemd gives away (61184 to 65519), below
`nobody` (65534), and within the 65,536 that a container usually has."""

_DAC_READ_SEARCH: Final = 2
_KILL, _SETGID, _SETUID = 5, 6, 7
_OF_FILES_AND_USERS: Final = (0, 1, _DAC_READ_SEARCH, 3, 4, _SETGID, _SETUID, 14, 23)
"""Capabilities that a program of the owner's may need to do as root what it does: files of others,
another user, locked memory, priority."""
_CAPABILITIES_MAX: Final = 64
_VERSION_3: Final = 0x20080522
"""Of linux/capability.h: the bits of a set of capabilities, and the version of capset(2)."""


def hide_memory() -> bool:
    """Let no process of this user read this one's memory, environment or open files (Linux).

    Core dumps go with it. Processes that it starts are not hidden.
    """
    return kernel.process_control(kernel.PR_SET_DUMPABLE, 0)


def show_to_itself() -> None:
    """Give this process its own files in /proc back, which a change of user takes."""
    kernel.process_control(kernel.PR_SET_DUMPABLE, 1)


def can_change_user() -> bool:
    """Whether this process may become another user, and its parent may end it all the same."""
    needed = 1 << _KILL | 1 << _SETGID | 1 << _SETUID
    return os.geteuid() == 0 and _effective() & needed == needed


def become_nobody(paths: Iterable[Path]) -> str:
    """Become a user that owns nothing, if it can read these paths; say why not, or nothing.

    Args:
        paths: what has to be readable afterwards.
    """
    modes = {path: path.stat() for path in paths if path.exists()}
    needed = {
        path: os.R_OK | (os.X_OK if stat.S_ISDIR(mode.st_mode) else 0)
        for path, mode in modes.items()
    }
    said = ""
    for group in (UNUSED_USER, *sorted({mode.st_gid for mode in modes.values()} - {0})):
        said = _first_closed(needed, group)
        if not said:
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(UNUSED_USER, UNUSED_USER, UNUSED_USER)
            show_to_itself()
            return ""
    return said


def _first_closed(paths: Mapping[Path, int], group: int) -> str:
    """Say which path that user, in this group, cannot open so; empty if it can open all."""
    groups, own_group = os.getgroups(), os.getegid()
    try:
        os.setgroups([])
    except OSError as exc:
        return f"this container lets nobody leave a group ({exc.strerror})"
    try:
        os.setegid(group)
        os.seteuid(UNUSED_USER)
        shut = [path for path, how in paths.items() if not os.access(path, how, effective_ids=True)]
    except OSError as exc:
        return f"there is no such user in this container ({exc.strerror})"
    finally:
        os.seteuid(0)
        os.setegid(own_group)
        os.setgroups(groups)
        show_to_itself()
    return f"{shut[0]} is closed to other users" if shut else ""


def drop_capabilities(*, keeps_files: bool, can_work: Callable[[], bool] = lambda: True) -> None:
    """Give up the rights that root has beyond its own files.

    Args:
        keeps_files: keep what a program of the owner's may need (`_OF_FILES_AND_USERS`).
        can_work: asked afterwards; if not, reading what belongs to others is kept.
    """
    if os.geteuid() != 0:
        return
    kept = sum(1 << number for number in _OF_FILES_AND_USERS) if keeps_files else 0
    had = _effective()
    reading = had & 1 << _DAC_READ_SEARCH
    for number in range(_CAPABILITIES_MAX):
        if not (kept | reading) & 1 << number:
            kernel.process_control(kernel.PR_CAPBSET_DROP, number)
    _set_capabilities(had & kept, had & kept | reading)
    if not keeps_files and reading:
        _set_capabilities(*((0, 0) if can_work() else (reading, reading)))


def _effective() -> int:
    """Give this process's capabilities, a bit each."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _set_capabilities(effective: int, permitted: int) -> None:
    """Call capset(2): effective and permitted, in two halves; none is inherited."""
    head = struct.pack("=Ii", _VERSION_3, 0)
    halves = [
        struct.pack("=III", effective >> shift & 0xFFFFFFFF, permitted >> shift & 0xFFFFFFFF, 0)
        for shift in (0, 32)
    ]
    if kernel.libc().capset(head, b"".join(halves)):
        raise OSError(ctypes.get_errno(), "capset")
