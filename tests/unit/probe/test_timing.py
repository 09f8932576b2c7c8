"""Rounds on a device that a test makes up: which time counts, when it is enough, who is right."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe.judge import judge
from slotcast_schemas.probe.runtime import Feed
from slotcast_schemas.probe.spec import (
    ProbeFigures,
    ProbeFindings,
    ProbeTiming,
)
from slotcast_schemas.probe.timing import Budget, Rounds, Side
from slotcast_schemas.probe.waits import RunTime, Stopwatch, patience_s

ACTIVE_S = 0.002


class Model:
    """A model that takes some processor time; `told` is what was asked of both, in order."""

    def __init__(self, name: str, cost_s: float, told: list[str]) -> None:
        self.name = name
        self.cost_s = cost_s
        self.told = told
        self.threads = 0

    def run(self, feed: Feed) -> object:
        """Run it: what it takes is the stopwatch's business."""
        del feed
        self.told.append(self.name)
        return self

    def reload(self, threads: int) -> None:
        """Load it again."""
        self.threads = threads


class Device(Stopwatch):
    """Says what runs take here: noise of the caches, and waits for a processor.

    Args:
        lots: draws both.
        waits: the share of runs that wait.
        wait_s: how long, on average.
        spread: of the logarithm of a run's own time.
    """

    def __init__(
        self, lots: random.Random, waits: float = 0.0, wait_s: float = 0.05, spread: float = 0.1
    ) -> None:
        super().__init__()
        self.close()
        self._lots = lots
        self._waits = waits
        self._wait_s = wait_s
        self._spread = spread

    def time(self, run: Callable[[], object]) -> RunTime:
        """Run it, and make up what it took."""
        model = run()
        if not isinstance(model, Model):
            raise TypeError(model)
        own_s = model.cost_s * self._lots.lognormvariate(0, self._spread)
        is_kept = self._lots.random() < self._waits
        waited_s = self._lots.expovariate(1 / self._wait_s) if is_kept else 0.0
        return RunTime(own_s + waited_s, own_s, waited_s)


class Endless(Budget):
    """Time that is never over; nothing is looked up of this process to say so."""

    def is_over(self, until_s: float) -> bool:
        """Say no."""
        del until_s
        return False


class Spent(Budget):
    """Time that is over after so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__(60.0)
        self._looks = looks

    def is_over(self, until_s: float) -> bool:
        """Count down."""
        del until_s
        self._looks -= 1
        return self._looks < 0


def held(
    ratio: float,
    *,
    threads: int = 1,
    probe: Probe | None = None,
    budget: Budget | None = None,
    told: list[str] | None = None,
    seed: int = 1,
    **device: Any,
) -> ProbeTiming:
    """Hold rounds of a candidate that costs so many times what the active model does."""
    told = [] if told is None else told
    models = [Model("candidate", ratio * ACTIVE_S, told), Model("active", ACTIVE_S, told)]
    sides = [Side(model, [{}], model.name) for model in models]
    watch = Device(random.Random(seed), **device)
    rounds = Rounds(
        probe or Probe(), sides, threads, budget or Endless(60.0), lambda _: None, lambda: watch
    )
    timing = rounds.hold()
    expected = 1 if threads != 1 and timing.by == "processor" else 0
    assert {model.threads for model in models} == {expected}
    return timing


def verdict(timing: ProbeTiming, probe: Probe | None = None) -> str:
    findings = ProbeFindings(
        at="done", candidate=ProbeFigures(), active=ProbeFigures(), timing=timing
    )
    return judge(probe or Probe(), findings, None).reason


def test_a_free_device_is_timed_by_the_clock_for_ten_rounds() -> None:
    timing = held(1.0)
    assert (timing.by, len(timing.rounds), len(timing.times_s)) == ("clock", 10, 30)
    assert timing.waited_share == 0
    assert verdict(timing) == "passed"


def test_a_slow_model_is_looked_at_for_longer() -> None:
    timing = held(3.0)
    assert len(timing.rounds) >= 14
    assert verdict(timing) == "too_slow"


def test_runs_that_take_long_are_not_repeated_in_a_turn() -> None:
    timing = held(20.0, probe=Probe(runs=5, max_latency_ratio=50.0))
    assert len(timing.times_s) == len(timing.rounds) == 10


def test_a_few_waits_leave_the_clock_believed() -> None:
    timing = held(1.0, waits=0.3)
    assert timing.by == "clock"
    assert max(timing.times_s) < 3 * ACTIVE_S
    assert timing.waited_share > 0.5


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_a_device_short_of_processor_is_timed_by_processor_time_of_one_thread(threads: int) -> None:
    timing = held(1.0, threads=threads, waits=0.98)
    assert (timing.by, timing.threads) == ("processor", 1)
    assert timing.cores >= max(1, threads)
    assert max(timing.times_s) < 3 * ACTIVE_S
    assert timing.is_device_busy
    assert verdict(timing) == "passed"


def test_threads_that_wake_slowly_do_not_make_a_device_busy() -> None:
    told: list[str] = []
    models = [Model(name, ACTIVE_S, told) for name in ("candidate", "active")]

    def watch() -> Device:
        is_alone = models[0].threads == 1
        return Device(random.Random(1), waits=0.0 if is_alone else 1.0, wait_s=ACTIVE_S)

    sides = [Side(model, [{}], model.name) for model in models]
    timing = Rounds(Probe(), sides, 0, Budget(60.0), lambda _: None, watch).hold()
    assert (timing.by, timing.is_device_busy, timing.waited_share) == ("processor", False, 0.0)


def test_the_order_of_turns_is_drawn() -> None:
    told: list[str] = []
    held(1.0, told=told)
    firsts = {tuple(told[at : at + 6]) for at in range(4, len(told), 6)}
    assert len(firsts) == 2


def test_where_time_is_over_a_few_rounds_do() -> None:
    assert len(held(1.0, budget=Spent(0)).rounds) == 3
    timing = held(9.0, budget=Spent(0))
    assert verdict(timing) == "too_slow"


def test_a_candidate_alone_is_timed_as_often_as_asked() -> None:
    model = Model("candidate", ACTIVE_S, [])
    rounds = Rounds(
        Probe(runs=50),
        [Side(model, [{}], "measure")],
        1,
        Budget(60.0),
        lambda _: None,
        lambda: Device(random.Random(1)),
    )
    timing = rounds.hold()
    assert (timing.rounds, timing.active_p95_s) == ((), None)
    assert len(timing.times_s) >= 50


def test_a_long_tail_is_looked_at_until_it_is_sure() -> None:
    probe = Probe(max_latency_ratio=None, max_latency_p95_s=0.5 * ACTIVE_S, runs=1)
    timing = held(1.0, probe=probe)
    assert verdict(timing, probe) == "too_slow"
    near = Probe(max_latency_ratio=None, max_latency_p95_s=1.5 * ACTIVE_S, runs=1)
    assert verdict(held(1.0, probe=near), near) == "passed"


@pytest.mark.parametrize("waits", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_no_good_model_is_refused_and_no_slow_one_taken(waits: float) -> None:
    wrong = []
    for seed in range(60):
        device: dict[str, Any] = {"seed": seed, "waits": waits, "spread": 0.35}
        good, slow = verdict(held(1.0, **device)), verdict(held(3.0, **device))
        wrong += [reason for reason in (good,) if reason == "too_slow"]
        wrong += [reason for reason in (slow,) if reason == "passed"]
    assert wrong == []


def test_patience_is_long_enough_for_a_short_limit_too() -> None:
    assert patience_s(60.0) == 300.0
    assert patience_s(2.0) > 100.0
