"""Asks commands and addresses whether a group may pass, each in a thread of its own.

A look hands a question over and takes what was answered by then, so that nobody who is slow to
answer keeps a rollout, or a person's pause, waiting. Time and output of an answer are bounded.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import IO, Final
from urllib.parse import urlsplit

from slotcast_publisher.fleet.rollout.look_results import AskGate
from slotcast_publisher.fleet.rollout.observations import Answer, GateAnswer
from slotcast_schemas.environment import environment_without_secrets

ASK_MAX_S: Final = 60.0
"""The longest time in seconds that a command or an address may take; then it is asked again."""
WHY_MAX_CHARS: Final = 500
"""The most characters of an answer that are kept, for people."""
OUTPUT_MAX_BYTES: Final = 8 * 1024
"""The most bytes of an answer that are read; a command that writes more writes into nothing."""
ASKED_MAX: Final = 256
"""The number of questions whose answers are remembered."""
AT_ONCE_MAX: Final = 8
"""The most questions that are asked at the same time; others have to wait for the next look."""

YES_EXIT: Final = 0
"""The exit code of a command that says yes."""
NOT_YET_EXIT: Final = 75
"""The exit code of a command that cannot say yet: `EX_TEMPFAIL` of sysexits.h."""
_STEP_S: Final = 0.05
"""The longest time in seconds between two looks whether a command has ended."""
_YES_STATUS, _NOT_YET_STATUS, _NO_STATUSES = 200, 202, frozenset({403, 409})

Facts = Mapping[str, str]
"""What is asked about: `model`, `version`, `rollout`, `group`, `question`."""


class Gates:
    """Questions that are open, and their answers.

    Args:
        ask_max_s: how long an answer may take.
        at_once_max: how many questions are asked at the same time; 0 asks none.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        ask_max_s: float = ASK_MAX_S,
        at_once_max: int = AT_ONCE_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once_max = at_once_max
        self._ask_max_s = ask_max_s
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._asked_s: dict[tuple[str, str], float] = {}
        self._open: dict[tuple[str, str], threading.Thread] = {}
        self._answers: dict[tuple[str, str], GateAnswer] = {}

    def ask(self, asked: AskGate, facts: Facts) -> None:
        """Ask, unless it was asked less than `again_s` ago, or an answer is still awaited.

        Args:
            asked: the question.
            facts: what it is about; the command finds each in its environment, as
                `SLOTCAST_MODEL` and so on, the address as a header, such as `Slotcast-Model`.
        """
        key = (asked.question, asked.kind)
        with self._lock:
            last_s = self._asked_s.get(key)
            is_soon = last_s is not None and self._clock() - last_s < asked.gate.again_s
            if is_soon or key in self._open or len(self._open) >= self._at_once_max:
                return
            self._asked_s[key] = self._clock()
            thread = threading.Thread(
                target=self._work, args=(asked, dict(facts)), name="gate", daemon=True
            )
            self._open[key] = thread
        thread.start()

    def answers(self) -> tuple[GateAnswer, ...]:
        """Give the last answer to each question."""
        with self._lock:
            return tuple(self._answers.values())

    def close(self) -> None:
        """End what is still asked, and wait for the threads."""
        self._stop.set()
        with self._lock:
            threads = list(self._open.values())
        for thread in threads:
            thread.join(self._ask_max_s)

    def _work(self, asked: AskGate, facts: dict[str, str]) -> None:
        key = (asked.question, asked.kind)
        answer: tuple[Answer, str] = ("not_yet", "could not be asked")
        try:
            answer = self._ask_now(asked, facts)
        finally:
            with self._lock:
                del self._open[key]
                if not self._stop.is_set():
                    self._answers.pop(key, None)  # the last one is the newest
                    self._answers[key] = GateAnswer(
                        asked.question, asked.kind, answer[0], answer[1][:WHY_MAX_CHARS]
                    )
                while len(self._answers) > ASKED_MAX:
                    oldest = next(iter(self._answers))
                    del self._answers[oldest]
                    self._asked_s.pop(oldest, None)

    def _ask_now(self, asked: AskGate, facts: Facts) -> tuple[Answer, str]:
        if asked.kind == "url" and asked.gate.url is not None:
            return ask_url(asked.gate.url, facts, self._ask_max_s)
        return ask_command(asked.gate.command, facts, self._ask_max_s, self._stop)


