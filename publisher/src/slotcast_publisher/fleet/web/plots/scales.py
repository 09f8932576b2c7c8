"""Where a value lies on an axis, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_LOG_STEPS: Final = (1.0, 2.0, 5.0)
"""The steps between two marks of an axis, within a power of ten."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places.

    Attributes:
        low: the value at `start`.
        high: the value at `end`.
        start: its place.
        end: its place.
        is_log: each step along it is so many times more, not so much more.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Give the place of a value; what lies outside is put at the nearer end."""
        low, high, found = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, found = math.log(low), math.log(high), math.log(found)
        part = (found - low) / (high - low) if high > low else 0.0
        return self.start + (self.end - self.start) * part


def ticks(high: float, count: int = 4) -> Sequence[float]:
    """Give round values from 0 to what `high` needs, about so many.

    Args:
        high: the largest value that is shown; above 0.
        count: how many are wanted.
    """
    rough = high / max(1, count)
    size = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(s * size for s in _STEPS if s * size >= rough)
    return [step * n for n in range(math.ceil(high / step - 1e-9) + 1)]


def log_ticks(low: float, high: float) -> Sequence[float]:
    """Give 1, 2 and 5 times the powers of ten between two values, both above 0.

    Args:
        low: the smallest value that is shown.
        high: the largest.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**power for power in powers for step in _LOG_STEPS]
    return [value for value in found if low <= value <= high]
