"""Shares over time, one on top of the other, such as the releases that answer a model's calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.web.plots.canvas import Canvas
from slotcast_publisher.fleet.web.plots.scales import Scale

_WIDTH, _HEIGHT = 440.0, 150.0
_LEFT, _RIGHT = 4.0, 436.0
_TOP, _BOTTOM = 18.0, 130.0
_NAME_CHARS: Final = 12
"""The most characters of a name in the plot."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One of the shares.

    Attributes:
        name: of it.
        values: one for each point in time, none below 0.
        kind: its class.
        begins: the number of the point at which it is new, to be marked; None for none.
    """

    name: str
    values: Sequence[float]
    kind: str
    begins: int | None = None


def areas(layers: Sequence[Layer], begin: str, end: str, label: str) -> Markup:
    """Draw shares over time; where nothing was counted, nothing is drawn.

    Args:
        layers: the lowest first; all of as many values, two at least.
        begin: the left end in words.
        end: the right end in words.
        label: what the plot says, in words.
    """
    canvas = Canvas(_WIDTH, _HEIGHT, label)
    count = len(layers[0].values)
    across, up = Scale(0, count - 1, _LEFT, _RIGHT), Scale(0, 1, _BOTTOM, _TOP)
    totals = [sum(layer.values[n] for layer in layers) for n in range(count)]
    below = [0.0] * count
    for layer in layers:
        above = [
            low + (value / total if total else 0.0)
            for low, value, total in zip(below, layer.values, totals, strict=True)
        ]
        edge = [(across.at(n), up.at(value)) for n, value in enumerate(above)]
        base = [(across.at(n), up.at(value)) for n, value in enumerate(below)]
        canvas.area([*edge, *reversed(base)], f"{layer.kind} cut")
        below = above
    canvas.line([(_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], "ax0")
    canvas.text(begin, _LEFT, _HEIGHT - 4)
    canvas.text(end, _RIGHT, _HEIGHT - 4, "end")
    for layer in layers:
        _mark(canvas, layer, across)
    return canvas.markup()


def _mark(canvas: Canvas, layer: Layer, across: Scale) -> None:
    """Mark where a share is new, unless that is the left end."""
    if not layer.begins:
        return
    x = across.at(layer.begins)
    is_right = x > (_LEFT + _RIGHT) / 2
    canvas.line([(x, 6), (x, _BOTTOM)], "switch")
    name = layer.name if len(layer.name) <= _NAME_CHARS else f"{layer.name[: _NAME_CHARS - 1]}…"
    canvas.text(name, x - 5 if is_right else x + 5, 13, "end" if is_right else "start", "k")
