"""How long a run took, and how much of it was waiting for a processor, by what Linux says.

`/proc/self/task/*/schedstat` has for each thread, in nanoseconds, how long it was ready to run and
did not (Documentation/scheduler/sched-stats.rst): preempted, throttled by a quota, not yet woken.
Where the kernel does not say, what is not processor time counts as waiting, so that a time is
rather not believed than believed wrongly.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec


class RunTime(msgspec.Struct, frozen=True):
    """What one run took, in seconds.

    Attributes:
        wall_s: by the clock.
        processor_s: of all threads that worked at it.
        waited_s: of all threads together, ready to run and not running.
    """

    wall_s: float
    processor_s: float
    waited_s: float

    @property
    def is_clean(self) -> bool:
        """Whether the clock can be believed."""
        return self.waited_s <= CLEAN_SHARE * self.wall_s


CLEAN_SHARE: Final = 0.25
"""The share of a run's time that may be waiting if the clock is to be believed: limits are factors,
for which a quarter decides nothing, and waking a thread is a wait too."""


def patience_s(timeout_s: float) -> float:
    """How long a probe may take on a device that is short of processor, all waits included."""
    return max(5 * timeout_s, timeout_s + 120.0)


class Stopwatch:
    """Times runs in this thread and in those that work for it; made anew when these change.

    Args:
        process_ids: processes beside this one whose threads work for it too.

    Not by the process's clock of processor time: once a process has a limit on that, Linux moves
    it on only at each tick (kernel/time/posix-cpu-timers.c), and a run is shorter than a tick. Of
    this thread its own clock is exact, of others the scheduler's count, since they sleep by now.
    """

    def __init__(self, process_ids: Iterable[int] = ()) -> None:
        self._files: list[int] = []
        self._own: int | None = None
        everyone: list[int | str] = ["self", *process_ids]
        for task in [task for pid in everyone for task in _tasks(pid)]:
            with contextlib.suppress(OSError):
                file = os.open(task / "schedstat", os.O_RDONLY | os.O_CLOEXEC)
                self._files.append(file)
                if task.name == str(threading.get_native_id()):
                    self._own = file

    def time(self, run: Callable[[], object]) -> RunTime:
        """Run it and say what it took."""
        others_s, waited_s = self._read()
        processor_s, wall_s = time.thread_time(), time.perf_counter()
        run()
        wall_s = time.perf_counter() - wall_s
        processor_s = time.thread_time() - processor_s
        if not self._files:
            return RunTime(wall_s, processor_s, max(0.0, wall_s - processor_s))
        others_now_s, waited_now_s = self._read()
        return RunTime(wall_s, processor_s + others_now_s - others_s, waited_now_s - waited_s)

    def close(self) -> None:
        """Let go of the kernel's files."""
        for file in self._files:
            os.close(file)
        self._files = []

    def _read(self) -> tuple[float, float]:
        """What the other threads ran, and what all of them waited, until now."""
        ran_ns = waited_ns = 0
        for file in self._files:
            with contextlib.suppress(ProcessLookupError):  # a thread of another process has ended
                fields = os.pread(file, 128, 0).split()
                waited_ns += int(fields[1])
                if file != self._own:
                    ran_ns += int(fields[0])
        return ran_ns / 1e9, waited_ns / 1e9


class ProcessorUse(msgspec.Struct, frozen=True):
    """What a process and those below it had of the processors since they began, in seconds.

    Attributes:
        ran_s: of all threads together.
        waited_s: ready to run and not running; of each process the thread that waited longest,
            of the processes the sum, since one works while the other waits for its answer.
    """

    ran_s: float = 0.0
    waited_s: float = 0.0


class EndedUse:
    """What processes below one had of the processors that have ended since: the kernel forgets it.

    Of each, it is known from the last look before its end, so who wants it must look often.

    Args:
        pid: of the process that started them.
    """

    def __init__(self, pid: int | str = "self") -> None:
        self._pid = pid
        self._last: dict[int, ProcessorUse] = {}
        self._sum = ProcessorUse()

    def look(self) -> ProcessorUse:
        """Look, and give what those had that are gone by now."""
        present = {pid: _use_of(pid) for pid in _below(self._pid)}
        for pid, last in self._last.items():
            if pid not in present:
                self._sum = _sum_of([self._sum, last])
        self._last = present
        return self._sum


def processor_use(pid: int | str = "self") -> ProcessorUse:
    """Read it; zero where the kernel does not say."""
    return _sum_of([_use_of(each) for each in (pid, *_below(pid))])


def _sum_of(uses: Iterable[ProcessorUse]) -> ProcessorUse:
    found = list(uses)
    return ProcessorUse(sum(use.ran_s for use in found), sum(use.waited_s for use in found))


def _use_of(pid: int | str) -> ProcessorUse:
    ran_ns = longest_ns = 0
    for task in _tasks(pid):
        with contextlib.suppress(OSError):
            fields = (task / "schedstat").read_bytes().split()
            ran_ns += int(fields[0])
            longest_ns = max(longest_ns, int(fields[1]))
    return ProcessorUse(ran_ns / 1e9, longest_ns / 1e9)


def descendants(pid: int) -> tuple[int, ...]:
    """Give a process's id and those of all that it started, as of now."""
    return (pid, *_below(pid))


def _below(pid: int | str) -> list[int]:
    """Processes that a process started, and they in turn; none where the kernel does not say."""
    found: list[int] = []
    for task in _tasks(pid):
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *_below(child)]
    return found


def _tasks(pid: int | str) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []
