"""A release against the one before it: on the same devices, each by itself and all together."""

from __future__ import annotations

import numpy as np
import pytest

from slotcast_publisher.fleet.figures import comparison
from slotcast_publisher.fleet.figures.comparison import (
    Figure,
    FiguresPair,
    devices_needed,
    is_over,
    on_all,
    on_device,
)
from slotcast_publisher.fleet.figures.histograms import EMPTY, GRID_S, histogram_of
from slotcast_publisher.fleet.figures.release_figures import (
    ReleaseFigures,
    figures_of,
    together,
)
from slotcast_schemas.messages.metrics import Latency, Summary
from tests.support.latencies import histogram, latency

RNG = np.random.default_rng(1)


def pair(old_s: float, new_s: float, requests: int = 1000) -> FiguresPair:
    return FiguresPair(
        new=ReleaseFigures(requests=requests, latency=histogram(new_s, requests)),
        old=ReleaseFigures(requests=requests, latency=histogram(old_s, requests)),
    )


P95 = Figure.LATENCY_P95_RATIO


def test_fast_devices_that_update_first_do_not_make_a_slow_release_look_fast() -> None:
    # The new release is twice as slow; but it runs on the five fast devices alone.
    pairs = [pair(0.01, 0.02) for _ in range(5)]
    slow = [ReleaseFigures(requests=1000, latency=histogram(0.2)) for _ in range(20)]

    found = on_all(P95, pairs, 0.95)

    all_old = together([*slow, *(p.old for p in pairs if p.old)])
    all_new = together(p.new for p in pairs)
    old, new = all_old.latency.quantile(0.95), all_new.latency.quantile(0.95)
    assert found is not None
    assert old is not None
    assert new is not None
    assert found.value == pytest.approx(2.0, rel=0.15)
    assert new.value_s < old.value_s  # what comparing everybody with everybody would say


def test_a_third_of_the_canaries_is_slow_and_each_of_them_is_found() -> None:
    pairs = [pair(0.01, 0.06 if i < 3 else 0.01) for i in range(10)]

    over = [is_over(P95, each, 1.5, 0.95) for each in pairs]

    assert over == [True] * 3 + [False] * 7


def test_a_ratio_that_a_bucket_could_have_made_is_no_verdict() -> None:
    one = FiguresPair(
        new=ReleaseFigures(latency=histogram_of(_at(1.05e-3)) or EMPTY, requests=1000),
        old=ReleaseFigures(latency=histogram_of(_at(1.00e-3)) or EMPTY, requests=1000),
    )
    value = on_device(P95, one)
    assert value is not None
    assert value > 1.2  # 1.05 in truth: both lie at the ends of neighbouring buckets
    assert is_over(P95, one, 1.2, 0.95) is False


def _at(latency_s: float, requests: int = 1000) -> Latency:
    counts = [0] * 65
    counts[int(np.searchsorted(np.array(GRID_S), latency_s, side="right"))] = requests
    return Latency(
        p50_s=0, p95_s=0, p99_s=0, max_s=0, sum_s=0, bounds_s=GRID_S, counts=tuple(counts)
    )


def test_too_few_requests_tell_nothing() -> None:
    assert on_device(P95, pair(0.01, 0.05, requests=comparison.ENOUGH_FOR_P95 - 1)) is None
    assert on_all(P95, [pair(0.01, 0.05, requests=5)], 0.95) is None
    assert is_over(P95, pair(0.01, 0.05, requests=5), 1.5, 0.95) is None


def test_one_device_with_all_the_errors_does_not_make_the_fleet_sure() -> None:
    def device(errors: int) -> FiguresPair:
        return FiguresPair(ReleaseFigures(requests=1000, errors=errors))

    one_bad = [device(900), *(device(0) for _ in range(9))]
    all_bad = [device(90) for _ in range(10)]

    one, every = (
        on_all(Figure.ERROR_SHARE, one_bad, 0.95),
        on_all(Figure.ERROR_SHARE, all_bad, 0.95),
    )

    assert one is not None
    assert every is not None
    assert one.value == every.value == pytest.approx(0.09)
    assert one.low == 0.0  # drawn again, the bad one may well not be there
    assert every.low == pytest.approx(0.09)


