"""Which system calls a process may make (seccomp): programs for the kernel, and their setting.

A filter sees a call's number and its arguments as numbers, not what they point at. It holds for
the process and all that it starts, for good, and needs no rights.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from slotcast_schemas.confinement import kernel
from slotcast_schemas.confinement.call_numbers import ARCHITECTURES, SOCKET_CALLS, numbers
from slotcast_schemas.confinement.refused_calls import (
    CHANGES,
    CHANGES_OF_RIGHTS,
    NEW_PROCESSES,
    OTHER_PROCESSES,
    OWNERS_BY_FCNTL,
    OWNERS_BY_IOCTL,
    SCHEDULING,
    SESSIONS,
    SHARED,
    SIGNALS,
    SYSTEM,
    USERS,
    WATCHING,
)

_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1
_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_BIT: Final = 0x40000000
"""Calls of x86-64's third kind have this bit in their number; nothing here uses them."""

_AF_NETLINK: Final = 16
_CLONE_THREAD: Final = 0x00010000
"""Of linux/netlink.h and linux/sched.h: the family of netlink, and the flag of a new thread."""
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

Instruction = tuple[int, int, int, int]
"""One step: what to do, how many steps to pass over if it is true and if not, and its operand."""


class FilterRefused(OSError):
    """This kernel has no filter of system calls, or their numbers are not known here."""


def close_network(*, is_local_allowed: bool = True) -> None:
    """Let this process make no socket to a network.

    Args:
        is_local_allowed: sockets of this machine alone (Unix, netlink) stay: drivers of
            accelerators use them. A service of root's may listen at one.

    Raises:
        FilterRefused: it is not so.
    """
    machine = kernel.machine()
    if machine not in SOCKET_CALLS:
        raise FilterRefused(errno.ENOSYS, f"no filter for the processor {machine!r}")
    architecture, number, pair_number = SOCKET_CALLS[machine]
    families = (socket.AF_UNIX, _AF_NETLINK) if is_local_allowed else ()
    # A socket of a pair can send to any address of its family, as a single socket can.
    pairs = (socket.AF_UNIX,) if is_local_allowed else ()
    _install(
        [
            *_of_architecture(architecture),
            *_refuse(425),  # io_uring_setup: makes sockets without this call
            *_unless_one_of(number, 0, families),
            *_unless_one_of(pair_number, 0, pairs),
            (_ANSWER, 0, 0, _ALLOW),
        ]
    )


def close_calls(*, starts_processes: bool, opens_devices: bool) -> None:
    """Let this process, and all that it starts, do nothing to others and to the system.

    Args:
        starts_processes: it may start others, which then stay in its session and end with it;
            if not, threads are all it makes, it signals itself alone, and keeps its user.
        opens_devices: it may open files for writing, as devices are; if not, no file is opened so,
            and nothing on disk is made, renamed or removed. Rights are never changed.

    Raises:
        FilterRefused: it is not so.
    """
    machine = kernel.machine()
    known = numbers(machine)
    if not known:
        raise FilterRefused(errno.ENOSYS, f"no filter for the processor {machine!r}")
    program = _of_architecture(ARCHITECTURES[machine])
    if machine == "x86_64":
        program += [(_IF_AT_LEAST, 0, 1, _X32_BIT), _answer(errno.EPERM)]
    program += _refuse_all(known, [*OTHER_PROCESSES, *SYSTEM])
    # Said to be done, and not done: a daemon stays in the group that is killed as a whole.
    program += _refuse_all(known, SESSIONS, 0 if starts_processes else errno.EPERM)
    program += _refuse_all(known, CHANGES_OF_RIGHTS, 0 if opens_devices else errno.EPERM)
    if not starts_processes:
        program += _only_itself(known)
    if not opens_devices:
        program += _only_reading(known)
    _install([*program, (_ANSWER, 0, 0, _ALLOW)])


def _only_itself(known: Mapping[str, int]) -> list[Instruction]:
    """Let threads be made, and no process; let it signal and limit itself, and no other."""
    own = os.getpid()
    program = _only_threads(known)
    refused = ("setpriority", "ioprio_set", "tkill")
    program += _refuse_all(known, [*NEW_PROCESSES, *USERS, *SHARED, *refused])
    program += _refuse_if_one_of(known["fcntl"], 1, OWNERS_BY_FCNTL)
    program += _refuse_if_one_of(known["ioctl"], 1, OWNERS_BY_IOCTL)
    for name in SIGNALS:
        program += _unless_one_of(known[name], 0, (own,))
    for name in SCHEDULING:
        program += _unless_one_of(known[name], 0, (0, own))
    # Runtimes bind their threads, by numbers that are not known here: said to be done, not done.
    program += _unless_one_of(known["sched_setaffinity"], 0, (0, own), error=0)
    return program + _unless_one_of(known["prlimit64"], 0, (0, own))


