"""The plot of patch sizes says what the table of docs/patch-sizes.md says."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.delta_plot import CHANGES, PAGE, PICTURE, draw, read_rows
from benchmarks.delta_table import BEGIN, END, Row, write_table

SVG = "{http://www.w3.org/2000/svg}"
PAIR = next(iter(CHANGES))
ROWS = [
    Row(PAIR, 1000, 250, {"bsdiff4": 1000, "zstd": 500}),
    Row("no pair that is drawn", 1000, 1, {"bsdiff4": 2}),
]


def bars(svg: str) -> dict[str, list[float]]:
    """The widths of the bars of each kind; the first of a kind is that of the legend."""
    widths: dict[str, list[float]] = {}
    for rect in ET.fromstring(svg).iter(f"{SVG}rect"):
        widths.setdefault(rect.get("class", ""), []).append(float(rect.get("width", "")))
    return {kind: found[1:] for kind, found in widths.items()}


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [*ROWS, Row("not all tools", 2_000_000, 1_000, {"zstd": 7})]
    page = tmp_path / "deltas.md"
    page.write_text(f"# Deltas\n\n{BEGIN}\n{END}\nmore\n")
    write_table(page, rows)
    assert read_rows(page) == rows


def test_a_bar_is_as_long_as_its_share_of_the_file() -> None:
    widths = bars(draw(ROWS))
    whole = widths["t0"][0]
    assert widths["ours"] == [pytest.approx(whole / 4, abs=0.2)]
    assert widths["t1"] == [pytest.approx(whole / 2, abs=0.2)]


def test_an_empty_page_says_what_writes_its_table(tmp_path: Path) -> None:
    page = tmp_path / "deltas.md"
    page.write_text(f"{BEGIN}\n\n{END}\n")
    with pytest.raises(ValueError, match="expected a table of pairs"):
        read_rows(page)


def test_the_picture_is_in_step_with_the_page() -> None:
    drawn = draw(read_rows(PAGE))
    assert PICTURE.read_text(encoding="utf-8") == drawn, "run `python -m benchmarks.delta_plot`"
    assert all(change in drawn for change in CHANGES.values())
