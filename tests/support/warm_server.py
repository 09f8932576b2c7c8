"""Forks children that have imported the runtimes already; the server behind `warm_children`.

    python -m tests.support.warm_server SOCKET_FD

It has one thread, so that a fork of it is as good as a process that was started anew. Each request
comes on the socket with the files that the child gets; what is told back, on a socket of its own,
is the child's process id, and how it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import selectors
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from slotcast_schemas.probe import confine
from tests.support.forked_process import look_anew

REQUEST_MAX_BYTES: Final = 128 * 1024
"""A command's arguments and environment: JSON of a request is some kilobytes."""
FDS_MAX: Final = 16
_PRELOADED: Final = (
    "numpy.random",  # imported by numpy when it is first used, as inputs are made
    "onnx",
    "onnxruntime",
    "slotcast_publisher.release.model_check_child",
    "slotcast_publisher.release.model_examination",
    "slotcast_schemas.probe.child",
)
_FAILED: Final = 70
_HIGH_FD: Final = 900
"""Above the numbers of files that a test's process has, below the 1,024 that it usually may."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m MODULE ARGUMENTS` in a process of its own.

    Attributes:
        parent_pid: of the process that asks, which the child takes for its parent.
        fds: the numbers that the files, which come with the request, have in the child.
        cwd: the child's folder; None for that of the server.
        env: all of its environment; None for that of the server.
        has_session: whether it leads a session and a process group of its own.
    """

    module: str
    arguments: tuple[str, ...]
    parent_pid: int
    fds: tuple[int, ...]
    cwd: str | None = None
    env: Mapping[str, str] | None = None
    has_session: bool = False


class _Child:
    """A child that was forked, whose end is told to who asked for it.

    Args:
        pid: its number.
        answers: takes the number now, and how it ended then.
    """

    def __init__(self, pid: int, answers: int) -> None:
        self.end = os.pidfd_open(pid)
        self._pid = pid
        self._answers = answers
        self._say(pid)

    def collect(self) -> None:
        """Tell how it ended, now that it has."""
        _, status = os.waitpid(self._pid, 0)
        self._say(os.waitstatus_to_exitcode(status))
        os.close(self._answers)
        os.close(self.end)

    def _say(self, number: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(self._answers, b"%d\n" % number)


def serve(requests: socket.socket) -> None:
    """Fork a child for each request, until whoever asks has ended."""
    with selectors.DefaultSelector() as awaited:
        awaited.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in awaited.select():
                if key.data is not None:
                    awaited.unregister(key.fileobj)
                    key.data.collect()
                    continue
                data, fds, _, _ = socket.recv_fds(requests, REQUEST_MAX_BYTES, FDS_MAX)
                if not data:
                    return
                child = _fork(data, fds)
                awaited.register(child.end, selectors.EVENT_READ, child)


def _fork(data: bytes, fds: Sequence[int]) -> _Child:
    """Fork the child of a request; the first of the files that came with it takes what is told."""
    answers, *given = fds
    own_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        confine.die_with(own_pid)
        os.close(answers)
        _run(msgspec.json.decode(data, type=Request), given)
    for fd in given:
        os.close(fd)
    return _Child(pid, answers)


def _run(request: Request, given: Sequence[int]) -> None:
    """Be the child: look as if started anew, run the module, and end."""
    code = _FAILED
    try:
        if request.has_session:
            os.setsid()
        become(dict(zip(request.fds, given, strict=True)), request.cwd, request.env)
        os.getppid = lambda: request.parent_pid  # the server ends with it, and its children then
        code = int(importlib.import_module(request.module).main(list(request.arguments)))
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException as exc:  # noqa: BLE001 (the child's last edge; it must end here)
        os.write(2, f"{type(exc).__name__}: {exc}\n".encode())
    finally:
        os._exit(code)


def become(files: Mapping[int, int], cwd: str | None, env: Mapping[str, str] | None) -> None:
    """Make a fork look to its module as a process that was started anew does.

    Args:
        files: by the number that each has from now on.
        cwd: its folder, if another one.
        env: all of its environment, if another one.
    """
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH_FD) for number, fd in files.items()}
    os.closerange(3, _HIGH_FD)
    for number, fd in high.items():
        os.dup2(fd, number)
    os.closerange(_HIGH_FD, _HIGH_FD + len(files))
    sys.stdin = os.fdopen(0, closefd=False)
    look_anew(cwd, env)


def main(arguments: Sequence[str]) -> None:
    """Import what children need, and serve."""
    for name in _PRELOADED:
        importlib.import_module(name)
    sys.path.pop(0)  # this folder, which children that are started with -P do not see
    gc.freeze()  # a collector that looks through all of this in a child copies it, page by page
    serve(socket.socket(fileno=int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
