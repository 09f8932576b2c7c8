"""Asks this kernel what a model could still do: `slotcast-device check` runs it and tells.

`python -m slotcast_schemas.confinement.trial REQUEST` closes itself in as the probe's child does,
then tries what must be refused, and prints what was not, as JSON. What a layer says of itself is
not believed.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from slotcast_schemas.confinement import sandbox
from slotcast_schemas.confinement.privileges import hide_memory
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.environment import ONE_THREAD, child_environment

TIMEOUT_S: Final = 60.0
"""The seconds that it may take on a slow card."""


class TrialRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to try.

    Attributes:
        readable: a folder, for the slot of a model.
        secret: a file that must not be read.
        changed: a folder in which nothing may be made.
    """

    readable: str
    secret: str
    changed: str


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        done: what was done though it must be refused.
        lacks: layers that do not hold, with why.
    """

    done: tuple[str, ...]
    lacks: dict[str, str]


make_decoders(TrialRequest, TrialReport)


def hold_trial(request: TrialRequest) -> TrialReport:
    """Run the trial in a child process; this one hides its memory from then on, as an agent does.

    Raises:
        OSError: no process could be started, or it did not end well.
    """
    command = [sys.executable, "-P", "-B", "-m", "slotcast_schemas.confinement.trial"]
    hide_memory()
    try:
        done = subprocess.run(
            [*command, msgspec.json.encode(request).decode()],
            env={**child_environment(), ONE_THREAD: "1"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return msgspec.json.decode(done.stdout, type=TrialReport)
    except subprocess.TimeoutExpired as exc:
        raise OSError(f"not done after {TIMEOUT_S:g} s") from exc
    except msgspec.DecodeError as exc:
        said = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise OSError(f"exit code {done.returncode}: {said}") from exc


def _attempts(request: TrialRequest) -> Mapping[str, Callable[[], object]]:
    parent = f"/proc/{os.getppid()}"
    return {
        "reach a network": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "start a process": _start_process,
        f"read {request.secret}": lambda: _open(request.secret),
        "read the agent's environment": lambda: _open(f"{parent}/environ"),
        "read the agent's memory": lambda: _open(f"{parent}/mem"),
        f"make something in {request.changed}": lambda: _make_and_remove(request.changed),
        "signal the agent": lambda: os.kill(os.getppid(), 0),
    }


def _open(path: str) -> None:
    with Path(path).open("rb", buffering=0) as file:
        file.read(1)


def _start_process() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _make_and_remove(folder: str) -> None:
    made = Path(folder) / f"check.{os.getpid()}.tmp"
    made.mkdir()
    made.rmdir()


def _is_done(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError as exc:
        # EIO says that the memory could be opened; only its first page is never there to read.
        return exc.errno == errno.EIO
    return True


def main(arguments: list[str]) -> int:
    """Close this process in and try; prints a `TrialReport`."""
    request = msgspec.json.decode(arguments[0], type=TrialRequest)
    kind = sandbox.Kind.RUNTIME
    lacks = [
        *sandbox.close_network(kind),
        *sandbox.close_in(kind, [Path(request.readable)], closed=[request.secret]),
    ]
    done = [name for name, attempt in _attempts(request).items() if _is_done(attempt)]
    report = {"done": done, "lacks": {lack.layer: lack.why for lack in lacks}}
    sys.stdout.write(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
