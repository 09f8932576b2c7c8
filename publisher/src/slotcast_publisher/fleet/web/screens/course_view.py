"""Latency and memory of a model on a device over time, each release a line of its own. Pure.

Summaries come every minute or so; a plot has room for some hundred points, so what lies close
together is added up. Where nothing was reported for longer, the line ends and begins anew.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.database.listing import HistoryEntry
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, together
from slotcast_publisher.fleet.web.plots.course import Course, Line, Switch, course
from slotcast_publisher.fleet.web.words import (
    NONE,
    Clock,
    count_words,
    seconds_words,
    share_words,
    size_words,
)

SPANS_S: Final = {"day": 86_400, "month": 30 * 86_400}
"""The times that can be looked at, by their words."""
BINS: Final = 96
"""The most points of a line: each is of a quarter of an hour of a day."""
_SHORTEST_S: Final = 900
"""The shortest time that is drawn: what began just now has room to go on."""
_GAP_BINS: Final = 3
"""After so many empty bins a line ends."""
_SWITCHES_MAX: Final = 24
_ROWS: Final = 24
"""So many times are in the table: each hour of a whole day."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a device reported of one release over some time.

    Attributes:
        at_s: its middle or end, in seconds since 1970.
        sequence: of the release.
        version: of the release; empty where only the sequence is known.
        figures: its figures.
    """

    at_s: float
    sequence: int
    version: str
    figures: ReleaseFigures


@dataclass(frozen=True, slots=True)
class CourseRow:
    """A row of the table beside the plots."""

    at_s: float
    version: str
    requests: str
    errors: str
    p50: str
    p95: str
    memory: str


@dataclass(frozen=True, slots=True)
class CourseView:
    """The plots, and the table beside them.

    Attributes:
        span: `day` or `month`.
        latency: drawn; None where no call was timed.
        memory: drawn; None where nobody said how much.
        rows: by time.
        new: the version that is drawn as the new one.
        others: the versions that are drawn as old ones.
        has_limit: whether a limit is drawn.
    """

    span: str
    latency: Markup | None
    memory: Markup | None
    rows: tuple[CourseRow, ...]
    new: str
    others: tuple[str, ...]
    has_limit: bool


@dataclass(frozen=True, slots=True)
class CourseLimits:
    """What the last trial allowed, in seconds and bytes; None where it said nothing."""

    p95_s: float | None = None
    memory_bytes: float | None = None


def course_view(
    model: str,
    windows: Sequence[Window],
    changes: Sequence[HistoryEntry],
    limits: CourseLimits,
    span: str,
    clock: Clock,
) -> CourseView:
    """Draw what a device reported.

    Args:
        model: its model.
        windows: in any order; others than those of the span are left out.
        changes: the model's history on the device, in any order.
        limits: of the last trial.
        span: a word of `SPANS_S`.
        clock: the time, and the viewer's zone.
    """
    end_s = clock.now_s
    begin_s = _begin_s(windows, end_s, span)
    inside = sorted(
        (each for each in windows if begin_s <= each.at_s <= end_s + 60),
        key=lambda each: (each.at_s, each.sequence),
    )
    bin_s = (end_s - begin_s) / BINS
    binned = list(_binned(inside, begin_s, bin_s))
    newest = max((each.sequence for each in binned), default=0)
    names = {each.sequence: each.version or f"sequence {each.sequence}" for each in binned}
    switches = _switches(changes, begin_s, end_s, clock, span)
    lines = [
        Line(points, _kind(sequence, newest) + suffix)
        for suffix, share in ((" thin", 0.5), ("", 0.95))
        for sequence, points in _lines(binned, bin_s, share)
    ]
    memory = [
        Line(points, _kind(sequence, newest)) for sequence, points in _lines(binned, bin_s, None)
    ]
    begin = _time_words(begin_s, clock, span)
    drawn = functools.partial(Course, switches=switches, begin_s=begin_s, end_s=end_s, begin=begin)
    of_latency = drawn(
        lines=lines,
        limit=limits.p95_s,
        limit_words=f"trial limit of p95 {seconds_words(limits.p95_s or 0)}",
        words=seconds_words,
    )
    of_memory = drawn(
        lines=memory,
        limit=limits.memory_bytes,
        limit_words=f"trial limit {size_words(limits.memory_bytes or 0)}",
        words=size_words,
    )
    said_p95 = _words_of(model, "p95", binned, names, 0.95)
    said_memory = _words_of(model, "memory", binned, names, None)
    return CourseView(
        span=span,
        latency=course(of_latency, said_p95) if lines else None,
        memory=course(of_memory, said_memory) if memory else None,
        rows=tuple(_rows(inside, begin_s, (end_s - begin_s) / _ROWS, names)),
        new=names.get(newest, ""),
        others=tuple(names[s] for s in sorted(names, reverse=True) if s != newest)[:4],
        has_limit=bool(lines or memory) and limits != CourseLimits(),
    )


def _begin_s(windows: Sequence[Window], end_s: float, span: str) -> float:
    """Give where the plot begins: with the span, or with the first figures if they are younger."""
    earliest_s = end_s - SPANS_S[span]
    first_s = min((each.at_s for each in windows if each.at_s >= earliest_s), default=earliest_s)
    return max(earliest_s, min(first_s - _SHORTEST_S / BINS, end_s - _SHORTEST_S))


def _kind(sequence: int, newest: int) -> str:
    return "new-l" if sequence == newest else "old-l"


def _binned(inside: Sequence[Window], begin_s: float, bin_s: float) -> Iterator[Window]:
    """Add up what lies in one bin, for each release."""

    def place(each: Window) -> tuple[int, int]:
        return int((each.at_s - begin_s) // bin_s), each.sequence

    for (number, sequence), windows in groupby(sorted(inside, key=place), key=place):
        found = list(windows)
        yield Window(
            at_s=begin_s + (number + 0.5) * bin_s,
            sequence=sequence,
            version=next((each.version for each in found if each.version), ""),
            figures=together(each.figures for each in found),
        )


def _lines(
    binned: Sequence[Window], bin_s: float, share: float | None
) -> Iterator[tuple[int, list[tuple[float, float]]]]:
    """Give each release's lines: a share's latency, or memory for None."""
    for sequence in sorted({each.sequence for each in binned}):
        points = [
            (each.at_s, value)
            for each in binned
            if each.sequence == sequence and (value := _value(each.figures, share)) is not None
        ]
        start = 0
        for n, (before, point) in enumerate(pairwise(points), start=1):
            if point[0] - before[0] > _GAP_BINS * bin_s:
                yield sequence, points[start:n]
                start = n
        if points:
            yield sequence, points[start:]


def _value(figures: ReleaseFigures, share: float | None) -> float | None:
    if share is None:
        return float(figures.memory_bytes) or None
    quantile = figures.latency.quantile(share)
    return None if quantile is None else quantile.value_s


def _switches(
    changes: Sequence[HistoryEntry], begin_s: float, end_s: float, clock: Clock, span: str
) -> list[Switch]:
    """Find when another release began to serve."""
    by_time = sorted(changes, key=lambda change: change.at_s)
    found = [
        Switch(after.at_s, after.version, _time_words(after.at_s, clock, span))
        for before, after in pairwise(by_time)
        if after.sequence and after.sequence != before.sequence and begin_s <= after.at_s <= end_s
    ]
    return found[-_SWITCHES_MAX:]


def _time_words(at_s: float, clock: Clock, span: str) -> str:
    found = datetime.fromtimestamp(at_s, clock.zone)
    return f"{found:%H:%M}" if span == "day" else f"{found.day} {found:%b}"


def _words_of(
    model: str,
    figure: str,
    binned: Sequence[Window],
    names: dict[int, str],
    share: float | None,
) -> str:
    """Say in a sentence what is drawn, for those who cannot see it; the table has the rest."""
    words = size_words if share is None else seconds_words
    parts = []
    for sequence, name in sorted(names.items()):
        values = [
            value
            for each in binned
            if each.sequence == sequence and (value := _value(each.figures, share)) is not None
        ]
        if values:
            low, high = words(min(values)), words(max(values))
            parts.append(f"{low} on {name}" if low == high else f"{low} to {high} on {name}")
    return f"{model}, {figure} over time: {'; '.join(parts[-6:])}."


def _rows(
    inside: Sequence[Window], begin_s: float, row_s: float, names: dict[int, str]
) -> Iterator[CourseRow]:
    """Give a row for each time, and release that reported then."""
    for each in _binned(inside, begin_s, row_s):
        figures = each.figures
        p50, p95 = figures.latency.quantile(0.5), figures.latency.quantile(0.95)
        yield CourseRow(
            at_s=each.at_s - row_s / 2,
            version=names.get(each.sequence, ""),
            requests=count_words(figures.requests),
            errors=share_words(figures.error_share.value) if figures.requests else NONE,
            p50=NONE if p50 is None else seconds_words(p50.value_s),
            p95=NONE if p95 is None else seconds_words(p95.value_s),
            memory=size_words(figures.memory_bytes) if figures.memory_bytes else NONE,
        )
