"""A release against the one before it, on the same devices.

Devices differ more than releases do: those that have the new release already are the online ones,
or the canaries, and were perhaps the faster ones before. So each device is held against itself,
and only devices that have figures of both releases count.

There are two questions, for one bad device in a hundred must not hide in the sum, nor be the sum:

- *each device*: is its own figure above the limit, by more than its own requests vary by chance?
  The share of such devices is then a share like any other;
- *all of them together*, where none counts for more than what a quarter of them have at least,
  whatever it says of itself, so that a few that lie together are no verdict either: where would the
  figure lie if other devices of the same kind had been asked? Devices are drawn again with
  replacement (B. Efron's bootstrap, by devices, since requests of one device are no independent
  witnesses). The draws come from a fixed seed: the same figures give the same answer, on every
  machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.fleet.figures.histograms import BUCKET_RATIO, interpolated
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.figures.shares import (
    Share,
    difference,
    is_surely_above,
    tail,
)

DRAWS: Final = 1000
"""How often devices are drawn again: the 25th of a thousand is the end of a 95 % interval."""
BLOCKS_MAX: Final = 500
"""The number of parts that a fleet is drawn in at most; larger fleets are drawn in parts of several
devices, so that the work is bounded."""
ENOUGH_FOR_MEDIAN: Final = 20
"""Requests of one device from which its median latency means something."""
ENOUGH_FOR_P95: Final = 200
"""Requests of one device from which its p95 means something: ten are above it."""
USUAL_SHARE: Final = 4
"""One in so many devices must have as many requests as one counts for. So of n devices k that lie,
fewer than n / 4, count for less than 4 k / n of a verdict, and for k / n where all have as many."""
MEASURED_MAX: Final = 2.0
"""Of what a device measures of itself, no more counts than so many times what one in `USUAL_SHARE`
devices has: devices differ, and one may still say anything."""


class Figure(StrEnum):
    """What a release does, as it can be held against a limit; larger is worse."""

    ERROR_SHARE = "error_share"
    ERROR_SHARE_RISE = "error_share_rise"
    NONFINITE_SHARE = "nonfinite_share"
    NONFINITE_SHARE_RISE = "nonfinite_share_rise"
    LATENCY_P50_RATIO = "latency_p50_ratio"
    LATENCY_P95_RATIO = "latency_p95_ratio"
    MEMORY_RATIO = "memory_ratio"
    LOAD_TIME_RATIO = "load_time_ratio"
    OUTPUT_MEAN_SHIFT = "output_mean_shift"
    OUTPUT_STD_RATIO = "output_std_ratio"


QUANTILES: Final[Mapping[Figure, tuple[float, int]]] = {
    Figure.LATENCY_P50_RATIO: (0.5, ENOUGH_FOR_MEDIAN),
    Figure.LATENCY_P95_RATIO: (0.95, ENOUGH_FOR_P95),
}
"""For each figure of latency: the share of requests, and how many of them a device needs."""
ABSOLUTE: Final = frozenset({Figure.ERROR_SHARE, Figure.NONFINITE_SHARE})
"""Figures of the new release alone."""


@dataclass(frozen=True, slots=True)
class FiguresPair:
    """One device's figures of the new release, and of the one before; None where it has none."""

    new: ReleaseFigures
    old: ReleaseFigures | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over several devices.

    Attributes:
        value: as it was seen.
        low: with the confidence asked for, the true one is not below this; also by how coarse the
            histograms are.
        high: nor above this.
        devices: how many it is of.
    """

    value: float
    low: float
    high: float
    devices: int


def devices_needed(confidence: float) -> int:
    """Give how many devices must agree before a figure of all is no chance: a sign test's least.

    If a release changes nothing, a device is as likely above as below; all of n are above by
    chance once in 2 to the n.
    """
    return math.ceil(-math.log2(tail(confidence)) - 1e-9)


# --- each device --------------------------------------------------------------------------------


def on_device(figure: Figure, pair: FiguresPair) -> float | None:
    """Give one device's figure; None where it cannot be told."""
    new, old = pair.new, pair.old
    if figure in ABSOLUTE:
        return _share(figure, new).value if new.requests else None
    if old is None:
        return None
    match figure:
        case Figure.ERROR_SHARE_RISE | Figure.NONFINITE_SHARE_RISE:
            if not new.requests or not old.requests:
                return None
            return _share(figure, new).value - _share(figure, old).value
        case Figure.LATENCY_P50_RATIO | Figure.LATENCY_P95_RATIO:
            return _latency_ratio(figure, new, old)
        case Figure.MEMORY_RATIO:
            return _ratio(new.memory_bytes, old.memory_bytes)
        case Figure.LOAD_TIME_RATIO:
            return _ratio(new.load_s, old.load_s)
        case Figure.OUTPUT_STD_RATIO:
            return _ratio(new.output_std, old.output_std)
        case _:
            return _mean_shift(new, old)


