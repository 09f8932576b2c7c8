"""From p50 to p95 as a line in a table's cell, all rows by one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from slotcast_publisher.fleet.web.plots.scales import log_ticks

_HEIGHT: Final = 18
_MIDDLE: Final = _HEIGHT // 2
_EDGE: Final = 4.0
"""So many percent are left free at either end."""


@dataclass(frozen=True, slots=True)
class Range:
    """The axis: each step along it is so many times more."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Give the place of a value, in percent."""
        if not 0 < self.low < self.high:
            return 50.0
        part = math.log(min(max(value, self.low), self.high) / self.low)
        return _EDGE + (100 - 2 * _EDGE) * part / math.log(self.high / self.low)


def range_bar(axis: Range, low: float, high: float, kind: str, label: str) -> Markup:
    """Draw a line from one value to another, with a dot at the first.

    Args:
        axis: of all rows.
        low: where the dot is.
        high: where the line ends.
        kind: `new` or `old`.
        label: the same in words.
    """
    first, last = axis.at(low), axis.at(high)
    ticks = "".join(
        f'<line class="ax" x1="{axis.at(tick):.2f}%" x2="{axis.at(tick):.2f}%" y2="{_HEIGHT}"/>'
        for tick in (log_ticks(axis.low, axis.high) if 0 < axis.low < axis.high else ())
    )
    line, fill = f"{escape(kind)}-l", f"f-{escape(kind)}"
    return Markup(  # noqa: S704 - numbers, and words that are escaped
        f'<svg class="cell-bar" width="100%" height="{_HEIGHT}" role="img"'
        f' aria-label="{escape(label)}">{ticks}'
        f'<line class="{line}" x1="{first:.2f}%" x2="{last:.2f}%" y1="{_MIDDLE}" y2="{_MIDDLE}"/>'
        f'<circle class="{fill}" cx="{first:.2f}%" cy="{_MIDDLE}" r="3.5"/>'
        f'<line class="{line}" x1="{last:.2f}%" x2="{last:.2f}%" y1="3" y2="15"/></svg>'
    )
