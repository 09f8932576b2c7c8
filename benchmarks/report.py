"""What a benchmark says, and how that is shown: figures, limits, tables.

It decides whether a limit is met and how a figure is printed; what is measured is left to the
modules (benchmarks/README.md has the API in full).
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

Better = Literal["<=", "<", ">=", ">", "=="]

_COMPARE: Final[Mapping[Better, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
}


class CannotRun(Exception):
    """Something that the benchmark needs is not there; the message says what and who can act."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. With a `limit`, `value better limit` must hold."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    better: Better = "<="
    note: str = ""
    command: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the limit is met; None where there is no limit. NaN meets none."""
        return None if self.limit is None else _COMPARE[self.better](self.value, self.limit)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks of every benchmark (benchmarks/README.md)."""

    work: Path
    quick: bool = False
    models: Path | None = None
    seed: int = 1
    installs: int | None = None
    only: str = ""
    table: Path | None = None
    devices: int | None = None
    against: Path | None = None
    tries: int | None = None
    command: str = field(default="python -m benchmarks")

    def say(self, line: str) -> None:
        """Print one line of progress on standard error, where it cannot spoil a table."""
        sys.stderr.write(f"  {line}\n")
        sys.stderr.flush()


def with_command(figures: Sequence[Figure], command: str) -> list[Figure]:
    """Give the figures with the command that prints them, where a module did not name its own."""
    return [figure if figure.command else replace(figure, command=command) for figure in figures]


def as_json(name: str, figures: Sequence[Figure]) -> dict[str, object]:
    """Give one benchmark's figures as plain values; `is_met` is null where there is no limit."""
    return {
        "benchmark": name,
        "figures": [{**asdict(figure), "is_met": figure.is_met} for figure in figures],
    }


def table(title: str, figures: Sequence[Figure]) -> str:
    """Lay the figures out as a text table, one line each, ending in a newline."""
    rows: list[tuple[str, ...]] = [("figure", "value", "unit", "limit", "met", "note")]
    rows += [_row(figure) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    rule = "-" * max(len(line) for line in lines)
    return "\n".join([title, rule, lines[0], rule, *lines[1:], rule]) + "\n"


def number(value: float) -> str:
    """Print a number with four significant digits, thousands apart, no needless zeros."""
    if value != value or value in {float("inf"), float("-inf")}:
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _row(figure: Figure) -> tuple[str, ...]:
    limit = "" if figure.limit is None else f"{figure.better} {number(figure.limit)}"
    met = {None: "", True: "yes", False: "NO"}[figure.is_met]
    return (figure.name, number(figure.value), figure.unit, limit, met, figure.note)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    right = {1, 3}
    cells = [
        cell.rjust(width) if column in right else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
