"""Times the candidate beside the active model, in rounds, for as long as the verdict needs.

Part of the probe's child. What counts as a run's time, and when enough was seen, is explained in
docs/adr/0050; the verdict itself is the parent's, by the same functions.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe.spec import TIMES_MAX, ProbeTiming
from slotcast_schemas.probe.speed import FEW_ROUNDS, ROUNDS_MAX, ROUNDS_MIN, TAIL, Seen, quantile_s
from slotcast_schemas.probe.waits import (
    EndedUse,
    RunTime,
    Stopwatch,
    patience_s,
    processor_use,
)

if TYPE_CHECKING:
    from slotcast_schemas.probe.runtime import Feed

WARM_UP_RUNS: Final = 2
"""Runs before the first that is timed: they pay for what a runtime makes once."""
TURN_RUNS: Final = 3
"""A turn counts by its best run: the first pays for cold caches, any may be interrupted."""
LONG_RUN_S: Final = 0.02
"""From here on a turn is one run: caches and interruptions are a small part of it."""
LOOK_AT_WAITS_AFTER: Final = 4
"""Rounds after which a device that is short of processor is found to be so."""

_MEASURE_SHARE: Final = 0.6
_END_SHARE: Final = 0.9
"""The share of the probe's time that timing may use, and the share after which it must be over."""


Tell = Callable[[str], None]


class Timed(Protocol):
    """A loaded model."""

    def run(self, feed: Feed) -> object:
        """Run it once."""

    def reload(self, threads: int) -> None:
        """Load it again, for this number of threads."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models, with what it is fed and how its turns are announced."""

    model: Timed
    feeds: Sequence[Feed]
    at: str


class Budget:
    """The probe's time: waits for a processor do not count, as long as there is patience."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._patience_s = patience_s(timeout_s) * _END_SHARE
        self._began_s = time.monotonic()
        self._ended = EndedUse()
        self._waited_s = processor_use().waited_s

    def spent_s(self) -> float:
        """Time so far, without waits."""
        waited_s = processor_use().waited_s + self._ended.look().waited_s
        return max(0.0, self._elapsed_s() - (waited_s - self._waited_s))

    def until_s(self) -> float:
        """Until when timing may go on that begins now, on the same clock as `spent_s`."""
        latest_s = self._timeout_s * _END_SHARE
        return min(latest_s, self.spent_s() + self._timeout_s * _MEASURE_SHARE)

    def is_over(self, until_s: float) -> bool:
        """Whether this time is reached, or patience is at its end."""
        return self.spent_s() >= until_s or self._elapsed_s() >= self._patience_s

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s


class Rounds:
    """Holds rounds until they are enough.

    Args:
        probe: the release's limits.
        sides: the candidate, and the active model where there is one.
        threads: of their sessions; 0 is as many as the runtime takes.
        budget: the probe's time.
        tell: told which model runs, before it runs after the other one, in case it takes the
            process with it.
        stopwatch: makes one for the threads that there are.
    """

    def __init__(
        self,
        probe: Probe,
        sides: Sequence[Side],
        threads: int,
        budget: Budget,
        tell: Tell,
        stopwatch: Callable[[], Stopwatch] = Stopwatch,
    ) -> None:
        self._probe = probe
        self._sides = sides
        self._threads = threads
        self._cores = threads or len(os.sched_getaffinity(0))
        self._budget = budget
        self._tell = tell
        self._stopwatch = stopwatch
        self._until_s = budget.until_s()
        self._lots = random.Random()  # noqa: S311 (an order that nothing else follows)
        self._told = ""
        self._held: list[list[list[RunTime]]] = []
        self._waited_s = self._wall_s = 0.0

    def hold(self) -> ProbeTiming:
        """Hold rounds: by the clock, or by processor time where the device is short of it."""
        self._warm_up()
        while not (self._is_enough(self._by_clock()) or self._is_short(LOOK_AT_WAITS_AFTER)):
            self._hold_one()
        is_short = self._is_short(1)
        if is_short and self._threads != 1 and not self._is_over():
            self._use_one_thread()
        while is_short and not self._is_enough(self._by_processor()):
            self._hold_one()
        self._watch.close()
        seen = self._by_processor() if is_short else self._by_clock()
        return ProbeTiming(
            by="processor" if is_short else "clock",
            threads=self._threads,
            cores=self._cores,
            rounds=tuple(seen.rounds[:ROUNDS_MAX]),
            times_s=tuple(seen.times_s[:TIMES_MAX]),
            active_p95_s=quantile_s(seen.active_times_s, TAIL) if seen.active_times_s else None,
            waited_share=min(1.0, self._waited_s / max(self._wall_s, 1e-9)),
        )

    def _warm_up(self) -> None:
        """Run each model twice; from the second on, its threads and its memory are there."""
        self._watch = self._stopwatch()
        runs = [self._turn(side, WARM_UP_RUNS, 0) for side in self._sides]
        longest_s = max(min(run.processor_s for run in turn) for turn in runs)
        self._turn_runs = TURN_RUNS if longest_s < LONG_RUN_S else 1

    def _use_one_thread(self) -> None:
        """Begin anew with sessions of one thread, whose processor time no other can disturb."""
        self._watch.close()
        self._threads = 1
        for side in self._sides:
            self._tell_of(side)
            side.model.reload(1)
        self._held.clear()
        self._waited_s = self._wall_s = 0.0
        self._warm_up()

    def _hold_one(self) -> None:
        """Let each model have its turn, in an order drawn by lot, with the same sample."""
        order = self._lots.sample(range(len(self._sides)), len(self._sides))
        sample = len(self._held)
        turns = {at: self._turn(self._sides[at], self._turn_runs, sample) for at in order}
        self._held.append([turns[at] for at in sorted(turns)])

    def _turn(self, side: Side, runs: int, sample: int) -> list[RunTime]:
        self._tell_of(side)
        feed = side.feeds[sample % len(side.feeds)]
        taken = [self._watch.time(partial(side.model.run, feed)) for _ in range(runs)]
        self._wall_s += sum(run.wall_s for run in taken)
        self._waited_s += sum(min(run.waited_s, run.wall_s) for run in taken)
        return taken

    def _tell_of(self, side: Side) -> None:
        """Tell which model runs next; each word wakes the parent, on the processors timed here."""
        if side.at != self._told:
            self._tell(side.at)
            self._told = side.at

    # --- what was seen, and whether it is enough -------------------------------------------------

    def _by_clock(self) -> Seen:
        """The rounds in which each model had a run that hardly waited."""
        kept = [[[run.wall_s for run in turn if run.is_clean] for turn in r] for r in self._held]
        return Seen.of(kept)

    def _by_processor(self) -> Seen:
        return Seen.of([[[run.processor_s for run in turn] for turn in r] for r in self._held])

    def _is_short(self, after: int) -> bool:
        """Whether the device is short of processor: most rounds do not count by the clock."""
        return len(self._held) >= after and 2 * self._by_clock().count < len(self._held)

    def _is_over(self) -> bool:
        return self._budget.is_over(self._until_s)

    def _is_enough(self, seen: Seen) -> bool:
        if self._is_over() and len(self._held) >= FEW_ROUNDS:
            return True
        if seen.count < ROUNDS_MIN or len(seen.times_s) < min(self._probe.runs, TIMES_MAX):
            return False
        return seen.is_decided(self._probe) or seen.count >= ROUNDS_MAX
