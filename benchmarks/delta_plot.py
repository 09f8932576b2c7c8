"""Draws the table of docs/patch-sizes.md: `python -m benchmarks.delta_plot` writes the picture.

Each bar is a patch as a share of the new file. The picture has its own paper and ink, light or dark
as the reader's system is, so that it can be read on any page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from benchmarks.delta_table import BEGIN, END, Row

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "patch-sizes.md"
PICTURE: Final = ROOT / "docs" / "images" / "patch-sizes.svg"
OURS: Final = "Slotcast"

CHANGES: Final = {
    "c_v1 to c_v2": "fp32: every weight moved",
    "t_v1_fp16 to t_full_fp16": "fp16: every weight moved",
    "c_v1_int8 to c_v2_int8": "int8: quantised again",
    "t_v1 to t_lora": "a merged LoRA",
    "c_v1 to c_head": "the last layer alone",
    "t_v1 to t_v1_other_exporter": "another exporter",
}
"""Pairs that are drawn, from top to bottom, and in words what was done to the model."""

_WIDTH, _LEFT, _RIGHT, _TOP = 1000, 235, 70, 66
_BAR, _GAP = 13, 20
_STYLE: Final = """
svg { --paper: #ffffff; --line: #c3ccd4; --ink: #1d2730; --soft: #5a6772; --ours: #0f6674;
  --t0: #9aa5ae; --t1: #b4bdc5; --t2: #ccd3d9; --t3: #dfe4e8; }
@media (prefers-color-scheme: dark) { svg { --paper: #0f151b; --line: #3b4853; --ink: #e6ebef;
  --soft: #a3b0bb; --ours: #5cc1d0; --t0: #7d8994; --t1: #66727c; --t2: #525d67; --t3: #414b54; } }
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  font-size: 13px; fill: var(--ink); }
.small { font-size: 11.5px; fill: var(--soft); }
.end { text-anchor: end; } .middle { text-anchor: middle; } .bold { font-weight: 700; }
.ours { fill: var(--ours); } .t0 { fill: var(--t0); } .t1 { fill: var(--t1); }
.t2 { fill: var(--t2); } .t3 { fill: var(--t3); }
.paper { fill: var(--paper); stroke: var(--line); } .grid { stroke: var(--line); }
"""


def read_rows(page: Path) -> list[Row]:
    """Read back the table that `delta_table.write_table` wrote.

    Raises:
        ValueError: there is none; the page says which command writes it.
    """
    table = page.read_text(encoding="utf-8").split(BEGIN)[-1].split(END)[0]
    lines = [line.strip("| ").split(" | ") for line in table.strip().splitlines()]
    if len(lines) < 3:
        raise ValueError(f"expected a table of pairs in {page}, got none")
    head, rows = lines[0], lines[2:]
    return [_row(head, cells) for cells in rows]


def _row(head: list[str], cells: list[str]) -> Row:
    sizes = [int(cell.replace(",", "")) if cell.strip() else None for cell in cells[1:]]
    sizes += [None] * (len(head) - 1 - len(sizes))
    others = {
        tool: size for tool, size in zip(head[3:], sizes[2:], strict=True) if size is not None
    }
    file_bytes, delta_bytes = sizes[:2]
    assert file_bytes is not None
    assert delta_bytes is not None
    return Row(cells[0], file_bytes, delta_bytes, others)


def draw(rows: list[Row]) -> str:
    """Give the picture of the pairs that `CHANGES` names, as SVG."""
    by_name = {row.name: row for row in rows}
    drawn = [by_name[name] for name in CHANGES if name in by_name]
    tools = list(dict.fromkeys(tool for row in drawn for tool in row.others))
    height = _TOP + sum(_BAR * (1 + len(row.others)) + _GAP for row in drawn) + 20
    svg = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_WIDTH} {height}")
    svg.set("role", "img")
    ET.SubElement(svg, "title").text = "Patch sizes, as a share of the new file"
    ET.SubElement(svg, "desc").text = " ".join(_in_words(drawn))
    ET.SubElement(svg, "style").text = _STYLE
    box = {"x": "0.5", "y": "0.5", "width": f"{_WIDTH - 1}", "height": f"{height - 1}", "rx": "10"}
    ET.SubElement(svg, "rect", {**box, "class": "paper"})
    _legend(svg, tools)
    _grid(svg, height)
    y = _TOP
    for row in drawn:
        y = _group(svg, row, tools, y) + _GAP
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"


def _in_words(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        sizes = {OURS: row.delta_bytes, **row.others}
        shares = ", ".join(f"{tool} {_share(size, row)}" for tool, size in sizes.items())
        yield f"{CHANGES[row.name]}: {shares}."


def _share(size_bytes: int, row: Row) -> str:
    percent = 100 * size_bytes / row.file_bytes
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def _legend(svg: ET.Element, tools: list[str]) -> None:
    _text(svg, 24, 32, "Bytes to send, as a share of the new file", "bold")
    x = _LEFT + 130
    for css, name in (("ours", OURS), *((f"t{number}", tool) for number, tool in enumerate(tools))):
        _bar(svg, x, 22, 12, css)
        _text(svg, x + 18, 32, name, "")
        x += 40 + 8 * len(name)


def _grid(svg: ET.Element, height: int) -> None:
    for percent in (0, 25, 50, 75, 100):
        x = _x(percent / 100)
        line = {"x1": f"{x}", "x2": f"{x}", "y1": f"{_TOP - 8}", "y2": f"{height - 14}"}
        ET.SubElement(svg, "line", {**line, "class": "grid"})
        _text(svg, x, _TOP - 12, f"{percent} %", "small middle")


def _group(svg: ET.Element, row: Row, tools: list[str], y: int) -> int:
    sizes = [("ours", row.delta_bytes)]
    sizes += [(f"t{tools.index(tool)}", size) for tool, size in row.others.items()]
    middle = y + _BAR * len(sizes) / 2
    _text(svg, _LEFT - 14, middle, CHANGES[row.name], "end bold")
    _text(svg, _LEFT - 14, middle + 16, f"{row.file_bytes / 1e6:.1f} MB", "end small")
    for css, size in sizes:
        width = _x(size / row.file_bytes) - _LEFT
        _bar(svg, _LEFT, y + 1, width, css)
        weight = "bold" if css == "ours" else "small"
        _text(svg, _LEFT + width + 6, y + 11, _share(size, row), weight)
        y += _BAR
    return y


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _bar(svg: ET.Element, x: float, y: float, width: float, css: str) -> None:
    place = {"x": f"{x}", "y": f"{y}", "width": f"{max(width, 1):.1f}", "height": f"{_BAR - 2}"}
    ET.SubElement(svg, "rect", {**place, "class": css})


def _text(svg: ET.Element, x: float, y: float, text: str, css: str) -> None:
    ET.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": css}).text = text


def main() -> int:
    """Write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(read_rows(PAGE)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