def test_errors_are_held_against_what_the_same_devices_had_before() -> None:
    noisy = FiguresPair(
        ReleaseFigures(requests=1000, errors=52), ReleaseFigures(requests=1000, errors=50)
    )
    worse = FiguresPair(
        ReleaseFigures(requests=1000, errors=99), ReleaseFigures(requests=1000, errors=10)
    )

    assert is_over(Figure.ERROR_SHARE_RISE, noisy, 0.01, 0.95) is False
    assert is_over(Figure.ERROR_SHARE_RISE, worse, 0.01, 0.95) is True
    assert is_over(Figure.ERROR_SHARE_RISE, FiguresPair(worse.new), 0.01, 0.95) is None


def test_memory_load_time_and_outputs_are_measured_on_each_device() -> None:
    figures = FiguresPair(
        ReleaseFigures(memory_bytes=300, load_s=2.0, output_mean=1.5, output_std=3.0),
        ReleaseFigures(memory_bytes=100, load_s=1.0, output_mean=0.5, output_std=2.0),
    )
    assert on_device(Figure.MEMORY_RATIO, figures) == 3.0
    assert on_device(Figure.LOAD_TIME_RATIO, figures) == 2.0
    assert on_device(Figure.OUTPUT_MEAN_SHIFT, figures) == 0.5
    assert on_device(Figure.OUTPUT_STD_RATIO, figures) == 1.5
    assert on_device(Figure.MEMORY_RATIO, FiguresPair(ReleaseFigures(), ReleaseFigures())) is None
    memory = on_all(Figure.MEMORY_RATIO, [figures] * 3, 0.95)
    assert memory is not None
    assert (memory.value, memory.low, memory.devices) == (3.0, 3.0, 3)


def test_the_same_figures_give_the_same_answer_and_a_large_fleet_is_drawn_in_parts() -> None:
    pairs = [
        FiguresPair(ReleaseFigures(requests=100, errors=int(e))) for e in RNG.integers(0, 9, 3000)
    ]
    first = on_all(Figure.ERROR_SHARE, pairs, 0.95)
    assert first is not None
    assert first == on_all(Figure.ERROR_SHARE, pairs, 0.95)
    assert first.devices == 3000
    assert first.low < first.value < first.high
    # A mean of 3000 of 0 to 8 errors in 100: a deviation of 2.6 / sqrt(3000), in hundredths.
    assert first.high - first.low == pytest.approx(2 * 1.96 * 2.6 / 3000**0.5 / 100, rel=0.2)


def test_intervals_of_the_bootstrap_hold_the_true_figure_about_as_often_as_they_say() -> None:
    held = 0
    for _ in range(200):
        shares = RNG.beta(2, 38, 40)  # 0.05 in the mean, each device with its own
        pairs = [
            FiguresPair(ReleaseFigures(requests=500, errors=int(RNG.binomial(500, s))))
            for s in shares
        ]
        found = on_all(Figure.ERROR_SHARE, pairs, 0.95)
        assert found is not None
        held += found.low <= 0.05 <= found.high
    assert held >= 176  # 190 expected; the bootstrap is a little narrow for 40 devices


def test_six_devices_must_agree_before_it_is_no_chance() -> None:
    assert devices_needed(0.95) == 6
    assert devices_needed(0.99) == 8


def test_summaries_of_a_device_add_up() -> None:
    one = Summary(
        model="m",
        version="1",
        sequence=1,
        start=0,
        end=60,
        requests=30,
        errors=3,
        nonfinite=1,
        latency=latency(0.01, 30),
        rss_bytes=5,
        peak_rss_bytes=9,
        load_s=0.5,
        output_mean=1.0,
    )
    two = Summary(
        model="m",
        version="1",
        sequence=1,
        start=60,
        end=120,
        requests=10,
        latency=None,
        output_mean=5.0,
        rss_bytes=20,
    )
    found = figures_of([one, two])
    assert (found.requests, found.errors, found.nonfinite) == (40, 3, 1)
    assert (found.memory_bytes, found.load_s) == (20, 0.5)
    assert found.output_mean == pytest.approx(2.0)
    assert found.output_std is None
    assert found.latency.requests == 30


@pytest.mark.parametrize(
    ("bounds_s", "counts"),
    [((1.0, 1.0), (1, 1, 1)), ((2.0, 1.0), (1, 1, 1)), ((1.0,), (1,)), ((1.0,), ()), ((), ())],
)
def test_a_histogram_that_cannot_be_is_left_out(
    bounds_s: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    broken = Latency(p50_s=0, p95_s=0, p99_s=0, max_s=0, sum_s=0, bounds_s=bounds_s, counts=counts)
    assert histogram_of(broken) is None
    assert EMPTY.quantile(0.5) is None
