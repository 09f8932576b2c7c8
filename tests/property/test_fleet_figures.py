"""Figures of a fleet against numpy on the raw samples that they were counted from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slotcast_device.application import histogram as device_histogram
from slotcast_publisher.fleet.database.figures_blob import pack, pack_summary
from slotcast_publisher.fleet.figures.histograms import (
    GRID_S,
    Histogram,
    histogram_of,
    interpolated,
    merged,
)
from slotcast_publisher.fleet.figures.release_figures import figures_of
from slotcast_publisher.fleet.figures.shares import (
    Share,
    chance_of_parting,
    is_surely_above,
    tail,
    wilson,
)
from slotcast_schemas.messages.metrics import Latency, Summary
from tests.support.binomial import exact_chance_of_at_least

LATENCIES = st.lists(st.floats(1e-6, 200.0), min_size=1, max_size=60)
SHARES = st.sampled_from([0.01, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0])
BOUNDS = st.one_of(
    st.just(GRID_S),
    st.lists(st.floats(1e-5, 150.0), min_size=1, max_size=12, unique=True).map(sorted).map(tuple),
)
CONFIDENCES = st.sampled_from([0.8, 0.9, 0.95, 0.99])


def counted(
    samples: Sequence[float], bounds_s: Sequence[float], *, with_max: bool = True
) -> Latency:
    """What a device would send of these samples."""
    index = np.searchsorted(np.array(bounds_s), np.array(samples), side="right")
    counts = np.bincount(index, minlength=len(bounds_s) + 1)
    return Latency(
        p50_s=0.0,
        p95_s=0.0,
        p99_s=0.0,
        max_s=max(samples) if with_max else 0.0,
        sum_s=math.fsum(samples),
        bounds_s=tuple(bounds_s),
        counts=tuple(int(count) for count in counts),
    )


def histogram(latency: Latency) -> Histogram:
    found = histogram_of(latency)
    assert found is not None
    return found


@settings(max_examples=200)
@given(
    devices=st.lists(st.tuples(LATENCIES, BOUNDS, st.booleans()), min_size=1, max_size=5),
    share=SHARES,
)
def test_the_true_quantile_of_all_samples_lies_within_the_error_that_is_said(
    devices: list[tuple[list[float], tuple[float, ...], bool]], share: float
) -> None:
    everything = [sample for samples, _, _ in devices for sample in samples]
    found = merged(histogram(counted(s, b, with_max=m)) for s, b, m in devices)
    true = float(np.quantile(np.array(everything), share, method="inverted_cdf"))

    quantile = found.quantile(share)

    assert found.requests == len(everything)
    assert quantile is not None
    assert quantile.low_s <= true <= quantile.high_s
    assert quantile.low_s <= quantile.value_s <= quantile.high_s


@given(
    counts=st.lists(st.one_of(st.just(0), st.integers(0, 2**53)), min_size=65, max_size=65),
    max_s=st.one_of(st.sampled_from([0.0, *GRID_S]), st.floats(0.0, 200.0)),
    bounds=st.sampled_from([GRID_S, tuple(2 * bound for bound in GRID_S), GRID_S[:-1]]),
    requests=st.sampled_from([0, 1, 7_000]),
    values=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40), st.floats(0, 1e6)),
)
def test_a_summary_is_packed_on_the_short_way_as_on_the_long_one(
    counts: list[int],
    max_s: float,
    bounds: tuple[float, ...],
    requests: int,
    values: tuple[int, int, float],
) -> None:
    latency = Latency(
        p50_s=0.0,
        p95_s=0.0,
        p99_s=0.0,
        max_s=max_s,
        sum_s=1.5,
        bounds_s=bounds,
        counts=tuple(counts),
    )
    summary = Summary(
        model="m",
        version="1",
        sequence=1,
        start=0,
        end=60,
        requests=requests,
        errors=1,
        latency=latency,
        rss_bytes=values[0],
        peak_rss_bytes=values[1],
        load_s=values[2],
        output_mean=-values[2],
    )

    assert pack_summary(summary) == pack(figures_of([summary]))


@given(parts=st.lists(LATENCIES, min_size=1, max_size=6), share=SHARES)
def test_merging_by_the_devices_own_bounds_loses_nothing(
    parts: list[list[float]], share: float
) -> None:
    together = histogram(counted([s for part in parts for s in part], GRID_S))
    found = merged(histogram(counted(part, GRID_S)) for part in parts)

    assert np.array_equal(found.surely_below, together.surely_below)
    assert np.array_equal(found.maybe_below, together.maybe_below)
    assert found.quantile(share) == together.quantile(share)


@given(samples=LATENCIES, share=SHARES)
def test_what_a_real_device_counts_is_within_the_error_that_is_said(
    samples: list[float], share: float
) -> None:
    fine = [0] * device_histogram.BUCKETS
    nanoseconds = [round(sample * 1e9) for sample in samples]
    for latency_ns in nanoseconds:
        fine[device_histogram.bucket_of(latency_ns)] += 1
    in_s = [latency_ns / 1e9 for latency_ns in nanoseconds]
    sent = device_histogram.latency(fine, math.fsum(in_s), max(in_s))
    assert sent is not None
    quantile = histogram(sent).quantile(share)
    true = float(np.quantile(np.array(in_s), share, method="inverted_cdf"))

    assert quantile is not None
    assert quantile.low_s * (1 - 1e-9) <= true <= quantile.high_s * (1 + 1e-9)


@settings(max_examples=50)
@given(samples=st.lists(st.floats(1e-3, 50.0), min_size=20, max_size=80), share=SHARES)
def test_the_guess_is_within_a_bucket_of_the_true_quantile(
    samples: list[float], share: float
) -> None:
    quantile = histogram(counted(samples, GRID_S)).quantile(share)
    true = float(np.quantile(np.array(samples), share, method="inverted_cdf"))

    assert quantile is not None
    assert 1 / 1.35 < quantile.value_s / true < 1.35


@given(
    counts=st.lists(st.lists(st.integers(0, 50), min_size=65, max_size=65), min_size=1, max_size=4),
    share=SHARES,
)
def test_many_at_once_are_as_one_by_one(counts: list[list[int]], share: float) -> None:
    rows = [
        histogram(
            Latency(p50_s=0, p95_s=0, p99_s=0, max_s=0, sum_s=0, bounds_s=GRID_S, counts=tuple(c))
        )
        for c in counts
    ]
    assume(all(row.requests for row in rows))
    below = np.array([row.cumulative()[:-1] for row in rows])
    ranks = np.array([float(math.ceil(share * row.requests - 1e-9)) for row in rows])

    many = interpolated(below, ranks)

    for row, value in zip(rows, many, strict=True):
        quantile = row.quantile(share)
        assert quantile is not None
        assert math.isclose(value, quantile.value_s)


# --- shares -------------------------------------------------------------------------------------


@given(of=st.integers(1, 300), part=st.floats(0, 1), confidence=CONFIDENCES)
def test_wilsons_bounds_solve_the_equation_that_they_are_defined_by(
    of: int, part: float, confidence: float
) -> None:
    hits = round(part * of)
    bounds = wilson(hits, of, confidence)
    z = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    assert 0 <= bounds.low <= hits / of + 1e-12
    assert hits / of - 1e-12 <= bounds.high <= 1
    for end in {bounds.low, bounds.high} - {0.0, 1.0}:
        assert math.isclose(abs(hits / of - end), z * math.sqrt(end * (1 - end) / of), rel_tol=1e-6)


@settings(max_examples=300)
@given(
    of=st.integers(1, 200),
    part=st.floats(0, 1),
    limit=st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.3]),
    confidence=CONFIDENCES,
)
def test_no_share_is_called_too_large_that_chance_gives_more_often_than_allowed(
    of: int, part: float, limit: float, confidence: float
) -> None:
    share = Share(round(part * of), of)
    if is_surely_above(share, limit, confidence):
        assert exact_chance_of_at_least(share.hits, of, limit) <= tail(confidence) * (1 + 1e-9)


@given(
    everyone=st.integers(1, 40),
    inside=st.floats(0, 1),
    bad=st.floats(0, 1),
    hits=st.integers(0, 40),
)
def test_the_chance_of_a_part_is_the_sum_over_all_parts(
    everyone: int, inside: float, bad: float, hits: int
) -> None:
    n, k = round(inside * everyone), round(bad * everyone)
    ways = [math.comb(k, x) * math.comb(everyone - k, n - x) for x in range(n + 1)]
    want = sum(ways[hits:]) / math.comb(everyone, n)
    assert math.isclose(chance_of_parting(hits, n, k, everyone), want, rel_tol=1e-9, abs_tol=1e-12)