def is_over(figure: Figure, pair: FiguresPair, limit: float, confidence: float) -> bool | None:
    """Say whether one device is above a limit by more than its requests vary; None: cannot tell.

    Args:
        figure: of the new release, or of it against the old one.
        pair: the device's figures.
        limit: what the figure may be at most.
        confidence: of a two-sided interval.
    """
    value = on_device(figure, pair)
    if value is None:
        return None
    if value <= limit:
        return False
    if figure in ABSOLUTE:
        return is_surely_above(_share(figure, pair.new), limit, confidence)
    old = pair.old
    if old is not None and figure in {Figure.ERROR_SHARE_RISE, Figure.NONFINITE_SHARE_RISE}:
        return difference(_share(figure, pair.new), _share(figure, old), confidence).low > limit
    if old is not None and figure in QUANTILES:
        return _least_latency_ratio(figure, pair.new, old, confidence) > limit
    return True  # memory, load time, outputs: measured, not drawn by chance


def _share(figure: Figure, figures: ReleaseFigures) -> Share:
    is_error = figure in {Figure.ERROR_SHARE, Figure.ERROR_SHARE_RISE}
    return figures.error_share if is_error else figures.nonfinite_share


def _ratio(new: float | None, old: float | None) -> float | None:
    return new / old if new and old and new > 0 and old > 0 else None


def _mean_shift(new: ReleaseFigures, old: ReleaseFigures) -> float | None:
    """By how many of its old deviations the mean of the outputs has moved."""
    if new.output_mean is None or old.output_mean is None or not old.output_std:
        return None
    return abs(new.output_mean / old.output_std - old.output_mean / old.output_std)


def _latency_ratio(figure: Figure, new: ReleaseFigures, old: ReleaseFigures) -> float | None:
    share, enough = QUANTILES[figure]
    if min(new.latency.requests, old.latency.requests) < enough:
        return None
    mine, other = new.latency.quantile(share), old.latency.quantile(share)
    return None if mine is None or other is None else _ratio(mine.value_s, other.value_s)


def _least_latency_ratio(
    figure: Figure, new: ReleaseFigures, old: ReleaseFigures, confidence: float
) -> float:
    """The least that the ratio may be, by chance and by the width of a bucket."""
    share, _ = QUANTILES[figure]
    mine = new.latency.quantile_range_s(share, confidence)
    other = old.latency.quantile_range_s(share, confidence)
    if mine is None or other is None or other[1] <= 0:
        return 0.0
    return mine[0] / other[1] / BUCKET_RATIO


# --- all of them together -----------------------------------------------------------------------


