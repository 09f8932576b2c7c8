"""Latency histograms, merged over devices and time, and quantiles whose error is known.

Devices send counts by buckets. All of ours use the same bounds, and a client in another language
may use its own, so everything is kept by one grid, in a bounded size: of each bound of the grid,
how many requests were *surely* below it, and how many *may* have been. For the grid's own bounds
both are the same, and merging loses nothing; a histogram with other bounds widens the error by no
more than its own share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.fleet.figures.shares import wilson
from slotcast_schemas.messages.metrics import Latency

BUCKET_RATIO: Final = 2.0 ** (1 / 3)
"""How many times a bucket's upper bound is its lower one: a third of a doubling."""
GRID_S: Final = tuple(50e-6 * 2 ** (i / 3) for i in range(64))
"""The bounds, in seconds, by which latencies are kept: those that our devices send (docs/wire.md),
50 us to 105 s."""
DEVICE_ROUNDING: Final = 1 + 1 / 16
"""By how much a device may have put a latency too high: it counts in finer buckets, 16 for each
doubling, and one of those goes whole to where its upper bound lies."""
DEVICE_LONGEST_S: Final = 64.0
"""The seconds from which a device may have put a latency into its last bucket, which has no end and
is sent as one above all bounds."""
COUNT_MAX: Final = 2**62 - 1
"""The most that is counted: 64 bits, and the database, hold two of them added up."""
_SAME_BOUND: Final = 1e-9
"""Bounds that differ by no more than this part of them are the same."""

Counts = NDArray[np.int64]
"""One count for each bound of `GRID_S`, shape (64,)."""
_GRID: Final[NDArray[np.float64]] = np.array(GRID_S)


