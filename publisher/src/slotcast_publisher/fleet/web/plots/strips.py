"""A limit as a strip: the limit is always in the middle, so that one look down a table tells.

Left of the red line holds, right of it is broken. The dot is the figure, the bar where the true one
lies with the confidence asked for. Broken means that the whole bar is past the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.web.plots.canvas import Canvas

_WIDTH: Final = 132
_HEIGHT: Final = 18
"""The size of a strip, in units of the drawing."""
_MIDDLE: Final = _HEIGHT / 2


@dataclass(frozen=True, slots=True)
class LimitStrip:
    """A figure beside its limit.

    Attributes:
        value: what was seen.
        low: the true one is not below this; None where nothing was estimated.
        high: nor above this.
        limit: what is allowed.
        is_broken: whether it is beyond chance.
    """

    value: float
    low: float | None
    high: float | None
    limit: float
    is_broken: bool


def strip(found: LimitStrip, label: str) -> Markup:
    """Draw a figure beside its limit.

    Args:
        found: the figure.
        label: the same in words.
    """
    canvas = Canvas(_WIDTH, _HEIGHT, label, "strip")
    canvas.line([(0, _MIDDLE), (_WIDTH, _MIDDLE)], "ax")
    mark = "-bad" if found.is_broken else ""
    low = found.value if found.low is None else found.low
    high = found.value if found.high is None else found.high
    if high > low:
        canvas.line([(_at(found, low), _MIDDLE), (_at(found, high), _MIDDLE)], f"ci{mark}")
    canvas.dot(_at(found, found.value), _MIDDLE, f"dot{mark}")
    canvas.line([(_WIDTH / 2, 1), (_WIDTH / 2, _HEIGHT - 1)], "limit")
    return canvas.markup()


def _at(found: LimitStrip, value: float) -> float:
    """Where a value lies: the limit in the middle, nothing at the left end."""
    if found.limit <= 0:  # nothing at all is allowed
        return _WIDTH / 2 if value <= found.limit else _WIDTH * 0.82
    part = value / found.limit / 2
    return min(max(part, 0.0), 1.0) * _WIDTH
