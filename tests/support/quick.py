"""Device processes that start at once: forked from a server that has imported the device.

They are processes as any other, with a pid of their own to send signal 9 to; what is saved is
half a second of imports, of which a test that starts a device a hundred times has many.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["slotcast_device.cli"])


class QuickProcess:
    """`slotcast-device ARGUMENTS` as a child process; what it writes to stderr goes to `log`.

    Args:
        arguments: of the command.
        log: takes what it writes to stderr.
        constants: values of module constants that are others in that process, by full name.
    """

    def __init__(
        self, arguments: Sequence[str], log: Path, constants: Mapping[str, float] | None = None
    ) -> None:
        given = (list(arguments), str(log), dict(constants or {}))
        self._process = _CONTEXT.Process(target=_main, args=given)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process.pid is None:
            raise AssertionError("it was never started")
        return self._process.pid

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end, so long at most; give the exit code, None where it runs on."""
        self._process.join(timeout_s)
        return self._process.exitcode

    def kill(self) -> None:
        """End it as a power cut would, with signal 9, and reap it."""
        self._process.kill()
        self._process.join()


def _main(arguments: list[str], log: str, constants: dict[str, float]) -> None:
    """Run in the child."""
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    from slotcast_device.cli import main

    sys.exit(main(arguments))
