"""The children of release and probe, forked from a process that has imported the runtimes.

    with warm_children():
        assert device.run_once().state is State.COMMITTED

They are processes as any other, with all their limits and what closes them in; what is saved is a
third of a second of imports for each, of which a test of devices has several. Where the child
itself is tested (`tests/unit/probe/test_zoo.py`, much of `tests/security`), and where a device is a
process (`tests/crash`, `tests/integration/test_install.py`), children start as they do everywhere.

Whether a runtime can be imported, which `slotcast-device check` has a child find out, is found out
once.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Final
from unittest.mock import patch

import msgspec

from slotcast_device import self_check
from slotcast_device.runtime import importing
from slotcast_publisher.release import model_check
from slotcast_schemas.environment import ONE_THREAD, child_environment
from slotcast_schemas.probe import runner
from tests.support.engine import REPOSITORY
from tests.support.forked_process import run_to_end
from tests.support.waiting import WAIT_S
from tests.support.warm_server import Request

_KILLED: Final = -signal.SIGKILL
_import_problem: Final = functools.cache(importing.import_problem)


@contextlib.contextmanager
def warm_children() -> Iterator[None]:
    """For the length of the block, release and probe in this process have such children."""
    _server()  # before a test changes the environment
    same = {name: getattr(subprocess, name) for name in ("PIPE", "STDOUT", "TimeoutExpired")}
    with (
        patch.object(model_check, "run_bounded", run),
        patch.object(runner, "subprocess", SimpleNamespace(Popen=start, **same)),
        patch.object(self_check, "import_problem", _import_problem),
    ):
        yield


def start(
    command: Sequence[str], *, env: Mapping[str, str], **more: Any
) -> WarmChild | subprocess.Popen[bytes]:
    """Start a child, in place of `subprocess.Popen`.

    Args:
        command: with `-m` in it.
        env: all of its environment. Where it is another than the server was started with, as in
            a test of libraries that cannot be imported, the child starts as it does everywhere.
        more: as for both kinds of child.
    """
    if dict(env) != _server().environment:
        return subprocess.Popen(command, env=env, **more)
    return WarmChild(command, env=env, **more)


class WarmChild:
    """`python … -m MODULE ARGUMENTS`: what `subprocess.Popen` is to who started it.

    Args:
        command: with `-m` in it; what stands before is for an interpreter that starts anew.
        stdin: what the child reads; nothing if None.
        stdout: PIPE, or a file that takes what the child writes.
        stderr: STDOUT, or another file.
        pass_fds: numbers of files that the child has, too.
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
        self._answers, theirs = socket.socketpair()
        self.stdout: IO[bytes] | None = None
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            nothing = stack.enter_context(Path(os.devnull).open("rb"))
            if isinstance(stdout, int):
                reading, writing = os.pipe()
                self.stdout = os.fdopen(reading, "rb", buffering=0)
                out: IO[bytes] = stack.enter_context(os.fdopen(writing, "wb"))
            else:
                out = stdout
            errors = out if isinstance(stderr, int) else stderr
            standard = [file.fileno() for file in (stdin or nothing, out, errors)]
            request = Request(
                module=module,
                arguments=tuple(arguments),
                parent_pid=os.getpid(),
                fds=(0, 1, 2, *pass_fds),
                cwd=cwd,
                env=env,
                has_session=start_new_session,
            )
            given = [theirs.fileno(), *standard, *pass_fds]
            socket.send_fds(_server().requests, [msgspec.json.encode(request)], given)
        self._said = self._answers.makefile("rb")
        self.returncode: int | None = None
        self.pid = int(self._said.readline())

    def poll(self) -> int | None:
        """Give how it ended; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; give the exit code, or the signal's number below zero.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._answers, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired("a warm child", timeout or 0.0)
            line = self._said.readline()
            # The server was killed, and the child with it.
            self.returncode = int(line) if line else _KILLED
            self._said.close()
            self._answers.close()
        return self.returncode


def run(
    command: Sequence[str], *, timeout: float, env: Mapping[str, str], **_: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a child to its end, in place of `run_bounded`.

    Args:
        command: with `-m` in it.
        timeout: seconds after which the child is killed.
        env: all of its environment.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    return run_to_end(start, command, timeout=timeout, env=env)


class _Server:
    """The server of this process, which ends with it.

    Attributes:
        environment: that its children have.
    """

    def __init__(self) -> None:
        self.environment = {**child_environment(), ONE_THREAD: "1"}
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-B", "-m", "tests.support.warm_server", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd=REPOSITORY,
                env=self.environment,
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        self.requests.close()
        self._process.wait(WAIT_S)


@functools.cache
def _server() -> _Server:
    return _Server()
