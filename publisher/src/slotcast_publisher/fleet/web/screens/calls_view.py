"""Which releases answered a model's calls over the last days, as shares. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.web.plots.areas import Layer, areas
from slotcast_publisher.fleet.web.words import share_words

DAYS: Final = 30
"""So far back do the plots go."""
POINTS: Final = 60
"""The number of points in time of a plot."""
STEP_S: Final = DAYS * 86400 // POINTS
"""The seconds between two of them."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that a release answered in a step of time.

    Attributes:
        step: which, counted in `STEP_S` since 1970.
    """

    model: str
    sequence: int
    step: int
    requests: int


@dataclass(frozen=True, slots=True)
class CallsRow:
    """A step of time: when it began, and the share of each release in its calls."""

    at_s: int
    shares: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallsPlot:
    """Which releases answered a model's calls, drawn and as numbers.

    Attributes:
        versions: the columns of the rows.
        rows: the newest first; steps without a call are left out.
    """

    plot: Markup
    versions: tuple[str, ...]
    rows: tuple[CallsRow, ...]


def calls_plots(
    calls: Sequence[Calls],
    names: Mapping[tuple[str, int], str],
    kinds: Mapping[tuple[str, str], str],
    now_s: float,
) -> dict[str, CallsPlot]:
    """Draw for each model which releases answered its calls; none of one that has less than a day.

    Args:
        calls: of the last days.
        names: the version of each sequence, by model.
        kinds: the look of each version that is named beside the plot, by model.
        now_s: seconds since 1970.
    """
    found = {}
    last = int(now_s) // STEP_S
    for model in sorted({each.model for each in calls}):
        mine = [each for each in calls if each.model == model]
        first = max(min(each.step for each in mine), last - POINTS + 1)
        if last - first < 2:
            continue
        layers = _layers(mine, model, names, kinds, first, last)
        days = (last - first + 1) * STEP_S / 86400
        newest = max(layers, key=lambda layer: layer.values[-1])
        share = share_words(_last_share(layers, newest))
        label = f"{model}: {newest.name} answers {share} of its calls"
        begin = f"{days:.0f} days ago" if days >= 2 else "a day ago"
        found[model] = CallsPlot(
            areas(layers, begin, "now", label),
            tuple(layer.name for layer in layers),
            tuple(_rows(layers, first)),
        )
    return found


def _rows(layers: Sequence[Layer], first: int) -> Iterator[CallsRow]:
    for step in range(len(layers[0].values) - 1, -1, -1):
        total = sum(layer.values[step] for layer in layers)
        if total:
            shares = (share_words(layer.values[step] / total) for layer in layers)
            yield CallsRow((first + step) * STEP_S, tuple(shares))


def _last_share(layers: Sequence[Layer], one: Layer) -> float:
    total = sum(layer.values[-1] for layer in layers)
    return one.values[-1] / total if total else 0.0


def _layers(
    calls: Sequence[Calls],
    model: str,
    names: Mapping[tuple[str, int], str],
    kinds: Mapping[tuple[str, str], str],
    first: int,
    last: int,
) -> list[Layer]:
    """Give a layer for each release, the oldest lowest; those without a name together."""
    values: dict[str, list[float]] = {}
    for each in sorted(calls, key=lambda each: each.sequence):
        name = names.get((model, each.sequence), "")
        name = name if (model, name) in kinds else "older"
        row = values.setdefault(name, [0.0] * (last - first + 1))
        if first <= each.step <= last:
            row[each.step - first] += each.requests
    for row in values.values():
        row[-1] = row[-1] or row[-2]  # the present step has only begun
    return [
        Layer(name, row, kinds.get((model, name), "f-3"), _begins(row))
        for name, row in values.items()
        if any(row)
    ]


def _begins(row: Sequence[float]) -> int | None:
    return next((number for number, value in enumerate(row) if value), None)
