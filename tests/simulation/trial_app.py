"""An application of the simulated trials: processes that follow `current` and write reports.

They write what `HotModel` writes, at the same times, into a real folder; what a release does to
them is its `Nature`. A process's clock may be any: a container's, or one that began elsewhere.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slotcast_device.application.app_report import AppReport, Failure, Phase, write_report
from slotcast_device.application.histogram import BOUNDS_S, BUCKETS, bucket_of
from slotcast_device.hotmodel.recorder import LOOK_EVERY, LOOK_FIRST

REPORT_S: Final = 2.0
IDLE_S: Final = 10.0
BEAT_S: Final = 5.0
LOAD_TIMEOUT_S: Final = 300.0
MEMORY_BYTES: Final = 100_000_000


class Nature(enum.Enum):
    """What a release does to the application that serves it."""

    GOOD = "is good"
    RAISES = "raises for one request in three"
    NONFINITE = "answers NaN to one request in three"
    SLOW = "takes ten times as long"
    HUNGRY = "takes more memory than it may"
    UNLOADABLE = "does not load"
    NEVER_LOADS = "never ends loading"
    NEVER_ANSWERS = "never answers its first request"
    DIES_LOADING = "kills the process that loads it"
    DIES_SERVING = "kills the process that serves it, soon"
    DIES_FOR_GOOD = "kills every process, and nothing starts them again"


@dataclass(slots=True)
class Habits:
    """What kind of application it is.

    Attributes:
        processes: how many serve.
        rate: requests a second of each.
        counts: whether it counts requests.
        tidies: whether its processes take their reports along when they are told to stop.
        clocks: what each process's clock is ahead of the machine's.
        mistakes: share of requests that no release takes.
        base_error, base_nonfinite: shares that any release has, for what callers send.
    """

    processes: int
    rate: float
    counts: bool
    tidies: bool
    clocks: tuple[float, ...]
    mistakes: float
    base_error: float
    base_nonfinite: float
    load_s: float


@dataclass(slots=True)
class Tally:
    """What a process counted with one release."""

    requests: int = 0
    errors: int = 0
    invalid: int = 0
    checked: int = 0
    nonfinite: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    sum_s: float = 0.0
    max_s: float = 0.0


class Process:
    """One process. `step` has it live on for a while.

    Args:
        name: differs for each start.
        clock_s: what its clock is ahead.
        nature: of the release in slot b; that in slot a is good.
    """

    def __init__(
        self, name: str, folder: Path, habits: Habits, rng: random.Random, clock_s: float,
        nature: Nature, now_s: float,
    ) -> None:  # fmt: skip
        self.name = name
        self.is_alive = True
        self.still_until_s = 0.0
        self._folder = folder
        self._habits = habits
        self._rng = rng
        self._clock_s = clock_s
        self._nature = nature
        self._tallies: dict[str, Tally] = {}
        self._serves: str | None = None
        self._loads: str | None = None
        self._refused: str | None = None
        self._loaded_at_s = 0.0
        self._gives_up_at_s = 0.0
        self._dies_at_s = float("inf")
        self._write_at_s = now_s
        self._last_s = now_s
        self._owed = 0.0
        self._uptime_s = 0.0

    def step(self, now_s: float, current: str, busy: float, uptime_s: float) -> None:
        """Live on until now.

        Args:
            now_s: by the clock that stands still while the machine sleeps.
            current: the slot that `current` opens.
            busy: how many times as long as on an idle machine a request takes.
            uptime_s: of the machine, sleep included.
        """
        self._uptime_s = uptime_s
        if now_s < self.still_until_s:
            return
        if current not in {self._serves, self._loads, self._refused}:
            self._begin_load(current, now_s)
        if self._loads is not None:
            self._go_on_loading(now_s)
        if self._serves is not None and self.is_alive:
            self._answer(now_s, busy)
        if now_s >= self._dies_at_s:
            self.is_alive = False
        if self.is_alive and now_s >= self._write_at_s:
            self._report(now_s)
        self._last_s = now_s

    def _is_bad(self, nature: Nature, slot: str) -> bool:
        return self._nature is nature and slot == "b"

    def _begin_load(self, slot: str, now_s: float) -> None:
        self._loads, self._write_at_s = slot, now_s
        self._loaded_at_s = now_s + self._habits.load_s * self._rng.uniform(0.5, 1.5)
        self._gives_up_at_s = now_s + LOAD_TIMEOUT_S
        if self._is_bad(Nature.NEVER_LOADS, slot):
            self._loaded_at_s = float("inf")
        if self._is_bad(Nature.DIES_LOADING, slot):
            self._write(slot, "loading")
            self._dies_at_s = self._loaded_at_s

    def _go_on_loading(self, now_s: float) -> None:
        slot = self._loads
        if slot is None:
            return
        is_refused = now_s >= self._gives_up_at_s
        if now_s < self._loaded_at_s and not is_refused:
            return
        self._loads = None
        if is_refused or self._is_bad(Nature.UNLOADABLE, slot):
            reason = "load_timeout" if is_refused else "model_unloadable"
            self._refused = slot
            self._write(slot, "failed", Failure(reason=reason, detail="as it is"))
            return
        before, self._serves = self._serves, slot
        if before is not None:
            self._write(before, "retired")
        if self._is_bad(Nature.DIES_SERVING, slot):
            self._dies_at_s = now_s + self._rng.uniform(1.0, 10.0)
        if self._is_bad(Nature.DIES_FOR_GOOD, slot):
            self._dies_at_s = now_s + self._rng.uniform(1.0, 6.0)
        self._write_at_s = now_s

    def _answer(self, now_s: float, busy: float) -> None:
        slot = self._serves or "a"
        self._owed += self._habits.rate * min(2.0, now_s - self._last_s)
        count, self._owed = int(self._owed), self._owed % 1.0
        if self._is_bad(Nature.NEVER_ANSWERS, slot):
            return
        tally = self._tallies.setdefault(slot, Tally())
        for _ in range(count):
            self._answer_one(tally, slot, busy)

    def _answer_one(self, tally: Tally, slot: str, busy: float) -> None:
        rng, habits = self._rng, self._habits
        if rng.random() < habits.mistakes:
            tally.invalid += 1
            return
        tally.requests += 1
        if rng.random() < (1 / 3 if self._is_bad(Nature.RAISES, slot) else habits.base_error):
            tally.errors += 1
            return
        times = 10.0 if self._is_bad(Nature.SLOW, slot) else 1.0
        latency_s = 0.005 * times * busy * rng.lognormvariate(0.0, 0.25)
        tally.counts[bucket_of(int(latency_s * 1e9))] += 1
        tally.sum_s += latency_s
        tally.max_s = max(tally.max_s, latency_s)
        if tally.requests <= LOOK_FIRST or tally.requests % LOOK_EVERY == 0:
            tally.checked += 1
            is_bad = self._is_bad(Nature.NONFINITE, slot)
            tally.nonfinite += rng.random() < (1 / 3 if is_bad else habits.base_nonfinite)

    # --- reports ------------------------------------------------------------------------------

    def _report(self, now_s: float) -> None:
        self._write_at_s = now_s + REPORT_S
        if self._loads is not None:
            self._write(self._loads, "loading")
            self._write_at_s = now_s + BEAT_S
        if self._serves is not None:
            self._write(self._serves, "serving")
            if self._habits.rate * REPORT_S < 1.0:
                self._write_at_s = now_s + IDLE_S

    def _write(self, slot: str, phase: Phase, failure: Failure | None = None) -> None:
        tally = self._tallies.get(slot, Tally())
        is_hungry = self._is_bad(Nature.HUNGRY, slot)
        figures = (
            {
                "requests": tally.requests,
                "errors": tally.errors,
                "invalid": tally.invalid,
                "checked": tally.checked,
                "nonfinite": tally.nonfinite,
                "bounds_s": BOUNDS_S,
                "counts": tuple(tally.counts),
                "sum_s": tally.sum_s,
                "max_s": tally.max_s,
            }
            if self._habits.counts
            else {}
        )
        report = AppReport(
            slot=slot,
            phase=phase,
            instance=self.name,
            sequence=1 if slot == "a" else 2,
            uptime_s=max(0.001, self._uptime_s + self._clock_s),
            rss_bytes=MEMORY_BYTES * (50 if is_hungry else 1),
            failure=failure,
            **figures,  # type: ignore[arg-type]  # one value for each name above
        )
        write_report(self._folder, report)

    def take_along(self) -> None:
        """Remove its reports: it ends on purpose."""
        for slot in "ab":
            (self._folder / f"report-{self.name}-{slot}.json").unlink(missing_ok=True)


class Application:
    """All processes, and what starts them again.

    Args:
        after: has something called later, by the simulation's clock.
        now_s: that clock, less the time that the machine slept.
    """

    def __init__(
        self, folder: Path, habits: Habits, nature: Nature, rng: random.Random,
        after: Callable[[float, Callable[[], None]], None], now_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self.processes: list[Process] = []
        self._folder = folder
        self._habits = habits
        self._nature = nature
        self._rng = rng
        self._after = after
        self._now_s = now_s
        self._started = 0
        self._is_down = False

    def start(self) -> None:
        """Have all of its processes begin."""
        self._is_down = False
        while len(self.processes) < self._habits.processes:
            self.start_one()

    def start_one(self) -> None:
        """Have one more begin."""
        self._started += 1
        clock_s = self._rng.choice(self._habits.clocks)
        name = f"{self._started}-{self._rng.randrange(1 << 20):05x}"
        process = Process(
            name, self._folder, self._habits, self._rng, clock_s, self._nature, self._now_s()
        )
        self.processes.append(process)

    def step(self, now_s: float, current: str, busy: float, uptime_s: float) -> None:
        """Have all live on; what dies is started again, as a service manager does."""
        for process in list(self.processes):
            process.step(now_s, current, busy, uptime_s)
            if not process.is_alive:
                self.processes.remove(process)
                if self._nature is not Nature.DIES_FOR_GOOD:
                    self._after(self._rng.uniform(0.1, 4.0), self._start_again)

    def _start_again(self) -> None:
        if not self._is_down and len(self.processes) < self._habits.processes:
            self.start_one()

    # --- what may happen to any application ------------------------------------------------------

    def stop(self, *, tidily: bool) -> None:
        """End all processes; they take their reports along, or leave them behind."""
        self._is_down = True
        for process in self.processes:
            if tidily:
                process.take_along()
        self.processes.clear()

    def fork_one(self) -> None:
        """A worker is forked in the place of another, which ends on purpose."""
        if self.processes:
            old = self.processes.pop(self._rng.randrange(len(self.processes)))
            old.take_along()
            self.start_one()

    def kill_one(self) -> None:
        """One is killed from outside, and started again."""
        if self.processes:
            self.processes.pop(self._rng.randrange(len(self.processes)))
            self.start_one()

    def stand_still(self, for_s: float) -> None:
        """Some get no processor for a while."""
        for process in self.processes:
            if self._rng.random() < 0.7:
                process.still_until_s = self._now_s() + for_s
