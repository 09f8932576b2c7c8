"""An application as a process of its own, to be killed: it asks its `HotModel` without end.

What it counts lies in memory that it shares with the test, so a signal 9 loses nothing.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.support import models
from tests.support.application import PAUSE_S, Application
from tests.support.waiting import wait_until

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_ANSWERS, _FAILED, _WRONG = range(3)


class Service:
    """The application of a device, started and killed at will.

    Args:
        current: the link that it follows.
        good: `key_of` the answers that it may get.
    """

    def __init__(self, current: Path, good: Sequence[bytes]) -> None:
        self._current = str(current)
        self._good = list(good)
        self._figures = _CONTEXT.RawArray("q", 3)
        self._process: multiprocessing.process.BaseProcess | None = None

    @property
    def answers(self) -> int:
        """Right answers that it got, over all its starts."""
        return int(self._figures[_ANSWERS])

    @property
    def harm(self) -> tuple[int, int]:
        """Requests that failed, and answers that no good model gives."""
        return int(self._figures[_FAILED]), int(self._figures[_WRONG])

    def start(self) -> None:
        """Start it; it answers soon."""
        self._process = _CONTEXT.Process(
            target=_serve, args=(self._current, self._good, self._figures), daemon=True
        )
        self._process.start()

    def kill(self) -> None:
        """End it with signal 9, and reap it."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def wait_for_answers(self, count: int) -> None:
        """Wait until it got so many more."""
        due = self.answers + count
        wait_until(lambda: self.answers >= due, f"{due} answers; harm {self.harm}")


def _serve(current: str, good: list[bytes], figures: list[int]) -> None:
    """Run in the child, until it is killed."""
    known = set(good)
    application = Application(Path(current), models.inputs(1))
    while True:
        answers, failed = application.answers.total(), application.failed
        application.ask_once()
        figures[_FAILED] += application.failed - failed
        figures[_WRONG] += len(set(application.answers) - known)
        figures[_ANSWERS] += application.answers.total() - answers
        application.latencies_s.clear()
        time.sleep(PAUSE_S)
