"""Children of release and probe as forks of this process, which has imported the runtime already.

The same modules with the same arguments, in processes of their own; what is saved is a second of
imports for each, of which a run over thousands of small models has two.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import SimpleNamespace
from typing import IO, Any, Final
from unittest.mock import patch

from slotcast_publisher.release import model_check
from slotcast_schemas.probe import runner
from tests.support.forked_process import look_anew, run_to_end

_TICK_S: Final = 0.005
_FORKING: Final = ContextVar("forking", default=False)


@contextlib.contextmanager
def forked_children() -> Iterator[None]:
    """For the length of the block, release and probe fork their children."""
    probes = SimpleNamespace(
        Popen=Forked,
        PIPE=subprocess.PIPE,
        STDOUT=subprocess.STDOUT,
        TimeoutExpired=subprocess.TimeoutExpired,
    )
    with (
        patch.object(model_check, "run_bounded", run_forked),
        patch.object(runner, "subprocess", probes),
    ):
        was = _FORKING.set(True)
        try:
            yield
        finally:
            _FORKING.reset(was)


def is_forking() -> bool:
    """Whether children are forked now."""
    return _FORKING.get()


class Forked:
    """`python … -m MODULE ARGUMENTS` as a fork: what `subprocess.Popen` is to who started it.

    Args:
        command: with `-m` in it; what stands before is for an interpreter that starts anew.
        stdin: what the child reads, or nothing.
        stdout: PIPE, or a file that takes what the child writes.
        stderr: STDOUT, or another file.
        pass_fds: stay open by themselves.
        start_new_session: in a process group of its own.
        cwd: the child's folder.
        env: all of its environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: IO[bytes] | None = None,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.STDOUT,
        pass_fds: Sequence[int] = (),
        start_new_session: bool = False,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        module, *arguments = command[command.index("-m") + 1 :]
        read_fd, write_fd = os.pipe()
        out_fd = write_fd if isinstance(stdout, int) else stdout.fileno()
        error_fd = out_fd if isinstance(stderr, int) else stderr.fileno()
        sys.stdout.flush()
        sys.stderr.flush()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                gc.freeze()  # a session that is garbage would wait for threads of the parent's
                if start_new_session:
                    os.setsid()
                _become(stdin, (out_fd, error_fd), cwd, env)
                code = int(importlib.import_module(module).main(arguments))
                sys.stdout.flush()
                sys.stderr.flush()
            except BaseException as exc:  # noqa: BLE001 (the child's last edge; it must end here)
                os.write(2, f"{type(exc).__name__}: {exc}\n".encode())
            finally:
                os._exit(code)
        os.close(write_fd)
        self.stdout: IO[bytes] = os.fdopen(read_fd, "rb", buffering=0)

    def poll(self) -> int | None:
        """Give how it ended; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        until_s = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until_s is not None and time.monotonic() > until_s:
                raise subprocess.TimeoutExpired("a forked child", timeout or 0.0)
            time.sleep(_TICK_S)
        return code


def _become(
    stdin: IO[bytes] | None,
    output_fds: tuple[int, int],
    cwd: str | None,
    env: Mapping[str, str] | None,
) -> None:
    """Make a fork look to its module as a process that was started anew does."""
    if stdin is not None:
        os.dup2(stdin.fileno(), 0)
        sys.stdin = os.fdopen(0, closefd=False)
    for target, given in zip((1, 2), output_fds, strict=True):
        os.dup2(given, target)
    look_anew(cwd, env)


def run_forked(
    command: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None, **_: Any
) -> subprocess.CompletedProcess[bytes]:
    """Stand in for `run_bounded`.

    Args:
        command: with `-m` in it.
        timeout: seconds after which the child is killed.
        env: all of its environment; else as here.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    return run_to_end(_start, command, timeout=timeout, env=env)


def _start(command: Sequence[str], **more: Any) -> Forked:
    """Fork a child that writes into files alone."""
    child = Forked(command, **more)
    child.stdout.close()
    return child
