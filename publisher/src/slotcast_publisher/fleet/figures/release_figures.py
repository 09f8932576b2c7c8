"""What a device said of one release, added up over its summaries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from slotcast_publisher.fleet.figures.histograms import (
    COUNT_MAX,
    EMPTY,
    Histogram,
    histogram_of,
    merged,
)
from slotcast_publisher.fleet.figures.shares import Share
from slotcast_schemas.messages.metrics import Summary


@dataclass(frozen=True, slots=True)
class ReleaseFigures:
    """One release on one device, or on several, over some time.

    Attributes:
        requests: that were answered, or raised.
        errors: of them, those that raised.
        nonfinite: answers with NaN or infinity among those that were looked at.
        latency: of the requests.
        memory_bytes: the most that the process took; 0 if not known.
        load_s: the longest that loading took; 0 if not known.
        output_mean: of the outputs, each window weighted by its requests; None if not known.
        output_std: the deviation, likewise.
    """

    requests: int = 0
    errors: int = 0
    nonfinite: int = 0
    latency: Histogram = EMPTY
    memory_bytes: int = 0
    load_s: float = 0.0
    output_mean: float | None = None
    output_std: float | None = None

    @property
    def error_share(self) -> Share:
        """Requests that raised, never more than there were: counts are data from outside."""
        return Share(min(self.errors, self.requests), self.requests)

    @property
    def nonfinite_share(self) -> Share:
        """Answers that were not finite, of all requests."""
        return Share(min(self.nonfinite, self.requests), self.requests)


def figures_of(summaries: Iterable[Summary]) -> ReleaseFigures:
    """Add summaries up: of one release, from one device or from many, each given once."""
    return together(map(_of_one, summaries))


def together(parts: Iterable[ReleaseFigures]) -> ReleaseFigures:
    """Put figures of one release together."""
    found = list(parts)
    if len(found) == 1 and found[0].requests and found[0].latency.requests:
        return found[0]
    return ReleaseFigures(
        # Counts are data from outside: the database holds so many and no more.
        requests=min(COUNT_MAX, sum(part.requests for part in found)),
        errors=min(COUNT_MAX, sum(part.errors for part in found)),
        nonfinite=min(COUNT_MAX, sum(part.nonfinite for part in found)),
        latency=merged(part.latency for part in found),
        memory_bytes=max((part.memory_bytes for part in found), default=0),
        load_s=max((part.load_s for part in found), default=0.0),
        output_mean=_weighted((part.output_mean, part.requests) for part in found),
        output_std=_weighted((part.output_std, part.requests) for part in found),
    )


def _of_one(summary: Summary) -> ReleaseFigures:
    return ReleaseFigures(
        requests=summary.requests,
        errors=summary.errors,
        nonfinite=summary.nonfinite,
        latency=histogram_of(summary.latency) or EMPTY,
        memory_bytes=max(summary.rss_bytes, summary.peak_rss_bytes),
        load_s=summary.load_s,
        output_mean=summary.output_mean,
        output_std=summary.output_std,
    )


def _weighted(values: Iterable[tuple[float | None, int]]) -> float | None:
    """The mean of those that are known, each by its weight; taken apart so that none overflows."""
    known = [(value, weight) for value, weight in values if value is not None and weight]
    total = sum(weight for _, weight in known)
    return math.fsum(value * (weight / total) for value, weight in known) if known else None
