"""Latencies for tests: the same for the same arguments, counted by the bounds that devices send."""

from __future__ import annotations

import numpy as np

from slotcast_publisher.fleet.figures.histograms import EMPTY, GRID_S, Histogram, histogram_of
from slotcast_schemas.messages.metrics import Latency


def latency(median_s: float, requests: int = 1000) -> Latency:
    """What a device sends of requests with this median, lognormal with a deviation of 0.3."""
    rng = np.random.default_rng([requests, round(median_s * 1e9)])
    samples = rng.lognormal(np.log(median_s), 0.3, requests)
    index = np.searchsorted(np.array(GRID_S), samples, side="right")
    counts = np.bincount(index, minlength=65)
    return Latency(
        p50_s=float(np.median(samples)),
        p95_s=float(np.quantile(samples, 0.95)),
        p99_s=float(np.quantile(samples, 0.99)),
        max_s=float(samples.max()),
        sum_s=float(samples.sum()),
        bounds_s=GRID_S,
        counts=tuple(int(count) for count in counts),
    )


def histogram(median_s: float, requests: int = 1000) -> Histogram:
    """The same, as the fleet keeps it."""
    return histogram_of(latency(median_s, requests)) or EMPTY