def _only_reading(known: Mapping[str, int]) -> list[Instruction]:
    """Let nothing on disk be made, renamed or removed, and no file be opened for writing."""
    program = _refuse_all(known, [*CHANGES, *WATCHING])
    program += _refuse(known["openat2"], errno.ENOSYS)  # its flags lie in memory
    if "open" in known:
        program += _if_any_bit(known["open"], 1, _WRITING)
    return program + _if_any_bit(known["openat"], 2, _WRITING)


def _of_architecture(architecture: int) -> list[Instruction]:
    """Refuse what comes by another way into the same kernel; then the call's number is loaded."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, architecture),
        _answer(errno.EPERM),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]


def _answer(error: int) -> Instruction:
    return (_ANSWER, 0, 0, _ERRNO | error)


def _refuse(number: int, error: int = errno.EPERM) -> list[Instruction]:
    return [(_IF_EQUAL, 0, 1, number), _answer(error)]


def _refuse_all(
    known: Mapping[str, int], names: Iterable[str], error: int = errno.EPERM
) -> list[Instruction]:
    """Refuse the calls of these names that this processor has."""
    return [each for name in names if name in known for each in _refuse(known[name], error)]


def _argument(index: int) -> Instruction:
    """Load the lower 32 bits; every processor here has them first."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index)


def _unless_one_of(
    number: int, index: int, allowed: Sequence[int], error: int = errno.EACCES
) -> list[Instruction]:
    """Refuse the call unless an argument is one of these.

    Args:
        number: of the call.
        index: of the argument.
        allowed: what it may be.
        error: what is said; 0 is that it was done.
    """
    count = len(allowed)
    return [
        (_IF_EQUAL, 0, count + 3, number),
        _argument(index),
        *((_IF_EQUAL, count - place, 0, value) for place, value in enumerate(allowed)),
        _answer(error),
        (_ANSWER, 0, 0, _ALLOW),
    ]


def _refuse_if_one_of(number: int, index: int, refused: Sequence[int]) -> list[Instruction]:
    """Refuse the call if an argument is one of these."""
    count = len(refused)
    return [
        (_IF_EQUAL, 0, count + 3, number),
        _argument(index),
        *((_IF_EQUAL, count - place, 0, value) for place, value in enumerate(refused)),
        (_ANSWER, 0, 0, _ALLOW),
        _answer(errno.EACCES),
    ]


def _if_any_bit(number: int, index: int, bits: int) -> list[Instruction]:
    """Refuse the call if an argument has one of these bits."""
    return [
        (_IF_EQUAL, 0, 4, number),
        _argument(index),
        (_IF_ANY_BIT, 0, 1, bits),
        _answer(errno.EACCES),
        (_ANSWER, 0, 0, _ALLOW),
    ]


def _only_threads(known: Mapping[str, int]) -> list[Instruction]:
    """Let threads be made, and no process; C libraries go on with `clone` without `clone3`."""
    return [
        *_refuse(known["clone3"], errno.ENOSYS),  # its flags lie in memory
        (_IF_EQUAL, 0, 4, known["clone"]),
        _argument(0),
        (_IF_ANY_BIT, 1, 0, _CLONE_THREAD),
        _answer(errno.EPERM),
        (_ANSWER, 0, 0, _ALLOW),
    ]


class _Program(ctypes.Structure):
    """`struct sock_fprog` (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _install(instructions: list[Instruction]) -> None:
    """Set a filter for all threads, or where the kernel has no such call for this one.

    New rights are given up first, without which only root may set one.
    """
    kernel.process_control(kernel.PR_SET_NO_NEW_PRIVS, 1)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    kept = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(instructions), ctypes.addressof(kept))
    number = numbers(kernel.machine()).get("seccomp")
    if number is not None:
        try:
            arguments = (ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_ALL_THREADS))
            if kernel.call(number, *arguments, ctypes.byref(program)) == 0:
                return
        except OSError:
            pass  # an older or an emulated kernel, or a sandbox around us: the other way
    pointer = ctypes.addressof(program)
    if not kernel.process_control(kernel.PR_SET_SECCOMP, _MODE_FILTER, pointer):
        error = ctypes.get_errno()
        raise FilterRefused(error, f"the kernel takes no filter ({os.strerror(error)})")
