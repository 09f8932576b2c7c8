"""Figures of a release as bytes: what does not fit a column, above all the latency histogram.

A histogram has 64 bounds, and a model's latencies fall between a few of them. So only where its
counts change is written: some 40 to 120 bytes, where a device's own summary takes 900.
"""

from __future__ import annotations

import bisect
import itertools
from typing import Final

import msgspec
import numpy as np

from slotcast_publisher.fleet.figures.histograms import COUNT_MAX, EMPTY, GRID_S, Counts, Histogram
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, figures_of
from slotcast_schemas.messages.metrics import Latency, Summary

_BOUNDS: Final = len(GRID_S)


class _Packed(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What the bytes hold: an array, whose fields keep their order for ever; new ones at the end.

    `surely` and `maybe` are pairs: a bound's number, and by how much the count rises there.
    """

    requests: int
    errors: int = 0
    nonfinite: int = 0
    memory_bytes: int = 0
    load_s: float = 0.0
    output_mean: float | None = None
    output_std: float | None = None
    timed: int = 0
    max_s: float = 0.0
    sum_s: float = 0.0
    surely: tuple[int, ...] = ()
    maybe: tuple[int, ...] | None = None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Packed)


def pack_summary(summary: Summary) -> bytes:
    """Give the bytes of one summary's figures."""
    latency = summary.latency
    if latency is None or latency.bounds_s != GRID_S or len(latency.counts) != _BOUNDS + 1:
        return pack(figures_of([summary]))
    requests = sum(latency.counts)
    if not (summary.requests and 0 < requests <= COUNT_MAX):
        return pack(figures_of([summary]))
    return _pack_steps(summary, latency, requests)


def _pack_steps(summary: Summary, latency: Latency, requests: int) -> bytes:
    """Pack what almost all devices send without the sums in between: steps are its counts.

    `pack(figures_of([summary]))` gives the same bytes; a property test holds that.
    """
    counts = latency.counts
    steps: list[int] = []
    last = bisect.bisect_right(GRID_S, latency.max_s) if latency.max_s > 0 else _BOUNDS
    for place in range(last):
        if counts[place]:
            steps += (place, counts[place])
    if last < _BOUNDS and (above := requests - sum(counts[:last])):  # none took longer than max_s
        steps += (last, above)
    packed = _Packed(
        summary.requests,
        summary.errors,
        summary.nonfinite,
        max(summary.rss_bytes, summary.peak_rss_bytes),
        summary.load_s,
        summary.output_mean,
        summary.output_std,
        requests,
        latency.max_s,
        latency.sum_s,
        tuple(steps),
    )
    return _ENCODER.encode(packed)


def pack(figures: ReleaseFigures) -> bytes:
    """Give the bytes of figures."""
    latency = figures.latency
    surely, maybe = _steps(latency.surely_below), _steps(latency.maybe_below)
    packed = _Packed(
        figures.requests,
        figures.errors,
        figures.nonfinite,
        figures.memory_bytes,
        figures.load_s,
        figures.output_mean,
        figures.output_std,
        latency.requests,
        latency.max_s,
        latency.sum_s,
        surely,
        None if maybe == surely else maybe,
    )
    return _ENCODER.encode(packed)


def unpack(data: bytes) -> ReleaseFigures:
    """Give the figures again.

    Raises:
        msgspec.DecodeError: the bytes are not those of figures: somebody else wrote them.
    """
    packed = _DECODER.decode(data)
    surely = _counts(packed.surely)
    latency = EMPTY
    if packed.timed:
        latency = Histogram(
            surely_below=surely,
            maybe_below=surely if packed.maybe is None else _counts(packed.maybe),
            requests=packed.timed,
            max_s=packed.max_s,
            sum_s=packed.sum_s,
        )
    return ReleaseFigures(
        requests=packed.requests,
        errors=packed.errors,
        nonfinite=packed.nonfinite,
        latency=latency,
        memory_bytes=packed.memory_bytes,
        load_s=packed.load_s,
        output_mean=packed.output_mean,
        output_std=packed.output_std,
    )


def _steps(below: Counts) -> tuple[int, ...]:
    rises = below.copy()
    rises[1:] -= below[:-1]
    at = np.flatnonzero(rises)
    pairs = zip(at.tolist(), rises[at].tolist(), strict=True)
    return tuple(itertools.chain.from_iterable(pairs))


def _counts(steps: tuple[int, ...]) -> Counts:
    rises = np.zeros(_BOUNDS, np.int64)
    at = np.array(steps[::2], np.intp)
    rises[at] = steps[1::2]
    return np.cumsum(rises)
