"""Runs a hook: an executable of the device's owner that answers by its exit code.

A hook has ended when its own process has. What it left running may hold its output open for as
long as it likes: that is not waited for, and is read on and thrown away, since a closed pipe would
end what the owner started. A hook that is too slow is ended with all that it started.
How long a hook may take is a key of the configuration; what its exit code means is decided by
`owner`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import msgspec

OUTPUT_KEPT_BYTES: Final = 300
"""The bytes that are kept of what a hook prints, the last ones."""
OUTPUT_WAIT_S: Final = 1.0
"""The seconds after a hook's end within which the rest of what it printed is read."""
LEFT_OPEN_MAX: Final = 16
"""The most outputs that are read on at once; while so many are left open, a hook's output is not
kept."""


class HookEnd(msgspec.Struct, frozen=True):
    """How a hook ended.

    Attributes:
        code: its exit code, negative for a signal; None if there is none.
        problem: why there is none.
        said: the end of what it printed.
    """

    code: int | None
    problem: str = ""
    said: str = ""


class _Output(threading.Thread):
    """Reads what comes through a pipe to its end, and keeps the last of it."""

    _left_open: Final[set[_Output]] = set()

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(name="hook-output", daemon=True)
        self._pipe = pipe
        self._tail = b""

    @classmethod
    def has_room(cls, left_open_max: int) -> bool:
        """Whether one more may be read, where so many may be open."""
        return len(cls._left_open) < left_open_max

    def run(self) -> None:
        """Read to the end."""
        self._left_open.add(self)
        with self._pipe:
            while data := self._pipe.read(4096):
                self._tail = (self._tail + data)[-OUTPUT_KEPT_BYTES:]
        self._left_open.discard(self)

    def text(self) -> str:
        """Give the end of what was printed so far."""
        return self._tail.decode(errors="replace").strip()


def run_hook(
    hook: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    *,
    left_open_max: int = LEFT_OPEN_MAX,
    output_wait_s: float = OUTPUT_WAIT_S,
) -> HookEnd:
    """Run a hook and wait for its own end; never raises for what a hook does.

    Args:
        hook: the executable.
        environment: all of its variables.
        timeout_s: after this it is ended, with the processes that it started.
        left_open_max: the most outputs that are read on at once.
        output_wait_s: within this after its end the rest of what it printed is read.
    """
    is_kept = _Output.has_room(left_open_max)
    try:
        child = subprocess.Popen(
            [str(hook)],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if is_kept else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as exc:
        return HookEnd(None, f"none: {exc.strerror}")
    output = None if child.stdout is None else _Output(child.stdout)
    if output is not None:
        output.start()
    try:
        code = child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return HookEnd(None, f"none in {timeout_s:.0f} s", _read_output(output, output_wait_s))
    return HookEnd(code, said=_read_output(output, output_wait_s))


def _read_output(output: _Output | None, wait_s: float) -> str:
    if output is None:
        return ""
    output.join(wait_s)
    return output.text()