@dataclass(frozen=True, slots=True)
class Quantile:
    """The latency that a share of the requests do not exceed.

    Attributes:
        value_s: the best guess, interpolated within a bucket.
        low_s: the true one is not below this.
        high_s: nor above this; infinite where more requests than that were above all bounds and
            nobody said how long they took.
    """

    value_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Latencies of so many requests, by the bounds of `GRID_S`.

    Attributes:
        surely_below: requests that took less than each bound, for certain; int64 of shape (64,).
        maybe_below: requests that may have, likewise.
        requests: how many there are.
        max_s: the longest, in seconds; 0 where it is not known.
        sum_s: all of them, in seconds.
    """

    surely_below: Counts
    maybe_below: Counts
    requests: int
    max_s: float
    sum_s: float

    def quantile(self, share: float) -> Quantile | None:
        """Give the latency that `share` of the requests do not exceed; None without requests.

        It is the k-th shortest of n, with k = `share` n rounded up: numpy's `inverted_cdf`.
        """
        if not self.requests:
            return None
        rank = min(max(1, math.ceil(share * self.requests - 1e-9)), self.requests)
        first = int(np.searchsorted(self.surely_below, rank))  # the first bound with enough below
        last = int(np.searchsorted(self.maybe_below, rank)) - 1  # the last with too few below
        high_s = GRID_S[first] if first < len(GRID_S) else math.inf
        high_s = min(high_s, self.max_s or math.inf)
        low_s = GRID_S[last] / DEVICE_ROUNDING if last >= 0 else 0.0
        low_s = min(low_s, DEVICE_LONGEST_S, high_s)
        return Quantile(min(max(self._guess_s(rank), low_s), high_s), low_s, high_s)

    def _guess_s(self, rank: int) -> float:
        """What `interpolated` gives, for this one; many times as fast as that for one alone."""
        middle = self._middle()
        index = min(int(np.searchsorted(middle, rank)), len(GRID_S) - 1)
        before, low_s = (float(middle[index - 1]), GRID_S[index - 1]) if index else (0.0, 0.0)
        inside = float(middle[index]) - before
        part = min(1.0, (rank - before) / inside) if inside > 0 else 1.0
        return low_s + (GRID_S[index] - low_s) * part

    def quantile_range_s(self, share: float, confidence: float) -> tuple[float, float] | None:
        """Give between which latencies the quantile of all requests to come lies, in seconds.

        What was counted is a sample: by chance, a few more may have been slow. So many as the
        share's Wilson interval allows (order statistics; no shape of the distribution is assumed).

        Args:
            share: of requests that do not exceed it.
            confidence: of the interval, two-sided.
        """
        if not self.requests:
            return None
        bounds = wilson(share * self.requests, self.requests, confidence)
        low, high = self.quantile(bounds.low), self.quantile(bounds.high)
        return None if low is None or high is None else (low.value_s, high.value_s)

    def cumulative(self) -> NDArray[np.float64]:
        """Give how many requests took less than each bound, and all; float64 of shape (65,)."""
        return np.append(self._middle(), float(self.requests))

    def _middle(self) -> NDArray[np.float64]:
        return (self.surely_below + self.maybe_below) / 2.0


EMPTY: Final = Histogram(np.zeros(64, np.int64), np.zeros(64, np.int64), 0, 0.0, 0.0)
"""No request at all."""


def histogram_of(latency: Latency | None) -> Histogram | None:
    """Take a device's histogram; None where it has none, or one that cannot be: data, not a fault.

    A histogram cannot be where its counts do not fit its bounds, or its bounds do not rise.
    """
    if latency is None or len(latency.counts) != len(latency.bounds_s) + 1:
        return None
    below = np.array(latency.counts, dtype=np.int64).cumsum()
    if latency.bounds_s == GRID_S:  # those of our own devices
        surely = maybe = below[:-1]
    else:
        bounds = np.array(latency.bounds_s, dtype=np.float64)
        if np.any(np.diff(bounds) <= 0):
            return None
        surely, maybe = _by_the_grid(bounds, np.concatenate(([0], below)))
    requests = int(below[-1])
    if latency.max_s > 0:  # what is longer than the longest of all is above every request
        surely = np.where(latency.max_s < _GRID, requests, surely)
        maybe = np.where(latency.max_s < _GRID, requests, maybe)
    return Histogram(surely, maybe, requests, latency.max_s, latency.sum_s)


def _by_the_grid(bounds: NDArray[np.float64], below: Counts) -> tuple[Counts, Counts]:
    """Give how many requests were below each bound of the grid, surely and maybe.

    Args:
        bounds: of the buckets, rising, float64 of shape (n,).
        below: requests below each of them, first of all 0, int64 of shape (n + 2,).
    """
    index = np.searchsorted(bounds, _GRID * (1 + _SAME_BOUND), side="right")
    surely = below[index]
    edge = np.concatenate(([0.0], bounds))[index]
    is_edge = np.abs(edge - _GRID) <= _GRID * _SAME_BOUND
    return surely, np.where(is_edge, surely, below[np.minimum(index + 1, len(below) - 1)])


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Put histograms of several devices, or times, together."""
    parts = [histogram for histogram in histograms if histogram.requests]
    if not parts:
        return EMPTY
    is_max_known = all(part.max_s > 0 for part in parts)
    requests = sum(part.requests for part in parts)
    add = _added if requests <= COUNT_MAX else _added_up_to_the_most
    return Histogram(
        surely_below=add([part.surely_below for part in parts]),
        maybe_below=add([part.maybe_below for part in parts]),
        requests=min(requests, COUNT_MAX),
        max_s=max(part.max_s for part in parts) if is_max_known else 0.0,
        sum_s=math.fsum(part.sum_s for part in parts),
    )


def _added(counts: Sequence[Counts]) -> Counts:
    total: Counts = np.sum(counts, axis=0)
    return total


def _added_up_to_the_most(counts: Sequence[Counts]) -> Counts:
    """The same where 64 bits may not hold it: only a device that lies has so many requests."""
    exact = np.sum([each.astype(object) for each in counts], axis=0)
    total: Counts = np.minimum(exact, COUNT_MAX).astype(np.int64)
    return total


def interpolated(below: NDArray[np.float64], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the latency, in seconds, at a rank of each of many histograms.

    Args:
        below: requests below each bound of `GRID_S`, float64 of shape (histograms, 64); weighted
            histograms may have parts of requests.
        ranks: how many requests of each are to be at or below it, float64 of shape (histograms,).

    Returns:
        float64 of shape (histograms,); the last bound where the rank is above all of them.
    """
    index = np.minimum((below < ranks[:, None]).sum(axis=1), len(GRID_S) - 1)
    rows = np.arange(len(below))
    before = np.where(index > 0, below[rows, np.maximum(index - 1, 0)], 0.0)
    inside = below[rows, index] - before
    part = np.divide(ranks - before, inside, out=np.ones_like(ranks), where=inside > 0)
    low = np.where(index > 0, _GRID[np.maximum(index - 1, 0)], 0.0)
    result: NDArray[np.float64] = low + (_GRID[index] - low) * np.clip(part, 0.0, 1.0)
    return result
