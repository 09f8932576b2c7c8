"""A figure over time, such as latency: a line for each release, and marks where it was switched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.web.plots.canvas import Canvas
from slotcast_publisher.fleet.web.plots.scales import Scale, ticks

_WIDTH, _HEIGHT = 440.0, 256.0
_LEFT, _RIGHT = 60.0, 436.0
_TOP, _BOTTOM = 22.0, 234.0
_ROOM: Final = 1.12
"""The axis ends so much above the largest value."""
_NEAR: Final = 58.0
"""Two texts nearer to each other than this would lie over each other."""
_NAME_CHARS: Final = 12
"""The most characters of a name in the plot."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        points: times, in seconds since 1970, and values; rising in time.
        kind: its class.
    """

    points: Sequence[tuple[float, float]]
    kind: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Another release began to serve.

    Attributes:
        at_s: when, in seconds since 1970.
        name: of the release.
        time: the same time in words.
    """

    at_s: float
    name: str
    time: str


@dataclass(frozen=True, slots=True)
class Course:
    """What is drawn.

    Attributes:
        lines: at least one with a point.
        switches: by time.
        begin_s: the left end, in seconds since 1970.
        end_s: the right end.
        begin: the left end in words.
        limit: the most that is allowed; None without.
        limit_words: what stands at the limit.
        words: gives a value in its unit.
    """

    lines: Sequence[Line]
    switches: Sequence[Switch]
    begin_s: float
    end_s: float
    begin: str
    limit: float | None
    limit_words: str
    words: Callable[[float], str]


def course(found: Course, label: str) -> Markup:
    """Draw a figure over time.

    Args:
        found: what is drawn.
        label: the same in words.
    """
    canvas = Canvas(_WIDTH, _HEIGHT, label)
    values = [value for line in found.lines for _, value in line.points]
    highest = max([*values, found.limit or 0.0, 1e-9])
    up = Scale(0.0, highest * _ROOM, _BOTTOM, _TOP)
    across = Scale(found.begin_s, max(found.end_s, found.begin_s + 1), _LEFT, _RIGHT)
    _draw_axes(canvas, found, up, highest)
    for line in found.lines:
        places = [(across.at(at_s), up.at(value)) for at_s, value in line.points]
        if len(places) == 1:
            canvas.dot(*places[0], line.kind)
        else:
            canvas.line(places, line.kind)
    _draw_switches(canvas, found, across)
    if found.limit is not None:
        y = up.at(found.limit)
        canvas.line([(_LEFT, y), (_RIGHT, y)], "limit")
        canvas.text(found.limit_words, _LEFT + 6, y - 5, "start", "kb")
    return canvas.markup()


def _draw_axes(canvas: Canvas, found: Course, up: Scale, highest: float) -> None:
    for value in ticks(highest):
        if value > up.high:
            continue
        y = up.at(value)
        canvas.line([(_LEFT, y), (_RIGHT, y)], "ax" if value else "ax0")
        canvas.text(found.words(value) if value else "0", _LEFT - 7, y + 4, "end")
    canvas.text(found.begin, _LEFT, _HEIGHT - 5)


def _draw_switches(canvas: Canvas, found: Course, across: Scale) -> None:
    """Draw an upright line for each, and write only what does not lie over what was written."""
    named, timed = -_NEAR, _LEFT
    for switch in found.switches:
        x = across.at(switch.at_s)
        canvas.line([(x, 4), (x, _BOTTOM)], "switch")
        if x - named >= _NEAR:
            name = switch.name if len(switch.name) <= _NAME_CHARS else f"{switch.name[:11]}…"
            is_right = x + _NEAR > _RIGHT
            canvas.text(name, x - 5 if is_right else x + 5, 14, "end" if is_right else "start", "k")
            named = x
        if x - timed >= _NEAR:
            canvas.text(switch.time, x, _HEIGHT - 5, "middle")
            timed = x
