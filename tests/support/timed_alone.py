"""Times a run in a process that does nothing else, so that no other thread's waits are counted.

    python -m tests.support.timed_alone sleep
    python -m tests.support.timed_alone contested

Prints what `Timed` has, as JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from slotcast_schemas.probe.waits import RunTime, Stopwatch, processor_use

_ROOT: Final = Path(__file__).parents[2]
SLEEP_S: Final = 0.3
WORK_S: Final = 0.2


class Timed(msgspec.Struct, frozen=True):
    """A run that was timed.

    Attributes:
        taken: what the stopwatch says, in seconds.
        rival_s: processor time that another process had on the same core during the run.
    """

    taken: RunTime
    rival_s: float = 0.0


def timed_alone(what: str) -> Timed:
    """Time one of the runs in a process of its own."""
    command = [sys.executable, "-m", __name__, what]
    done = subprocess.run(command, capture_output=True, check=True, cwd=_ROOT)
    return msgspec.json.decode(done.stdout, type=Timed)


def work(seconds: float) -> None:
    """Use so much processor time in this thread."""
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


def timed(run: Callable[[], object]) -> RunTime:
    """Time a run in this process."""
    watch = Stopwatch()
    try:
        return watch.time(run)
    finally:
        watch.close()


def _sleep() -> Timed:
    """Sleep: nobody waits for a processor meanwhile."""
    return Timed(timed(lambda: threading.Event().wait(SLEEP_S)))


def _contested() -> Timed:
    """Work on a core that another process shares, which never rests."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rival = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    had: list[float] = []

    def run() -> None:
        before_s = processor_use(rival.pid).ran_s
        work(WORK_S)
        had.append(processor_use(rival.pid).ran_s - before_s)

    try:
        while processor_use(rival.pid).ran_s < 0.05:
            os.sched_yield()
        return Timed(timed(run), had[0])
    finally:
        rival.kill()
        rival.wait()


_RUNS: Final[Mapping[str, Callable[[], Timed]]] = {"sleep": _sleep, "contested": _contested}

if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_RUNS[sys.argv[1]]()))
