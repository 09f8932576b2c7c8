"""Draws chosen acts of the story as a terminal, in SVG: a picture of what was really printed.

Rich's own picture asks another host for its font; this one names those of the reader's system, and
asks nobody. Lines that are too long end with an ellipsis.
"""

from __future__ import annotations

import io
import re
from collections.abc import Container
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.terminal_theme import MONOKAI

_WIDTH_CHARS: Final = 100
_FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


class Picture:
    """What was printed in some acts, and at the end.

    Args:
        acts: the numbers of those that are drawn.
    """

    def __init__(self, acts: Container[int]) -> None:
        self._acts = acts
        self._is_drawn = False
        self._console = Console(
            record=True,
            width=_WIDTH_CHARS,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            highlight=False,
        )

    def turn_to(self, act: int) -> None:
        """Begin an act."""
        self._is_drawn = act in self._acts

    def turn_to_end(self) -> None:
        """Leave the last act: what comes now is drawn."""
        self._is_drawn = True

    def print(self, what: Any) -> None:
        """Draw a line or a table, if the act is one of those chosen."""
        if self._is_drawn:
            self._console.print(what, no_wrap=True, overflow="ellipsis")

    def write(self, file: Path, title: str) -> None:
        """Write the picture.

        Args:
            file: an SVG file; its folder is made.
            title: what the window is called.
        """
        svg = self._console.export_svg(title=title, theme=MONOKAI, unique_id="demo")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_with_own_fonts(svg), encoding="utf-8")


def _with_own_fonts(svg: str) -> str:
    """Take out what would be fetched, and name the reader's own fonts."""
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    svg = svg.replace("Fira Code, monospace", _FONT).replace(
        "<!-- Generated with Rich", "<!-- Rich"
    )
    return re.sub(r"\n\s*\n+", "\n", svg)
