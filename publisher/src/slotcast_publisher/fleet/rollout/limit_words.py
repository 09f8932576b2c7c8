"""What is said of a limit, in one place for the log, alarms, commands and the page.

A limit on a live figure is broken in one of two ways: all devices together are above it, or too
many single ones are while the sum still holds. The sentence names the one that it was: the figure
of all together would not explain a pause that single devices caused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from slotcast_publisher.fleet.figures.figure_words import (
    count_words,
    devices_words,
    of_words,
    ratio_words,
    share_words,
)
from slotcast_schemas.plural import part_of

ALL_GROUPS: Final = "*"
"""Stands for all groups together where a group is named."""
SILENT: Final = "max_silent_share_rise"
_REASON: Final = "max_share_by_reason."


class Unit(StrEnum):
    """What a limit is counted in."""

    SHARE = "share"
    RATIO = "ratio"
    COUNT = "count"
    DEVIATIONS = "deviations"


@dataclass(frozen=True, slots=True)
class LimitKind:
    """A limit of a plan, in words.

    Attributes:
        name: of what it is on.
        unit: it is counted in.
    """

    name: str
    unit: Unit


LIMIT_KINDS: Final[Mapping[str, LimitKind]] = {
    "max_failed_share": LimitKind("Did not take it", Unit.SHARE),
    "stop_after_failures": LimitKind("Failures, counted", Unit.COUNT),
    SILENT: LimitKind("Silent after the switch", Unit.SHARE),
    "max_error_share": LimitKind("Errors", Unit.SHARE),
    "max_error_share_rise": LimitKind("Errors, more than before", Unit.SHARE),
    "max_nonfinite_share": LimitKind("Outputs that are not finite", Unit.SHARE),
    "max_nonfinite_share_rise": LimitKind(
        "Outputs that are not finite, more than before", Unit.SHARE
    ),
    "max_latency_p50_ratio": LimitKind("Latency p50", Unit.RATIO),
    "max_latency_p95_ratio": LimitKind("Latency p95", Unit.RATIO),
    "max_memory_ratio": LimitKind("Memory", Unit.RATIO),
    "max_load_time_ratio": LimitKind("Load time", Unit.RATIO),
    "max_output_mean_shift": LimitKind("Output mean, shift", Unit.DEVIATIONS),
    "max_output_std_ratio": LimitKind("Output deviation", Unit.RATIO),
}
"""The limits of a plan, by their keys."""


def limit_kind(limit: str) -> LimitKind:
    """Give a limit of a plan in words; one for a single reason of failures has its name in it."""
    if limit.startswith(_REASON):
        return LimitKind(f"Failed: {limit.removeprefix(_REASON)}", Unit.SHARE)
    return LIMIT_KINDS.get(limit, LimitKind(limit, Unit.RATIO))


def in_unit(unit: Unit, value: float) -> str:
    """Give a figure in the unit of its limit.

    Args:
        unit: of the limit.
        value: the figure.
    """
    match unit:
        case Unit.SHARE:
            return share_words(value)
        case Unit.RATIO:
            return ratio_words(value)
        case Unit.COUNT:
            return count_words(value)
        case _:
            return f"{value:.3g} dev."


@dataclass(frozen=True, slots=True)
class LimitFound:
    """A limit, and what was found of it.

    Attributes:
        limit: the plan's key.
        value: over all devices together.
        allowed: what the plan allows.
        observed: how many devices that is on.
        over: of those, the ones that are above the limit by themselves; None where the limit is not
            on single devices.
        devices_allowed: the share of devices that may be, where those broke the limit and all
            together did not.
    """

    limit: str
    value: float
    allowed: float
    observed: int
    over: int | None = None
    devices_allowed: float | None = None

    @property
    def words(self) -> str:
        """Say what is held against the limit: single devices if those broke it, or the sum."""
        unit = limit_kind(self.limit).unit
        allowed = in_unit(unit, self.allowed)
        if unit is Unit.COUNT:
            return f"{devices_words(round(self.value))} failed, and {allowed} stop it"
        if self.devices_allowed is None or self.over is None:
            return f"{in_unit(unit, self.value)} where {allowed} is allowed"
        are = "is" if self.over == 1 else "are"
        return (
            f"{part_of(self.over, self.observed, 'device')} {are} above {allowed} by themselves"
            f" ({share_words(self.devices_allowed)} of devices allowed)"
        )

    @property
    def sum_words(self) -> str:
        """Give the figure of all devices together, which the limit need not be broken by."""
        return f"{in_unit(limit_kind(self.limit).unit, self.value)} over all of them"

    def full_words(self, low: float | None, confidence: float) -> str:
        """Say it with what it rests on.

        Args:
            low: with this confidence, the true figure of all together is not below it; None where
                nobody need know.
            confidence: of the plan.
        """
        if self.devices_allowed is not None and self.over is not None:
            return f"{self.words}; {self.sum_words}"
        unit = limit_kind(self.limit).unit
        if unit is Unit.COUNT:
            return self.words
        sure = (
            "" if low is None else f"; at {confidence:.3g} confidence at least {in_unit(unit, low)}"
        )
        return f"{self.words} ({devices_words(self.observed)}{sure}){self._single_devices()}"

    def _single_devices(self) -> str:
        if self.over is None:
            return ""
        are = "is" if self.over == 1 else "are"
        what = "silent" if self.limit == SILENT else "above it by themselves"
        return f"; {of_words(self.over, self.observed)} {are} {what}"
