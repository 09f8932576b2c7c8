"""The test of difference: what it says where the truth is known, and how often it is wrong."""

from __future__ import annotations

import random

import pytest

from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe.binomial import chance_of_at_least
from slotcast_schemas.probe.speed import (
    NOISE_S,
    ROUNDS_MAX,
    ROUNDS_MIN,
    Outcome,
    Round,
    Seen,
    is_surely_above,
    judge_rounds,
    quantile_s,
)
from tests.support.binomial import exact_chance_of_at_least

LIMIT = 2.0


def alike(ratio: float, count: int, active_s: float = 0.01) -> list[Round]:
    return [(ratio * active_s, active_s)] * count


@pytest.mark.parametrize(
    ("rounds", "outcome"),
    [
        (alike(1.0, 9), "open"),
        (alike(1.0, 10), "fine"),
        (alike(3.0, 13), "open"),
        (alike(3.0, 14), "slow"),
        (alike(1.0, 10) + alike(3.0, 1), "open"),
        (alike(1.0, 14) + alike(30.0, 1), "fine"),
        (alike(1.0, 32) + alike(3.0, 32), "open"),
    ],
)
def test_it_decides_when_chance_cannot_have_done_it(rounds: list[Round], outcome: Outcome) -> None:
    assert judge_rounds(rounds, LIMIT).outcome == outcome


@pytest.mark.parametrize(
    ("rounds", "outcome"),
    [
        (alike(9.0, 3), "slow"),
        (alike(1.0, 3), "fine"),
        (alike(9.0, 2), "open"),
        (alike(9.0, 2) + alike(1.0, 1), "open"),
        (alike(9.0, 20) + alike(1.0, 20), "open"),
    ],
)
def test_where_time_is_over_a_few_rounds_must_agree(rounds: list[Round], outcome: Outcome) -> None:
    assert judge_rounds(rounds, LIMIT, is_over=True).outcome == outcome


def test_the_interval_holds_the_ratio_and_says_how_surely() -> None:
    rounds = [(0.01 * ratio, 0.01) for ratio in (0.9, 1.0, 1.1) * 5]
    speed = judge_rounds(rounds, LIMIT)
    assert speed.low <= speed.ratio <= speed.high < LIMIT
    assert (speed.ratio, speed.confidence) == (1.0, 0.999)
    assert "1.00 x the active model, 99.9 % sure of 0.90 to 1.10, 15 rounds" in speed.text()


def test_what_is_noise_makes_no_model_slow() -> None:
    assert judge_rounds([(1e-6 + NOISE_S, 1e-6)] * 20, LIMIT).outcome == "fine"
    assert judge_rounds([(1e-6 + 1.01 * NOISE_S, 1e-6)] * 20, LIMIT).outcome == "slow"


def verdict(true_ratio: float, rng: random.Random, spread: float = 0.5) -> Outcome:
    """Hold rounds, one at a time, of a model of this cost on a device with much noise."""
    rounds: list[Round] = []
    while len(rounds) < ROUNDS_MAX:
        rounds.append((0.01 * true_ratio * rng.lognormvariate(0, spread), 0.01))
        speed = judge_rounds(rounds, LIMIT)
        if len(rounds) >= ROUNDS_MIN and speed.outcome != "open":
            return speed.outcome
    return "open"


def test_under_heavy_noise_no_good_model_is_slow_and_no_slow_one_fine() -> None:
    rng = random.Random(1)
    good = [verdict(1.0, rng) for _ in range(400)]
    slow = [verdict(3.0, rng) for _ in range(400)]
    assert good.count("fine") > 390
    assert slow.count("slow") > 280  # the rest is not decided in so few rounds
    assert (good.count("slow"), slow.count("fine")) == (0, 0)


def test_at_the_limit_itself_chance_is_as_rare_as_promised() -> None:
    rng = random.Random(2)
    verdicts = [verdict(LIMIT, rng) for _ in range(400)]
    assert verdicts.count("open") > 380


def test_a_tail_is_too_long_when_chance_cannot_have_done_it() -> None:
    assert not is_surely_above([0.01] * 19 + [0.5], 0.1, 0.95)
    assert not is_surely_above([0.01] * 16 + [0.5] * 4, 0.1, 0.95)
    assert is_surely_above([0.01] * 13 + [0.5] * 7, 0.1, 0.95)
    assert is_surely_above([0.2] * 4, 0.1, 0.95)
    assert not is_surely_above([], 0.1, 0.95)


def test_a_round_counts_where_every_model_had_a_run_that_counts() -> None:
    held = [[[3.0, 2.0, 4.0], [1.0, 5.0]], [[2.5], []], [[], [1.0]]]
    seen = Seen.of(held)
    assert (seen.count, seen.rounds) == (1, [(2.0, 1.0)])
    assert (seen.times_s, seen.active_times_s) == ([3.0, 2.0, 4.0, 2.5], [1.0, 5.0, 1.0])
    alone = Seen.of([[[1.0, 2.0]], [[3.0]]])
    assert (alone.count, alone.rounds, alone.times_s) == (2, [], [1.0, 2.0, 3.0])


def test_more_rounds_are_held_while_a_limit_is_not_decided() -> None:
    def seen(ratio: float, tail_s: float = 0.0) -> Seen:
        times_s = [0.01] * 10 + [tail_s or 0.01] * 2
        return Seen(20, alike(ratio, 7) + alike(3.0, 7), times_s, [])

    free = Probe(max_latency_ratio=None)
    assert seen(1.0).is_decided(free)
    assert not seen(1.0).is_decided(Probe(max_latency_ratio=2.0))
    assert seen(3.0).is_decided(Probe(max_latency_ratio=2.0))
    tail = Probe(max_latency_ratio=None, max_latency_p95_s=0.1)
    assert seen(1.0).is_decided(tail)
    assert not seen(1.0, tail_s=0.5).is_decided(tail)


def test_quantiles_are_times_that_were_seen() -> None:
    assert quantile_s([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile_s([1.0], 0.95) == 1.0
    assert quantile_s([float(n) for n in range(1, 101)], 0.95) == 95.0


@pytest.mark.parametrize(("hits", "tries", "chance"), [(0, 5, 0.3), (3, 5, 0.3), (5, 5, 0.9)])
def test_the_binomial_distribution_is_the_textbooks(hits: int, tries: int, chance: float) -> None:
    exact = exact_chance_of_at_least(hits, tries, chance)
    assert chance_of_at_least(hits, tries, chance) == pytest.approx(exact)


def test_the_binomial_distribution_takes_any_number_of_tries() -> None:
    assert chance_of_at_least(50_000, 100_000, 0.5) == pytest.approx(0.5, abs=0.01)
    assert chance_of_at_least(2_000, 100_000, 0.01) < 1e-100
    assert chance_of_at_least(900, 100_000, 0.01) > 0.99
    assert (chance_of_at_least(1, 10, 0.0), chance_of_at_least(10, 10, 1.0)) == (0.0, 1.0)
