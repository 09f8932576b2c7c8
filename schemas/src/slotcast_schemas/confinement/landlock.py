"""Landlock: which files a process and all that it starts may reach (linux/landlock.h).

Any process may give up rights so, for good; it needs no new ones (`PR_SET_NO_NEW_PRIVS`). What no
rule allows is refused, and so is tracing a process outside, and reading its memory. Later kernels
close more: TCP from version 4 on, signals and abstract sockets of other processes from 6 on.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from slotcast_schemas.confinement import kernel

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
"""The same numbers on every processor."""
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
"""Of linux/landlock.h: ask for the version alone; a rule for what is below a path."""

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
TRUNCATE: Final = 1 << 14
IOCTL_DEVICE: Final = 1 << 15
READ: Final = EXECUTE | READ_FILE | READ_DIR
CHANGE: Final = (1 << 16) - 1
"""All rights: what is there may be read and written, and things made and removed."""

_OF_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE
"""The rights that a rule for a file, and not a folder, may give."""
_FILE_RIGHTS: Final = ((1, 13), (2, 14), (3, 15), (5, 16))
"""From which version on how many rights are known."""
_BIND_AND_CONNECT: Final = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11
"""The bits of what is closed besides files: TCP from version 4 on; sockets with abstract names, and
signals, from version 6 on."""


def version() -> int:
    """Give the version of Landlock that this kernel has; 0 for none."""
    if not kernel.machine():
        return 0
    try:
        return kernel.call(
            _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)
        )
    except OSError:
        return 0


def restrict(rights: Mapping[Path, int], *, has_own_network: bool = False) -> None:
    """Refuse this thread, and all that it starts from now on, what is not given here.

    Args:
        rights: by path, of a folder for all below it; paths that are not there are left out.
        has_own_network: do not close TCP.

    Raises:
        OSError: the kernel has no Landlock, or refuses.
    """
    known = version()
    handled = (1 << max((bits for since, bits in _FILE_RIGHTS if known >= since), default=0)) - 1
    network = _BIND_AND_CONNECT if known >= 4 and not has_own_network else 0
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if known >= 6 else 0
    size_bytes = 24 if known >= 6 else 16 if known >= 4 else 8
    attributes = struct.pack("=QQQ", handled, network, scoped)[:size_bytes]
    ruleset = kernel.call(_CREATE_RULESET, attributes, ctypes.c_size_t(size_bytes), 0)
    try:
        for path, allowed in rights.items():
            _allow(ruleset, path, allowed & handled)
        kernel.call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        if rights:
            rule = struct.pack("=Qi", rights, place)
            kernel.call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(place)
