"""A bar of parts, such as the devices of a group by their states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from slotcast_publisher.fleet.web.plots.canvas import Canvas
from slotcast_publisher.fleet.web.words import count_words


@dataclass(frozen=True, slots=True)
class BarPart:
    """So many of something.

    Attributes:
        name: of it, in words.
        count: how many.
        kind: its class; `#NAME` for a pattern of the page.
    """

    name: str
    count: int
    kind: str


def bar(parts: Sequence[BarPart], height: int = 16, label: str = "") -> Markup:
    """Draw parts beside each other, each as wide as its share.

    Args:
        parts: in their order; those of nothing are left out.
        height: in pixels.
        label: what it says; the parts in words unless given.
    """
    there = [part for part in parts if part.count > 0]
    words = label or ", ".join(f"{count_words(p.count)} {p.name}" for p in there) or "no devices"
    canvas = Canvas(100, height, words, "cell-bar")
    canvas.in_percent()
    total = sum(part.count for part in there)
    if not total:
        canvas.box("0%", 0.5, "100%", height - 1, "f-none")
    begin = 0.0
    for part in there:
        width = 100.0 * part.count / total
        is_outline = part.kind == "f-none"
        top, tall = (0.5, height - 1) if is_outline else (0, height)
        canvas.box(f"{begin:.2f}%", top, f"{width:.2f}%", tall, part.kind)
        if begin > 0:
            canvas.cut(f"{begin:.2f}%", height)
        begin += width
    return canvas.markup()
