"""What other delta tools came to is measured once, kept, and put into a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import delta_rivals
from benchmarks.delta_rivals import BSDIFF, Peers
from benchmarks.delta_table import BEGIN, END, Row, write_table


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(bytes(range(256)) * 8)
    new.write_bytes(bytes(range(256)) * 8 + b"more")
    return old, new


def test_a_tool_is_run_once_on_a_pair(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    said: list[str] = []
    kept = tmp_path / "out" / "peers.jsonl"
    first = Peers(tmp_path, kept, said.append).runs("pair", *pair, [BSDIFF])
    assert first[BSDIFF].patch_bytes < 500
    again = Peers(tmp_path, kept, said.append).runs("pair", *pair, [BSDIFF])
    assert again == first
    assert said == [f"pair: {BSDIFF}"]


def test_a_tool_that_takes_too_long_has_no_figure_and_is_not_asked_again(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_rivals, "TIMEOUT_S", 0.0)
    said: list[str] = []
    kept = tmp_path / "peers.jsonl"
    assert Peers(tmp_path, kept, said.append).runs("pair", *pair, [BSDIFF]) == {}
    assert "within 0 s" in said[-1]
    monkeypatch.undo()
    assert Peers(tmp_path, kept, said.append).runs("pair", *pair, [BSDIFF]) == {}
    assert len(said) == 2


def test_the_table_stands_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "deltas.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_table(page, [Row("a to b", 1000, 10, {"bsdiff4": 20}), Row("c to d", 50, 5, {})])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "| a to b | 1,000 | 10 | 20 |" in text
    assert "| c to d | 50 | 5 |  |" in text
    assert "old" not in text
