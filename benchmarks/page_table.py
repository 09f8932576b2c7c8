"""The table of docs/page-speed.md, written from one whole run of `page`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.report import CannotRun, Figure, number

if TYPE_CHECKING:
    from benchmarks.page import Timed

BEGIN: Final = '<!-- times: written by `make bench ARGS="page --table docs/page-speed.md"` -->'
END: Final = "<!-- end of times -->"


def write_table(
    page: Path, timed: Mapping[str, Sequence[Timed]], figures: Sequence[Figure], devices: int
) -> None:
    """Put the tables into the page, between its marks.

    Args:
        page: the document.
        timed: what was asked for, by database; the same in each.
        figures: of the whole run.
        devices: how many there were.

    Raises:
        CannotRun: it has no such marks.
    """
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise CannotRun(f"{page}: expected the marks {BEGIN} and {END}")
    before, rest = text.split(BEGIN)
    names = {f"{kind}: {each.ask.name}" for kind, its in timed.items() for each in its}
    others = [figure for figure in figures if figure.name not in names]
    lines = [BEGIN, "", _conditions(devices), "", *_times(timed), "", *_others(others), "", END]
    page.write_text(before + "\n".join(lines) + rest.split(END)[1])


def _conditions(devices: int) -> str:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    waiting = os.getloadavg()[2]
    return f"{devices:,} devices. {machine}; {waiting:.1f} processes at work or waiting on average."


def _times(timed: Mapping[str, Sequence[Timed]]) -> Iterator[str]:
    kinds = list(timed)
    yield f"| milliseconds | {' | '.join(f'{k}, p95 | median | processor' for k in kinds)} |"
    yield f"|---|{'---:|' * 3 * len(kinds)}"
    for same in zip(*timed.values(), strict=True):
        cells = [f"{t.p95_ms:.0f} | {t.median_ms:.0f} | {t.cpu_ms:.0f}" for t in same]
        yield f"| {same[0].ask.name} | {' | '.join(cells)} |"


def _others(figures: Sequence[Figure]) -> Iterator[str]:
    yield "| | | |"
    yield "|---|---:|---|"
    for figure in figures:
        yield f"| {figure.name} | {number(figure.value)} {figure.unit} | {figure.note} |"
