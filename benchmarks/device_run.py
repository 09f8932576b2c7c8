"""What the run of a device's process showed: states, lines, memory, processor time."""

from __future__ import annotations

import ctypes
import resource
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.report import CannotRun
from slotcast_schemas.states import State


@dataclass(slots=True)
class Run:
    """What one device run showed: when it first said each state and each line, and what it took.

    Attributes:
        states: when each was reported first.
        peak_rss_bytes: the most memory that its process had resident.
        exit_code: of its process.
        processor_s: what it took, and the processes that it started.
        lines: what it logged, and when.
        used: for each line, the processor time that its own process had taken by then.
    """

    states: dict[State, float] = field(default_factory=dict)
    peak_rss_bytes: int = 0
    exit_code: int = -1
    processor_s: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)
    used: list[float] = field(default_factory=list)

    @property
    def log(self) -> str:
        """All that it logged."""
        return "".join(line for _, line in self.lines)

    def logged(self, words: str) -> float:
        """Give when the first line with these words in it was written.

        Raises:
            CannotRun: none was; the message has the device's last words.
        """
        return self._first(words)[0]

    def logged_line(self, words: str) -> str:
        """Give the first line with these words in it.

        Raises:
            CannotRun: none was written.
        """
        return self._first(words)[1]

    def logged_processor_s(self, words: str) -> float:
        """Give the processor time that was taken when the first line with these words came.

        Raises:
            CannotRun: none was written.
        """
        return self.used[self.lines.index(self._first(words))]

    def _first(self, words: str) -> tuple[float, str]:
        for found in self.lines:
            if words in found[1]:
                return found
        raise CannotRun(f"the device never logged {words!r}:\n{self.log[-2000:]}")

    def at(self, *states: State) -> float:
        """Give when the first of these states was reported.

        Raises:
            CannotRun: none was; the message has the device's last words.
        """
        times = [self.states[state] for state in states if state in self.states]
        if not times:
            raise CannotRun(
                f"the device never reported {' or '.join(states)}; exit code {self.exit_code}:\n"
                + self.log[-2000:]
            )
        return min(times)


def children_processor_s() -> float:
    """Give the processor time of all processes that were ended and waited for, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def note_lines(process: subprocess.Popen[str], run: Run) -> None:
    """Note each line that a device logs, until its end, and what it had used by then."""
    for line in process.stderr or ():
        run.used.append(own_processor_s(process.pid))
        run.lines.append((time.monotonic(), line))


def own_processor_s(pid: int) -> float:
    """Give the processor time of a process without its children, to the nanosecond; 0 if gone."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        return 0.0
    try:
        return time.clock_gettime(clock.value)
    except OSError:  # it has ended meanwhile
        return 0.0


def peak_rss_bytes(pid: int) -> int:
    """Give the most memory that a process ever had resident, without its children; 0 if gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith("VmHWM:")), None)
    return 0 if line is None else int(line.split()[1]) * 1024