def on_all(figure: Figure, pairs: Sequence[FiguresPair], confidence: float) -> Estimate | None:
    """Give a figure over all devices that can tell it, and between what it lies; None: nobody can.

    Shares and latencies are of all requests together, one device counting for as many at most as a
    quarter of the devices have; memory, load time and outputs are the mean of the devices' own
    figures, each at most twice what a quarter of them have.

    Args:
        figure: of the new release, or of it against the old one.
        pairs: the devices' figures, in an order that stays the same.
        confidence: of the interval, two-sided.
    """
    counted = [pair for pair in pairs if on_device(figure, pair) is not None]
    if not counted:
        return None
    drawn = _statistic(figure, counted)
    parts = min(len(counted), BLOCKS_MAX)
    value = float(drawn(np.ones((1, parts)))[0])
    weights = np.random.default_rng(len(counted)).multinomial(
        parts, np.full(parts, 1 / parts), size=DRAWS
    )
    low, high = np.quantile(
        drawn(weights.astype(np.float64)), [tail(confidence), 1 - tail(confidence)]
    )
    rounding = BUCKET_RATIO if figure in QUANTILES else 1.0
    return Estimate(value, float(low) / rounding, float(high) * rounding, len(counted))


def value_on_all(figure: Figure, pairs: Sequence[FiguresPair]) -> float | None:
    """Give a figure over all devices that can tell it, as it was seen; None if none can.

    Args:
        figure: of the new release, or of it against the old one.
        pairs: the devices' figures.
    """
    counted = [pair for pair in pairs if on_device(figure, pair) is not None]
    if not counted:
        return None
    everyone = np.ones((1, min(len(counted), BLOCKS_MAX)))
    return float(_statistic(figure, counted)(everyone)[0])


Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From how often each part of the fleet is drawn, shape (draws, parts), to the figure of each
draw."""


def _statistic(figure: Figure, pairs: Sequence[FiguresPair]) -> Statistic:
    if figure in QUANTILES:
        share, _ = QUANTILES[figure]
        new = _parts(_bounded([pair.new.latency.cumulative() for pair in pairs]))
        earlier = [pair.old.latency.cumulative() for pair in pairs if pair.old is not None]
        old = _parts(_bounded(earlier))
        return lambda weights: _quantiles(weights @ new, share) / _quantiles(weights @ old, share)
    if figure in ABSOLUTE:
        mine = _share_parts(figure, [pair.new for pair in pairs])
        return lambda weights: _shares(weights @ mine)
    if figure in {Figure.ERROR_SHARE_RISE, Figure.NONFINITE_SHARE_RISE}:
        mine = _share_parts(figure, [pair.new for pair in pairs])
        other = _share_parts(figure, [pair.old for pair in pairs if pair.old is not None])
        return lambda weights: _shares(weights @ mine) - _shares(weights @ other)
    measured = [on_device(figure, pair) or 0.0 for pair in pairs]
    most = MEASURED_MAX * _usual(measured)
    values = _parts([np.array([min(value, most), 1.0]) for value in measured])
    return lambda weights: _shares(weights @ values)


def _parts(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Rows of devices, added up into at most `BLOCKS_MAX` parts; shape (parts, columns)."""
    matrix = np.array(rows, dtype=np.float64)
    if len(matrix) <= BLOCKS_MAX:
        return matrix
    starts = np.linspace(0, len(matrix), BLOCKS_MAX, endpoint=False).astype(np.intp)
    result: NDArray[np.float64] = np.add.reduceat(matrix, starts, axis=0)
    return result


def _share_parts(figure: Figure, figures: Sequence[ReleaseFigures]) -> NDArray[np.float64]:
    shares = [_share(figure, each) for each in figures]
    return _parts(
        _bounded([np.array([share.hits, share.of], dtype=np.float64) for share in shares])
    )


def _bounded(rows: Sequence[NDArray[np.float64]]) -> Sequence[NDArray[np.float64]]:
    """Counts of devices, the last of each row being its requests, with none counting for too much.

    A device says itself how many requests it had: one could be all of the sum, and so could a few.
    """
    most = _usual([float(row[-1]) for row in rows])
    return [row * (most / row[-1]) if row[-1] > most else row for row in rows]


def _usual(values: Sequence[float]) -> float:
    """Give what more than one in `USUAL_SHARE` devices have at least; of three, the most."""
    return sorted(values, reverse=True)[len(values) // USUAL_SHARE]


def _shares(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = sums[:, 0] / np.maximum(sums[:, 1], 1e-300)
    return result


def _quantiles(below: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    return np.maximum(interpolated(below[:, :-1], share * below[:, -1]), 1e-9)
