"""The page as a child of `serve`: started, watched, started again, and ended with it.

The socket is the parent's, so that a port that is taken is known here, and who connects while the
child starts anew only waits. The child's lines come through its standard output into the log; its
standard input is what tells it that the parent is gone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from slotcast_publisher.cli.serving import DATABASE_VARIABLE, FLEET_INSTALL
from slotcast_publisher.fleet.web.listening import open_socket, parse_listen
from slotcast_publisher.serve.log import Say
from slotcast_schemas.environment import environment_without_secrets
from slotcast_schemas.errors import SlotcastError

_MODULE: Final = "slotcast_publisher.fleet.web.child_main"
_NEEDED: Final = ("litestar", "uvicorn", "jinja2", "argon2")
_LOOK_EVERY_S: Final = 2.0
_LINE_MAX_BYTES: Final = 64 * 1024
_AGAIN_S: Final = (1.0, 60.0)
"""The shortest and the longest wait before a child that ended is started again."""
_STOP_S: Final = 15.0
"""The seconds that a child has to end."""


class PageChild:
    """Keeps the page running beside `serve` (`fleet_work.FleetPart`).

    Args:
        repo: the repository's folder.
        database: URL of its database; None for the folder's own.
        listen: HOST:PORT.
        say: the log.
        clock: seconds that only grow.

    Attributes:
        name: of its thread, and in the log.
        every_s: the seconds between two looks.

    Raises:
        UsageError: `listen` is no address.
    """

    name = "page"
    every_s = _LOOK_EVERY_S

    def __init__(
        self,
        repo: Path,
        database: str | None,
        listen: str,
        say: Say,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repo = repo
        self._database = database
        self._address = parse_listen(listen)
        self._say = say
        self._clock = clock
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._wait_s = _AGAIN_S[0]
        self._started_s = 0.0
        self._said = ""

    def look(self, now_s: float) -> None:
        """Start the child where none runs.

        Args:
            now_s: seconds since 1970.
        """
        del now_s
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None:
            self._ended(self._process)
        if self._clock() < self._started_s + self._wait_s and self._started_s:
            return
        if self._is_installed() and self._is_listening():
            self._start()

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            _end(self._process)
        if self._socket is not None:
            self._socket.close()

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        lived_s = self._clock() - self._started_s
        shortest_s, longest_s = _AGAIN_S
        self._wait_s = shortest_s if lived_s > longest_s else min(self._wait_s * 2, longest_s)
        _end(process)
        self._say("page_ended", level="warning", code=process.returncode)

    def _is_installed(self) -> bool:
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            self._say_once(f"{missing[0]} is not installed: {FLEET_INSTALL}")
        return not missing

    def _is_listening(self) -> bool:
        if self._socket is None:
            try:
                self._socket = open_socket(*self._address)
            except SlotcastError as exc:
                self._say_once(str(exc))
                return False
            self._said = ""
        return True

    def _say_once(self, detail: str) -> None:
        """Say why there is no page; devices are served without one."""
        if detail != self._said:
            self._say("page_unavailable", level="warning", detail=detail)
        self._said = detail

    def _start(self) -> None:
        assert self._socket is not None  # noqa: S101 - just opened
        number = self._socket.fileno()
        self._started_s = self._clock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(self._repo), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(number,),
            env=self._environment(),
            start_new_session=True,  # Ctrl-C is for the parent, which ends it
        )
        reader = threading.Thread(
            target=_pass_on, args=(self._process.stdout, self._say), name="page log", daemon=True
        )
        reader.start()

    def _environment(self) -> dict[str, str]:
        """What the child may know: a database's password, and no passphrase of a key."""
        kept = environment_without_secrets()
        kept.pop(DATABASE_VARIABLE, None)
        return kept | ({DATABASE_VARIABLE: self._database} if self._database else {})


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child that may have ended already."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()  # it sees that, and stops
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _pass_on(lines: IO[bytes] | None, say: Say) -> None:
    """Put a child's lines into the log, until there are no more."""
    if lines is None:
        return
    with lines:
        while line := lines.readline(_LINE_MAX_BYTES):
            event, fields = _read_line(line)
            say(event, **fields)


def _read_line(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        fields = dict(json.loads(line))
        return str(fields.pop("event")), fields
    except (ValueError, KeyError, TypeError):
        text = line.decode(errors="replace").strip()
        return "page_said", {"level": "warning", "detail": text}
