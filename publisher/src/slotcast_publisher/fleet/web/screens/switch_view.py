"""What a release does over time, each device set to its own switch. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, together
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.plots.course import Course, Line, Switch, course
from slotcast_publisher.fleet.web.words import NONE, seconds_words, share_words, size_words

HOUR_S: Final = 3600
HOURS: Final = 12
"""So many hours before and after the switch are looked at."""
_RATIOS: Final = {"p95 latency": "max_latency_p95_ratio", "Memory": "max_memory_ratio"}


@dataclass(frozen=True, slots=True)
class SwitchHour:
    """One hour, of all devices that have figures of it.

    Attributes:
        hour: since the switch; negative before it.
        is_new: of the new release.
        devices: what each reported.
    """

    hour: int
    is_new: bool
    devices: tuple[ReleaseFigures, ...]


@dataclass(frozen=True, slots=True)
class SwitchRow:
    """An hour of a figure, in words; a dash where a release has none of it."""

    hour: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class SwitchPlot:
    """A figure over time.

    Attributes:
        name: of the figure.
        change: from what to what it went, in words.
        plot: it drawn.
        rows: the same as numbers.
    """

    name: str
    change: str
    plot: Markup
    rows: tuple[SwitchRow, ...]


def switch_plots(hours: Sequence[SwitchHour], view: RolloutView, group: str) -> list[SwitchPlot]:
    """Draw what is known; nothing unless there is an hour of both releases.

    Args:
        hours: before and after the switch.
        view: where the rollout stands.
        group: whose limits are drawn.
    """
    if len({each.is_new for each in hours}) < 2:
        return []
    figures: tuple[tuple[str, Callable[[SwitchHour], float | None], Callable[[float], str]], ...]
    figures = (
        ("p95 latency", p95, seconds_words),
        ("Errors", errors, share_words),
        ("Memory", memory, size_words),
    )
    plots = (_plot(hours, view, group, *each) for each in figures)
    return [plot for plot in plots if plot is not None]


def _plot(
    hours: Sequence[SwitchHour],
    view: RolloutView,
    group: str,
    name: str,
    value_of: Callable[[SwitchHour], float | None],
    words: Callable[[float], str],
) -> SwitchPlot | None:
    old, new = (
        [
            (float(each.hour), value)
            for each in hours
            if each.is_new is is_new and (value := value_of(each)) is not None
        ]
        for is_new in (False, True)
    )
    if not old or not new:
        return None
    before, after = old[-1][1], new[-1][1]
    allowed = _allowed(view, group, _RATIOS.get(name, ""))
    limit = None if allowed is None else before * allowed
    change = f"{words(before)} → {words(after)}"
    found = Course(
        lines=[Line(old, "old-l"), Line(new, "new-l")],
        switches=[Switch(0.0, f"→ {view.version}", "switch")],
        begin_s=min(old[0][0], -1.0),
        end_s=max(new[-1][0], 1.0),
        begin=f"{abs(min(old[0][0], -1.0)):.0f} h before",
        limit=limit,
        limit_words="" if limit is None else f"limit {words(limit)}",
        words=words,
    )
    label = f"{name} by hours from each switch: {change}"
    return SwitchPlot(name, change, course(found, label), tuple(_rows(old, new, words)))


def _rows(
    old: Sequence[tuple[float, float]],
    new: Sequence[tuple[float, float]],
    words: Callable[[float], str],
) -> Iterator[SwitchRow]:
    before, after = dict(old), dict(new)
    for hour in sorted(before.keys() | after.keys()):
        name = "the hour of the switch" if hour == 0 else f"{abs(hour):.0f} h"
        side = "" if hour == 0 else " before" if hour < 0 else " after"
        yield SwitchRow(
            f"{name}{side}",
            words(before[hour]) if hour in before else NONE,
            words(after[hour]) if hour in after else NONE,
        )


def _allowed(view: RolloutView, group: str, key: str) -> float | None:
    found = (each.allowed for each in view.limits if (each.group, each.limit) == (group, key))
    return next(found, None)


def p95(hour: SwitchHour) -> float | None:
    """Give the latency of an hour that 95 % of its calls do not exceed, in seconds."""
    found = together(hour.devices).latency.quantile(0.95)
    return None if found is None else found.value_s


def errors(hour: SwitchHour) -> float | None:
    """Give the share of an hour's calls that raised an error."""
    found = together(hour.devices)
    return found.error_share.value if found.requests else None


def memory(hour: SwitchHour) -> float | None:
    """Give the memory of an hour, the mean of its devices, in bytes."""
    known = [each.memory_bytes for each in hour.devices if each.memory_bytes]
    return fmean(known) if known else None
