"""Keeps summaries until they are sent, and renders the last ones for scrapers. Pure.

The ring is bounded in number, so in memory and on disk: after long hours offline the oldest
summaries go, and are counted as dropped. `to_bytes` and `from_bytes` carry it over a
restart; the agent writes and publishes. A summary leaves the ring only when the broker has it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

import msgspec

from slotcast_schemas.limits import METRICS_MAX_BYTES
from slotcast_schemas.messages.metrics import Latency, Metrics, Summary

RING_MAX: Final = 1440
"""A day of one summary a minute; a summary takes about 900 bytes, so the ring about 1.3 MB."""

RING_MAX_BYTES: Final = 4 * 1024 * 1024
_IN_MESSAGE_MAX: Final = 64


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The ring on disk."""

    counter: int = 0
    dropped: int = 0
    summaries: tuple[Summary, ...] = ()
    sent: Metrics | None = None


class MetricsRing:
    """Summaries of all models of a device that the broker has not confirmed yet."""

    def __init__(self, size: int = RING_MAX) -> None:
        self._size = size
        self._summaries: deque[Summary] = deque()
        self._dropped = 0
        self._counter = 0
        self._sent: Metrics | None = None

    def __len__(self) -> int:
        return len(self._summaries)

    def add(self, summary: Summary) -> None:
        """Keep one; the oldest goes if there is no room."""
        self._summaries.append(summary)
        while len(self._summaries) > self._size:
            self._summaries.popleft()
            self._dropped += 1

    def message(self, *, device: str, time: int) -> Metrics | None:
        """The next message to publish, oldest summaries first; None if there is nothing.

        The very same message comes again until `confirm` is called with it, whatever was added
        meanwhile: the broker may have passed it on before the link broke, and then a reader must
        know it again by its counter.
        """
        if self._sent is None:
            self._sent = self._next(device, time)
        return self._sent

    def _next(self, device: str, time: int) -> Metrics | None:
        if not self._summaries:
            return None
        count = min(len(self._summaries), _IN_MESSAGE_MAX)
        while True:
            message = Metrics(
                device=device,
                counter=self._counter + 1,
                time=time,
                summaries=tuple(self._summaries[i] for i in range(count)),
                dropped=self._dropped,
            )
            if count == 1 or len(msgspec.msgpack.encode(message)) <= METRICS_MAX_BYTES * 0.9:
                return message
            count //= 2

    def confirm(self, message: Metrics) -> None:
        """The broker has this message: forget what it carried.

        What the ring had to drop meanwhile was not lost, so it is not counted as dropped.
        """
        sent = set(map(_key, message.summaries))
        still_here = 0
        while self._summaries and _key(self._summaries[0]) in sent:
            self._summaries.popleft()
            still_here += 1
        gone_but_sent = len(message.summaries) - still_here
        self._dropped = max(0, self._dropped - message.dropped - gone_but_sent)
        self._counter = max(self._counter, message.counter)
        self._sent = None

    def to_bytes(self) -> bytes:
        """The ring, for disk."""
        return msgspec.msgpack.encode(
            _Stored(
                counter=self._counter,
                dropped=self._dropped,
                summaries=tuple(self._summaries),
                sent=self._sent,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes | None, size: int = RING_MAX) -> MetricsRing:
        """The ring that was saved; an empty one if nothing was, or if it cannot be read.

        Figures of the past are not worth stopping a device for.
        """
        ring = cls(size)
        if data is None or len(data) > RING_MAX_BYTES:
            return ring
        try:
            stored = msgspec.msgpack.decode(data, type=_Stored)
        except (msgspec.DecodeError, ValueError):
            return ring
        ring._counter, ring._dropped = stored.counter, stored.dropped
        ring._sent = stored.sent
        for summary in stored.summaries:
            ring.add(summary)
        return ring


def _key(summary: Summary) -> tuple[str, int, int, int, int]:
    s = summary
    return (s.model, s.sequence, s.start, s.end, s.requests)


_GAUGES: Final[Mapping[str, tuple[str, str, str]]] = {
    "rss_bytes": ("slotcast_rss_bytes", "bytes", "Resident memory of the process that serves."),
    "peak_rss_bytes": ("slotcast_peak_rss_bytes", "bytes", "The most it was."),
    "load_s": ("slotcast_load_seconds", "seconds", "Time to load and warm the model."),
}
_COUNTERS: Final[Mapping[str, tuple[str, str]]] = {
    "requests": ("slotcast_requests", "Requests answered or failed."),
    "errors": ("slotcast_errors", "Requests that raised."),
    "nonfinite": ("slotcast_nonfinite_outputs", "Outputs looked at with NaN or infinity."),
}


class Totals:
    """Counts that only grow, by model and release, as scrapers want them. Bounded."""

    def __init__(self, releases_max: int = 64) -> None:
        self._max = releases_max
        self._totals: dict[tuple[str, int], Summary] = {}

    def add(self, summary: Summary) -> None:
        """Add one summary to its release's totals; the release seen longest ago may go."""
        key = (summary.model, summary.sequence)
        earlier = self._totals.pop(key, None)
        self._totals[key] = summary if earlier is None else _sum(earlier, summary)
        while len(self._totals) > self._max:
            del self._totals[next(iter(self._totals))]

    def openmetrics(self) -> str:
        """Render as OpenMetrics text, ending in `# EOF`."""
        summaries = sorted(self._totals.values(), key=lambda s: (s.model, s.sequence))
        return "\n".join([*_families(summaries), "# EOF", ""])


def _sum(earlier: Summary, later: Summary) -> Summary:
    return msgspec.structs.replace(
        later,
        start=earlier.start,
        requests=earlier.requests + later.requests,
        errors=earlier.errors + later.errors,
        nonfinite=earlier.nonfinite + later.nonfinite,
        latency=_sum_latency(earlier.latency, later.latency),
    )


def _sum_latency(earlier: Latency | None, later: Latency | None) -> Latency | None:
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


def _families(summaries: Iterable[Summary]) -> Iterator[str]:
    rows = list(summaries)
    for name, (family, text) in _COUNTERS.items():
        yield f"# TYPE {family} counter"
        yield f"# HELP {family} {text}"
        yield from (f"{family}_total{_labels(s)} {getattr(s, name)}" for s in rows)
    for name, (family, unit, text) in _GAUGES.items():
        yield f"# TYPE {family} gauge"
        yield f"# UNIT {family} {unit}"
        yield f"# HELP {family} {text}"
        yield from (f"{family}{_labels(s)} {getattr(s, name)}" for s in rows)
    yield "# TYPE slotcast_latency_seconds histogram"
    yield "# UNIT slotcast_latency_seconds seconds"
    yield "# HELP slotcast_latency_seconds Time of one request in the runtime."
    for summary in rows:
        if summary.latency is not None:
            yield from _histogram(summary, summary.latency)


def _histogram(summary: Summary, latency: Latency) -> Iterator[str]:
    family = "slotcast_latency_seconds"
    bounds = [f"{bound:.6g}" for bound in latency.bounds_s] + ["+Inf"]
    for bound, count in zip(bounds, accumulate(latency.counts), strict=True):
        yield f"{family}_bucket{_labels(summary, le=bound)} {count}"
    yield f"{family}_count{_labels(summary)} {sum(latency.counts)}"
    yield f"{family}_sum{_labels(summary)} {latency.sum_s:.9g}"


def _labels(summary: Summary, **more: str) -> str:
    """Model names and versions have no character that would need escaping (schemas/fields)."""
    pairs = {"model": summary.model, "version": summary.version, **more}
    return "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"
