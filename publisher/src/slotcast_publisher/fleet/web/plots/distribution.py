"""Two distributions of latency, one over the other: the release before, and the new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.web.plots.canvas import Canvas, Point
from slotcast_publisher.fleet.web.plots.scales import Scale, log_ticks
from slotcast_publisher.fleet.web.words import seconds_words, tick_words

_WIDTH, _HEIGHT = 640.0, 300.0
_TOP, _BOTTOM = 62.0, 272.0
_LEFT, _RIGHT = 8.0, 632.0
_TAIL: Final = 2e-3
"""A bucket at either end with a smaller share of the requests than that is left out."""
_ROOM: Final = 118.0
"""The units that the label of a quantile needs beside its line."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A distribution.

    Attributes:
        name: of the release.
        shares: of the requests, by bucket.
        p50_s: the latency that half of them do not exceed.
        p95_s: that 95 % do not exceed.
    """

    name: str
    shares: Sequence[float]
    p50_s: float
    p95_s: float


def distribution(
    bounds_s: Sequence[float], old: Curve | None, new: Curve, limit_s: float | None, label: str
) -> Markup:
    """Draw one or two distributions by the same buckets.

    Args:
        bounds_s: upper ends of the buckets, rising; what is above the last is in one more bucket.
        old: the release before; None where there is none.
        new: the release that is looked at.
        limit_s: where the limit of p95 lies; None without.
        label: the same in words.
    """
    curves = [curve for curve in (old, new) if curve is not None]
    first, last = _ends(curves, len(bounds_s))
    edges = [_edge(bounds_s, n) for n in range(first, last + 2)]
    marks = [curve.p95_s for curve in curves] + ([limit_s] if limit_s else [])
    across = Scale(
        min(edges[0], *(c.p50_s for c in curves)),
        max(edges[-1], *marks),
        _LEFT,
        _RIGHT,
        is_log=True,
    )
    highest = max(max(curve.shares) for curve in curves) or 1.0
    up = Scale(0, highest, _BOTTOM, _TOP)
    canvas = Canvas(_WIDTH, _HEIGHT, label)
    for value in log_ticks(across.low, across.high):
        canvas.line([(across.at(value), _TOP - 6), (across.at(value), _BOTTOM)], "ax")
        canvas.text(tick_words(value), across.at(value), _HEIGHT - 8, "middle")
    for curve, kind in zip(curves, ("old", "new") if old else ("new",), strict=True):
        steps = _steps(curve.shares[first : last + 1], edges, across, up)
        canvas.area([(steps[0][0], _BOTTOM), *steps, (steps[-1][0], _BOTTOM)], kind)
    canvas.line([(_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], "ax0")
    _quantiles(canvas, across, old, new, limit_s)
    return canvas.markup()


def _quantiles(
    canvas: Canvas, across: Scale, old: Curve | None, new: Curve, limit_s: float | None
) -> None:
    """Write p50 and p95 of each release, and the limit, each in a row of its own above its line."""
    marks = [(new.p50_s, f"p50 {seconds_words(new.p50_s)}", "new-l thin", "ka", 30.0)]
    marks.append((new.p95_s, f"p95 {seconds_words(new.p95_s)}", "new-l thin", "ka", 12.0))
    if old is not None:
        marks.append((old.p50_s, f"p50 {seconds_words(old.p50_s)}", "old-l thin", "", 30.0))
        marks.append((old.p95_s, f"p95 {seconds_words(old.p95_s)}", "old-l thin", "", 12.0))
    if limit_s is not None:
        marks.append((limit_s, f"limit {seconds_words(limit_s)}", "limit", "kb", 48.0))
    for value, words, line, kind, row in marks:
        x = across.at(value)
        is_left = line.startswith("old") or x > _RIGHT - _ROOM
        if is_left and x < _LEFT + _ROOM:
            is_left = False
        canvas.line([(x, row - 10), (x, _BOTTOM)], line)
        canvas.text(words, x - 5 if is_left else x + 5, row, "end" if is_left else "start", kind)


def _ends(curves: Sequence[Curve], last: int) -> tuple[int, int]:
    """Between which buckets there is anything to see, with one more at either side."""
    there = [n for n in range(last + 1) if any(curve.shares[n] >= _TAIL for curve in curves)]
    if not there:
        return 0, last
    return max(0, there[0] - 1), min(last, there[-1] + 1)


def _edge(bounds_s: Sequence[float], number: int) -> float:
    """The lower end of a bucket; the first and the one above all bounds are as wide as others."""
    ratio = bounds_s[1] / bounds_s[0]
    if number == 0:
        return bounds_s[0] / ratio
    return bounds_s[number - 1] if number <= len(bounds_s) else bounds_s[-1] * ratio


def _steps(
    shares: Sequence[float], edges: Sequence[float], across: Scale, up: Scale
) -> list[Point]:
    points: list[Point] = []
    for number, share in enumerate(shares):
        points.append((across.at(edges[number]), up.at(share)))
        points.append((across.at(edges[number + 1]), up.at(share)))
    return points
