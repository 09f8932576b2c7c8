"""A drawing: what every plot is made with. Colours are classes of the stylesheet, never styles.

drawsvg makes the elements; it escapes texts, and attributes are escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

import drawsvg
from markupsafe import Markup

from slotcast_publisher.fleet.web.text import shown

Point = tuple[float, float]
"""In the drawing's own units, from its upper left corner."""
_EMPTY_DEFS: Final = "<defs>\n</defs>\n"
_NAMESPACE: Final = (
    ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"\n    '
)
"""What stands in a file of its own, and nobody needs inside a page."""


class Canvas:
    """A drawing of so many units.

    Args:
        width: in units.
        height: in units.
        label: what the drawing says, for those who cannot see it.
        kind: its class.
    """

    def __init__(self, width: float, height: float, label: str, kind: str = "plot") -> None:
        self._drawing: Any = drawsvg.Drawing(width, height)
        self._drawing.svg_args |= {
            "class": kind,
            "role": "img",
            "aria-label": escape(shown(label)),
        }

    def size(self, width: str, height: str) -> None:
        """Give it a size on the page; without, it has that of its units.

        Args:
            width: such as `100%`.
            height: such as `16`.
        """
        self._drawing.svg_args |= {"width": width, "height": height}

    def in_percent(self) -> None:
        """Have it be as wide as there is room; what is drawn across is then in percent."""
        self._drawing.svg_args |= {"width": "100%", "viewBox": None}

    def box(self, x: float | str, y: float, width: float | str, height: float, kind: str) -> None:
        """Draw a rectangle.

        Args:
            x: of its left side.
            y: of its upper side.
            width: of it.
            height: of it.
            kind: its class; `#NAME` for a pattern of the page.
        """
        self._add(drawsvg.Rectangle(x, y, width, height, **_looks(kind)))

    def line(self, points: Iterable[Point], kind: str) -> None:
        """Draw a line through points, one after the other.

        Args:
            points: at least two.
            kind: its class.
        """
        self._add(drawsvg.Path(d=_through(list(points)), **_looks(kind)))

    def area(self, points: Iterable[Point], kind: str) -> None:
        """Fill what a line through points encloses.

        Args:
            points: at least three.
            kind: its class.
        """
        self._add(drawsvg.Path(d=_through(list(points)) + "Z", **_looks(kind)))

    def cut(self, x: str, height: float) -> None:
        """Draw an upright line that sets two parts of a bar apart, in percent.

        Args:
            x: where.
            height: of it.
        """
        made = drawsvg.Raw(f'<line x1="{escape(x)}" x2="{escape(x)}" y2="{height:g}" class="cut"/>')
        self._add(made)

    def dot(self, x: float, y: float, kind: str) -> None:
        """Draw a dot.

        Args:
            x: of its middle.
            y: of its middle.
            kind: its class.
        """
        self._add(drawsvg.Circle(_short(x), _short(y), 3.6, **_looks(kind)))

    def text(self, words: str, x: float, y: float, anchor: str = "start", kind: str = "") -> None:
        """Write a text.

        Args:
            words: bounded, and made visible, here.
            x: of its anchor.
            y: of its base line.
            anchor: `start`, `middle` or `end`.
            kind: its class.
        """
        looks = _looks(kind) if kind else {}
        place = {"x": _short(x), "y": _short(y)}
        self._add(drawsvg.Text(shown(words), None, text_anchor=anchor, **place, **looks))

    def markup(self) -> Markup:
        """Give it as a part of a page."""
        made: str = self._drawing.as_svg(header="")
        return Markup(made.replace(_EMPTY_DEFS, "").replace(_NAMESPACE, "").strip())  # noqa: S704

    def _add(self, element: Any) -> None:
        self._drawing.append(element)


def _looks(kind: str) -> dict[str, str]:
    if kind.startswith("#"):
        return {"fill": f"url({escape(kind)})"}
    return {"class_": escape(kind)}


def _through(points: Sequence[Point]) -> str:
    places = (f"{_short(x):g} {_short(y):g}" for x, y in points)
    return "M" + "L".join(places)


def _short(value: float) -> float:
    """A tenth of a unit is finer than a screen."""
    return round(value, 1)