# --- a command --------------------------------------------------------------------------------


def ask_command(
    command: tuple[str, ...], facts: Facts, timeout_s: float, stop: threading.Event
) -> tuple[Answer, str]:
    """Run a command: exit code 0 is yes, 75 is not yet, any other is no.

    Args:
        command: with its arguments; no shell reads it.
        facts: go into its environment.
        timeout_s: after which it is ended, with all that it started; that is not yet.
        stop: ends it, too.

    Returns:
        The answer, and the last of what it wrote.
    """
    environment = environment_without_secrets()
    environment |= {f"SLOTCAST_{key.upper()}": value for key, value in facts.items()}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # so that what it started ends with it
        )
    except (OSError, ValueError) as exc:
        return "no", f"{command[0]} cannot be started: {exc}"
    output, in_time = b"", False
    try:
        output, in_time = _read_until_end(process, time.monotonic() + timeout_s, stop)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
    text = " ".join(output.decode(errors="replace").split())[-WHY_MAX_CHARS:]
    if not in_time:
        return "not_yet", f"no answer in {timeout_s:g} s; {text}".rstrip("; ")
    if code in {YES_EXIT, NOT_YET_EXIT}:
        return ("yes" if code == YES_EXIT else "not_yet"), text
    return "no", f"exit code {code}: {text}".rstrip(": ")


def _read_until_end(
    process: subprocess.Popen[bytes], deadline_s: float, stop: threading.Event
) -> tuple[bytes, bool]:
    """Read what a command writes; keeps the last bytes, and says whether it ended in time.

    What it leaves running in the background may hold its output open; nobody waits for that.
    """
    kept, stdout = b"", process.stdout
    with selectors.DefaultSelector() as selector:
        if stdout is not None:
            selector.register(stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline_s and not stop.is_set():
            if stdout is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STEP_S)
                    return kept, True
            elif not selector.select(_STEP_S):
                if process.poll() is not None:
                    return kept, True
            elif data := os.read(stdout.fileno(), OUTPUT_MAX_BYTES):
                kept = (kept + data)[-OUTPUT_MAX_BYTES:]
            else:
                selector.unregister(stdout)  # closed; the command may run on
                stdout = None
    return kept, process.poll() is not None


# --- an address ---------------------------------------------------------------------------------


def ask_url(url: str, facts: Facts, timeout_s: float) -> tuple[Answer, str]:
    """Ask an address by GET: 200 is yes, 202 not yet, 403 and 409 no; anything else not yet.

    Args:
        url: http or https.
        facts: go into headers.
        timeout_s: for the whole answer.

    Returns:
        The answer, and the beginning of what it said.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        return "no", "expected an address that begins with http:// or https://"
    headers = {f"Slotcast-{k.capitalize()}": v for k, v in facts.items()}
    deadline_s = time.monotonic() + timeout_s
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - scheme looked at
        with urllib.request.urlopen(request, timeout=timeout_s / 2) as answer:  # noqa: S310
            return _by_status(answer.status, _read_some(answer, deadline_s))
    except urllib.error.HTTPError as exc:
        with exc:
            return _by_status(exc.code, _read_some(exc, deadline_s))
    except (OSError, ValueError, HTTPException) as exc:  # refused, no host, no answer, no HTTP
        return "not_yet", f"cannot be asked: {exc}"


def _read_some(answer: IO[bytes], deadline_s: float) -> str:
    """Read the beginning of an answer, however slowly it comes."""
    data = b""
    with contextlib.suppress(OSError, HTTPException):
        while len(data) < OUTPUT_MAX_BYTES and time.monotonic() < deadline_s:
            piece = answer.read1(1024) if hasattr(answer, "read1") else answer.read(1024)
            if not piece:
                break
            data += piece
    return " ".join(data.decode(errors="replace").split())[:WHY_MAX_CHARS]


def _by_status(status: int, text: str) -> tuple[Answer, str]:
    if status == _YES_STATUS:
        return "yes", text
    if status in _NO_STATUSES:
        return "no", f"HTTP {status}: {text}".rstrip(": ")
    return "not_yet", text if status == _NOT_YET_STATUS else f"HTTP {status}: {text}".rstrip(": ")
