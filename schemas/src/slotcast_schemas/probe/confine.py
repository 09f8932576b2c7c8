"""What the probe's child does to itself before it touches a model: limits, priority, death wish.

What it may reach is the affair of `slotcast_schemas.confinement`.

Done in the child, on purpose: `preexec_fn` in a parent with threads can deadlock (CPython's
documentation of `subprocess`), and limits on memory must come after onnxruntime was imported,
because that alone maps more than a small model needs.
How much memory it may take is decided by `runner`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

from slotcast_schemas.confinement import kernel
from slotcast_schemas.process_memory import status_bytes

_NICE: Final = 10
_STACK_BYTES: Final = 8 * 1024 * 1024
_HEAP_RESERVATION_BYTES: Final = 64 * 1024 * 1024
"""glibc reserves this much address space for each thread's heap."""
_PEAK: Final[list[int]] = []
"""The open file that starts a new measurement of peak memory, where it was opened in time."""


def die_with(parent_pid: int) -> None:
    """Be killed when the parent dies, so that a killed agent leaves no probe behind (Linux).

    A change of user takes it back: call it again after one.

    Raises:
        SystemExit: the parent is gone already.
    """
    if sys.platform == "linux":
        kernel.process_control(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        kernel.process_control(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if os.getppid() != parent_pid:
        raise SystemExit(1)


def be_first_to_go() -> None:
    """If memory ends all the same, have the kernel take this process and no other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def step_back() -> None:
    """Lower priority, for a processor and for memory; to be called before the process is closed in.

    It keeps what `reset_peak` needs, which could not be opened afterwards.
    """
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    be_first_to_go()
    with contextlib.suppress(OSError):
        _PEAK.append(os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC))


def limit_process(timeout_s: float) -> None:
    """No core dump, no file written, a bound on CPU time that needs no watcher."""
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
        if _PEAK:
            os.write(_PEAK[0], b"5")
        else:
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
