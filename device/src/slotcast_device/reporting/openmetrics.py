"""Counts that only grow, of each release, as OpenMetrics text for scrapers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

from slotcast_schemas.messages.metrics import Latency, Summary

_GAUGES: Final[Mapping[str, tuple[str, str, str]]] = {
    "rss_bytes": ("slotcast_rss_bytes", "bytes", "Resident memory of the process that serves."),
    "peak_rss_bytes": ("slotcast_peak_rss_bytes", "bytes", "The most it was."),
    "load_s": ("slotcast_load_seconds", "seconds", "Time to load and warm the model."),
}
"""The gauges by the figure that each shows: the family's name, its unit, and a sentence for
people."""
_COUNTERS: Final[Mapping[str, tuple[str, str]]] = {
    "requests": ("slotcast_requests", "Requests answered or failed."),
    "errors": ("slotcast_errors", "Requests that raised."),
    "invalid": ("slotcast_invalid_requests", "More that raised since no release here takes them."),
    "nonfinite": ("slotcast_nonfinite_outputs", "Outputs looked at with NaN or infinity."),
}
"""The counters by the figure that each shows: the family's name, and a sentence for people."""


class LinkTotals(NamedTuple):
    """What came over all connections of this run.

    Attributes:
        received_bytes: MQTT's own bytes included.
        useless_bytes: what of it nobody wanted.
        brokers_left: how many brokers misbehaved, and are left alone at present.
    """

    received_bytes: int = 0
    useless_bytes: int = 0
    brokers_left: int = 0


class Totals:
    """Counts that only grow, by model and release, as scrapers want them. Bounded."""

    def __init__(self, releases_max: int = 64) -> None:
        self._max = releases_max
        self._totals: dict[tuple[str, int], Summary] = {}

    def add(self, summary: Summary) -> None:
        """Add one summary to its release's totals; the release seen longest ago may go."""
        key = (summary.model, summary.sequence)
        earlier = self._totals.pop(key, None)
        self._totals[key] = summary if earlier is None else _add_summaries(earlier, summary)
        while len(self._totals) > self._max:
            del self._totals[next(iter(self._totals))]

    def openmetrics(self, link: LinkTotals | None = None) -> str:
        """Render as OpenMetrics text, ending in `# EOF`; without a link nothing is said of it."""
        summaries = sorted(self._totals.values(), key=lambda s: (s.model, s.sequence))
        lines = [*_write_families(summaries), *([] if link is None else _write_link(link))]
        return "\n".join([*lines, "# EOF", ""])


def _add_summaries(earlier: Summary, later: Summary) -> Summary:
    return msgspec.structs.replace(
        later,
        start=earlier.start,
        requests=earlier.requests + later.requests,
        errors=earlier.errors + later.errors,
        nonfinite=earlier.nonfinite + later.nonfinite,
        invalid=earlier.invalid + later.invalid,
        latency=_add_latencies(earlier.latency, later.latency),
    )


def _add_latencies(earlier: Latency | None, later: Latency | None) -> Latency | None:
    if earlier is None or later is None:
        return later or earlier
    if earlier.bounds_s != later.bounds_s:
        return later
    counts = (a + b for a, b in zip(earlier.counts, later.counts, strict=True))
    return msgspec.structs.replace(
        later,
        counts=tuple(counts),
        sum_s=earlier.sum_s + later.sum_s,
        max_s=max(earlier.max_s, later.max_s),
    )


def _write_families(summaries: Iterable[Summary]) -> Iterator[str]:
    rows = list(summaries)
    for name, (family, text) in _COUNTERS.items():
        yield f"# TYPE {family} counter"
        yield f"# HELP {family} {text}"
        yield from (f"{family}_total{_write_labels(s)} {getattr(s, name)}" for s in rows)
    for name, (family, unit, text) in _GAUGES.items():
        yield f"# TYPE {family} gauge"
        yield f"# UNIT {family} {unit}"
        yield f"# HELP {family} {text}"
        yield from (f"{family}{_write_labels(s)} {getattr(s, name)}" for s in rows)
    yield "# TYPE slotcast_latency_seconds histogram"
    yield "# UNIT slotcast_latency_seconds seconds"
    yield "# HELP slotcast_latency_seconds Time of one request in the runtime."
    for summary in rows:
        if summary.latency is not None:
            yield from _write_histogram(summary, summary.latency)


def _write_link(link: LinkTotals) -> Iterator[str]:
    counters = (
        ("received", link.received_bytes, "Bytes that came from brokers, MQTT's own included."),
        ("useless", link.useless_bytes, "Bytes of them that nobody wanted."),
    )
    for word, value, text in counters:
        yield f"# TYPE slotcast_link_{word}_bytes counter"
        yield f"# UNIT slotcast_link_{word}_bytes bytes"
        yield f"# HELP slotcast_link_{word}_bytes {text}"
        yield f"slotcast_link_{word}_bytes_total {value}"
    yield "# TYPE slotcast_brokers_left gauge"
    yield "# HELP slotcast_brokers_left Brokers that misbehaved and are left alone."
    yield f"slotcast_brokers_left {link.brokers_left}"


def _write_histogram(summary: Summary, latency: Latency) -> Iterator[str]:
    family = "slotcast_latency_seconds"
    bounds = [f"{bound:.6g}" for bound in latency.bounds_s] + ["+Inf"]
    for bound, count in zip(bounds, accumulate(latency.counts), strict=True):
        yield f"{family}_bucket{_write_labels(summary, le=bound)} {count}"
    yield f"{family}_count{_write_labels(summary)} {sum(latency.counts)}"
    yield f"{family}_sum{_write_labels(summary)} {latency.sum_s:.9g}"


def _write_labels(summary: Summary, **more: str) -> str:
    """Model names and versions have no character that would need escaping (schemas/fields)."""
    pairs = {"model": summary.model, "version": summary.version, **more}
    return "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"
