"""Latency old beside new: the drawing, and the same as a table for those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_publisher.fleet.steering.evidence import GroupFigures, SumView, TagView
from slotcast_publisher.fleet.steering.overview_types import LimitView, RolloutView
from slotcast_publisher.fleet.web.plots.distribution import Curve, distribution
from slotcast_publisher.fleet.web.words import NONE, ratio_words, seconds_words
from slotcast_schemas.plural import several

_P95: Final = "max_latency_p95_ratio"
_ROW_MIN: Final = 5e-4
"""A bucket with a smaller share of both releases is no row of the table."""


@dataclass(frozen=True, slots=True)
class BucketRow:
    """A bucket of latency, in words."""

    upto: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class SlowRow:
    """The p95 of devices with a value of a tag, in words."""

    tag: str
    query: str
    devices: int
    old: str
    new: str
    ratio: str
    is_found: bool


@dataclass(frozen=True, slots=True)
class LatencyView:
    """The distributions of a group.

    Attributes:
        plot: both, drawn.
        of: which devices, in words.
        old_calls: how many calls of the release before; empty where there are none.
        new_calls: of the new release.
        has_limit: whether the limit of p95 is drawn.
        rows: the same as numbers.
        slow: by tag; empty where no tag parts slow devices from others.
    """

    plot: Markup
    of: str
    old_calls: str
    new_calls: str
    has_limit: bool
    rows: tuple[BucketRow, ...]
    slow: tuple[SlowRow, ...]


def latency_view(view: RolloutView, group: str) -> LatencyView | None:
    """Give the distributions of a group; None where nobody has reported a latency.

    Args:
        view: where the rollout stands.
        group: of it.
    """
    figures = next((each for each in view.figures if each.group == group), None)
    if figures is None:
        return None
    new = _curve(view.version, figures.new)
    old = None if figures.old is None else _curve(view.before or "before", figures.old)
    if new is None:
        return None
    limit = next((each for each in view.limits if (each.group, each.limit) == (group, _P95)), None)
    limit_s = None if limit is None or old is None else old.p95_s * limit.allowed
    return LatencyView(
        plot=distribution(GRID_S, old, new, limit_s, _label(old, new, limit)),
        of=_devices(figures),
        old_calls="" if figures.old is None else several(figures.old.requests, "call"),
        new_calls=several(figures.new.requests, "call"),
        has_limit=limit_s is not None,
        rows=tuple(_rows(old, new)),
        slow=tuple(_slow(tag) for tag in figures.slow),
    )


def _devices(figures: GroupFigures) -> str:
    devices = several(figures.new.devices, "device")
    return f"same {devices}, share of calls" if figures.old is not None else f"{devices}, no old"


def _curve(name: str, found: SumView) -> Curve | None:
    total = sum(found.counts)
    if not total or found.p50_s is None or found.p95_s is None:
        return None
    shares = [count / total for count in found.counts]
    return Curve(name, shares, max(found.p50_s, 1e-6), max(found.p95_s, 1e-6))


def _label(old: Curve | None, new: Curve, limit: LimitView | None) -> str:
    def said(curve: Curve) -> str:
        return f"{curve.name}: p50 {seconds_words(curve.p50_s)}, p95 {seconds_words(curve.p95_s)}"

    allowed = "" if limit is None else f"; p95 may be {ratio_words(limit.allowed)} the old one"
    return f"{'' if old is None else f'{said(old)}; '}{said(new)}{allowed}"


def _rows(old: Curve | None, new: Curve) -> Sequence[BucketRow]:
    rows = []
    for number, share in enumerate(new.shares):
        before = 0.0 if old is None else old.shares[number]
        if max(share, before) < _ROW_MIN:
            continue
        is_last = number >= len(GRID_S)
        upto = f"above {seconds_words(GRID_S[-1])}" if is_last else seconds_words(GRID_S[number])
        rows.append(BucketRow(upto, NONE if old is None else f"{before:.1%}", f"{share:.1%}"))
    return rows


def _slow(tag: TagView) -> SlowRow:
    ratio = tag.new_s / tag.old_s if tag.new_s and tag.old_s else None
    return SlowRow(
        tag=f"{tag.key}={tag.value}",
        query=f"{tag.key}={tag.value}",
        devices=tag.devices,
        old=NONE if tag.old_s is None else seconds_words(tag.old_s),
        new=NONE if tag.new_s is None else seconds_words(tag.new_s),
        ratio=NONE if ratio is None else ratio_words(ratio),
        is_found=tag.is_found,
    )
