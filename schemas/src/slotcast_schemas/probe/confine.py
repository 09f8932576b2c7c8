"""What the probe's child does to itself before it touches a model: limits, priority, death wish.

Done in the child, on purpose: `preexec_fn` in a parent with threads can deadlock (CPython's
documentation of `subprocess`), and limits on memory must come after onnxruntime was imported,
because that alone maps more than a small model needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Final

from slotcast_schemas.process_memory import status_bytes

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000
_AF_NETLINK: Final = 16
_IO_URING_SETUP: Final = 425
_SOCKET_CALLS: Final = {
    "x86_64": (0xC000003E, 41),
    "aarch64": (0xC00000B7, 198),
    "riscv64": (0xC00000F3, 198),
    "arm": (0x40000028, 281),
}
"""What Linux calls an architecture (linux/audit.h), and the number of its call `socket`."""
_NICE: Final = 10
_STACK_BYTES: Final = 8 * 1024 * 1024
_HEAP_RESERVATION_BYTES: Final = 64 * 1024 * 1024
"""glibc reserves this much address space for each thread's heap."""


def die_with(parent_pid: int) -> None:
    """Be killed when the parent dies, so that a killed agent leaves no probe behind (Linux).

    Raises:
        SystemExit: the parent is gone already.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit(1)


def leave_network() -> bool:
    """Let this thread, and all that it starts from now on, make no socket to a network (Linux).

    Needs no rights, once new ones are given up for good (`die_with`). Sockets of this machine alone
    (Unix, netlink) stay: drivers of accelerators use them.

    Returns:
        False where the kernel has no such filter, or its calls' numbers are not known here.
    """
    machine = platform.machine()
    if struct.calcsize("P") == 4:  # such a process has calls of its own, whatever the kernel's
        machine = "arm" if machine.startswith(("arm", "aarch64")) else ""
    if sys.platform != "linux" or machine not in _SOCKET_CALLS:
        return False
    program = b"".join(
        struct.pack("=HBBI", *instruction) for instruction in _filter(*_SOCKET_CALLS[machine])
    )
    code = ctypes.create_string_buffer(program, len(program))
    head = _FilterProgram(len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    done: int = libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(head), 0, 0)
    return done == 0


class _FilterProgram(ctypes.Structure):
    """`struct sock_fprog` (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _filter(architecture: int, socket_call: int) -> list[tuple[int, int, int, int]]:
    """Give the filter's instructions: what to do, how far to go on if true and if not, with what.

    A call is described to it by its number (byte 0), the architecture (4) and the arguments (16).
    """
    load, jump_if, answer = 0x20, 0x15, 0x06
    return [
        (load, 0, 0, 4),
        (jump_if, 0, 7, architecture),  # else refuse: another way into the same kernel
        (load, 0, 0, 0),
        (jump_if, 5, 0, _IO_URING_SETUP),  # makes sockets without this call
        (jump_if, 0, 3, socket_call),
        (load, 0, 0, 16),
        (jump_if, 1, 0, socket.AF_UNIX),
        (jump_if, 0, 1, _AF_NETLINK),
        (answer, 0, 0, _ALLOW),
        (answer, 0, 0, _REFUSE | errno.EACCES),
    ]


def be_first_to_go() -> None:
    """If memory ends all the same, have the kernel take this process and no other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def limit_process(timeout_s: float) -> None:
    """Lower priority; no core dump, no file written, a bound on CPU time that needs no watcher."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    be_first_to_go()
    cpu_s = int(timeout_s * (os.cpu_count() or 1)) + 5
    with contextlib.suppress(OSError, ValueError):
        # The soft limit gives SIGXCPU, which says what happened; the hard one gives SIGKILL.
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)


def limit_memory(limit_bytes: int) -> None:
    """Let the process take `limit_bytes` more than it has now; past that, allocations fail.

    RLIMIT_DATA counts private writable memory, which is what weights and activations are;
    RLIMIT_AS is a second fence for what it does not count. Both leave room for thread stacks.
    """
    threads = 2 * (os.cpu_count() or 1) + 4
    stacks_bytes = threads * _STACK_BYTES
    _limit(resource.RLIMIT_DATA, status_bytes("VmData") + limit_bytes + stacks_bytes)
    _limit(
        resource.RLIMIT_AS,
        status_bytes("VmSize") + 2 * limit_bytes + stacks_bytes + threads * _HEAP_RESERVATION_BYTES,
    )


def reset_peak() -> int:
    """Start a new measurement of peak memory; gives the resident bytes at this moment."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return resident_bytes()


def resident_bytes() -> int:
    """Memory resident now."""
    return status_bytes("VmRSS")


def peak_bytes() -> int:
    """Most that was resident since `reset_peak` (since the start, where that is not possible)."""
    return status_bytes("VmHWM")


def trim() -> None:
    """Give free heap pages back, so that one model's leavings do not hide the next one's needs."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _limit(what: int, value: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(what)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (bound, bound))
