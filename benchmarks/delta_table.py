"""Writes docs/deltas.md: what a delta takes of each pair, beside other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BEGIN: Final = '<!-- pairs: written by `make bench ARGS="delta --table docs/deltas.md"` -->'
END: Final = "<!-- end of pairs -->"


@dataclass(frozen=True, slots=True)
class Row:
    """A pair, with what was sent of it.

    Attributes:
        name: of the pair.
        file_bytes: of the new file.
        delta_bytes: of our delta.
        others: of each other tool's patch; a tool that was not asked, or did not end, has none.
    """

    name: str
    file_bytes: int
    delta_bytes: int
    others: Mapping[str, int]


def write_table(page: Path, rows: Sequence[Row]) -> None:
    """Put the table into the page, between its marks."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{_table(rows)}\n\n{END}{rest.split(END)[1]}")


def _table(rows: Sequence[Row]) -> str:
    tools = list(dict.fromkeys(tool for row in rows for tool in row.others))
    heads = ("pair", "file", "Slotcast", *tools)
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for row in rows:
        sizes = [row.delta_bytes, *(row.others.get(tool) for tool in tools)]
        cells = ["" if size is None else f"{size:,}" for size in (row.file_bytes, *sizes)]
        lines.append(f"| {' | '.join([row.name, *cells])} |")
    return "\n".join(lines)
