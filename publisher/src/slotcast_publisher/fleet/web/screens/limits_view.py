"""The limits of a group as rows: the figures of both releases, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.rollout.limit_words import (
    ALL_GROUPS,
    LimitKind,
    Unit,
    in_unit,
    limit_kind,
)
from slotcast_publisher.fleet.steering.evidence import GroupFigures, SumView
from slotcast_publisher.fleet.steering.overview_types import LimitView
from slotcast_publisher.fleet.web import words
from slotcast_publisher.fleet.web.plots.strips import LimitStrip, strip


class ShownFigure(StrEnum):
    """What is shown of either release beside a limit."""

    NOTHING = ""
    ERRORS = "errors"
    NONFINITE = "nonfinite"
    P50 = "p50"
    P95 = "p95"
    MEMORY = "memory"
    LOAD = "load"
    MEAN = "mean"


FIGURES: Final[Mapping[str, ShownFigure]] = {
    "max_error_share": ShownFigure.ERRORS,
    "max_error_share_rise": ShownFigure.ERRORS,
    "max_nonfinite_share": ShownFigure.NONFINITE,
    "max_nonfinite_share_rise": ShownFigure.NONFINITE,
    "max_latency_p50_ratio": ShownFigure.P50,
    "max_latency_p95_ratio": ShownFigure.P95,
    "max_memory_ratio": ShownFigure.MEMORY,
    "max_load_time_ratio": ShownFigure.LOAD,
    "max_output_mean_shift": ShownFigure.MEAN,
}
"""What stands beside a limit, by its key; nothing beside others."""


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit, as a row.

    Attributes:
        group: that it is in; empty for all groups together.
        key: of the plan.
        name: in words.
        on: what it is on, in words.
        old: the figure of the release before, where it has one.
        new: of the new release.
        now: what is held against the limit.
        limit: what is allowed.
        margin: how far it is from the limit.
        interval: between what it lies.
        strip: the same, drawn.
        verdict: `holds`, `broken`, `accepted` or `not sure yet`.
        words: what is held against the limit, and what is allowed.
        over_all: the figure of all devices together, where single ones broke the limit.
    """

    group: str
    key: str
    name: str
    on: str
    old: str
    new: str
    now: str
    limit: str
    margin: str
    interval: str
    strip: Markup
    verdict: str
    words: str
    over_all: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether it stands in the way."""
        return self.verdict == "broken"


def limit_rows(
    limits: Iterable[LimitView], figures: Iterable[GroupFigures], group: str
) -> list[LimitRow]:
    """Give the rows of a group, and those of others that are broken; the broken ones first.

    Args:
        limits: of all groups.
        figures: likewise.
        group: that is looked at.
    """
    by_group = {each.group: each for each in figures}
    shown = [v for v in limits if v.group in {group, ALL_GROUPS} or v.broken]
    rows = [_row(view, by_group.get(view.group)) for view in shown]
    order = {"broken": 0, "accepted": 1, "not sure yet": 2, "holds": 3}
    return sorted(rows, key=lambda row: order[row.verdict])


def _row(view: LimitView, figures: GroupFigures | None) -> LimitRow:
    kind = limit_kind(view.limit)
    verdict = _verdict(view, kind)
    is_seen = bool(view.observed)
    low, high = (view.low, view.high) if is_seen else (None, None)
    found = LimitStrip(view.value, low, high, view.allowed, verdict == "broken")
    interval = _interval(view, kind)
    allowed = in_unit(kind.unit, view.allowed)
    old, new = (None, None) if figures is None else (figures.old, figures.new)
    figure = FIGURES.get(view.limit, ShownFigure.NOTHING)
    return LimitRow(
        group="" if view.group == ALL_GROUPS else view.group,
        key=view.limit,
        name=kind.name,
        on=_on(view, kind),
        old=_figure(figure, old),
        new=_figure(figure, new),
        now=in_unit(kind.unit, view.value),
        limit=allowed,
        margin=_margin(view, kind),
        interval=interval,
        strip=strip(found, f"{interval or in_unit(kind.unit, view.value)}, limit {allowed}"),
        verdict=verdict,
        words=view.found.words,
        over_all="" if view.devices_allowed is None else view.found.sum_words,
    )


def _verdict(view: LimitView, kind: LimitKind) -> str:
    if view.broken:
        return "accepted" if view.accepted else "broken"
    if not view.observed:
        return "not sure yet"
    if kind.unit is Unit.COUNT:
        return "holds"
    high = view.value if view.high is None else view.high
    return "holds" if high <= view.allowed else "not sure yet"


def _margin(view: LimitView, kind: LimitKind) -> str:
    if view.broken and view.value <= view.allowed and view.over:
        return f"{words.of_words(view.over, view.observed)} over"
    left = view.allowed - view.value
    return f"{in_unit(kind.unit, abs(left))} {'over' if left < 0 else 'left'}"


def _interval(view: LimitView, kind: LimitKind) -> str:
    if kind.unit is Unit.COUNT:
        return "exact"
    if view.low is None or view.high is None or not view.observed:
        return ""
    low = in_unit(kind.unit, view.low)
    return f"{low} to {in_unit(kind.unit, view.high)}"


def _on(view: LimitView, kind: LimitKind) -> str:
    devices = words.devices_words(view.observed)
    match view.limit:
        case "max_failed_share":
            return f"{words.count_words(view.value * view.observed)} of {devices} that ended"
        case "stop_after_failures":
            return "in all groups together"
        case "max_silent_share_rise":
            return f"{view.over or 0} of {devices}; less the fleet's own share in the same time"
    over = "" if not view.over else f"; {view.over} above it by themselves"
    if kind.unit in {Unit.RATIO, Unit.DEVIATIONS}:
        return f"same {devices}{over}"
    return f"{devices}{over}"


def _figure(figure: ShownFigure, found: SumView | None) -> str:
    """Give what one release does; a dash where nothing is known, nothing where it has no figure."""
    if figure is ShownFigure.NOTHING:
        return ""
    if found is None:
        return words.NONE
    value: float | None
    match figure:
        case ShownFigure.ERRORS:
            return words.share_words(found.errors / found.requests) if found.requests else "–"
        case ShownFigure.NONFINITE:
            return words.share_words(found.nonfinite / found.requests) if found.requests else "–"
        case ShownFigure.P50 | ShownFigure.P95:
            value = found.p50_s if figure is ShownFigure.P50 else found.p95_s
            return words.NONE if value is None else words.seconds_words(value)
        case ShownFigure.MEMORY:
            return words.size_words(found.memory_bytes) if found.memory_bytes else words.NONE
        case ShownFigure.LOAD:
            return words.seconds_words(found.load_s) if found.load_s else words.NONE
        case _:
            return words.NONE if found.output_mean is None else f"{found.output_mean:.3g}"
