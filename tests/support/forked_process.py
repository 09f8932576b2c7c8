"""What forks that stand for processes started anew have in common (`warm_children`, the zoo's)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tests.support.waiting import WAIT_S


class Child(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int:
        """Its number."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; give how it ended."""


def run_to_end(
    start: Callable[..., Child],
    command: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a child to its end, as `subprocess.run` with `capture_output` does.

    Args:
        start: in place of `subprocess.Popen`.
        command: what is run.
        timeout: seconds after which the child is killed.
        env: all of its environment; as here if None.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = start(command, stdout=out, stderr=errors, env=env)
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait(WAIT_S)
            raise
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(list(command), code, out.read(), errors.read())


def look_anew(cwd: str | None, env: Mapping[str, str] | None) -> None:
    """Make Python's own view of outputs, folder and environment that of a new process.

    Args:
        cwd: its folder, if another one.
        env: all of its environment, if another one.
    """
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    if cwd is not None:
        os.chdir(cwd)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
