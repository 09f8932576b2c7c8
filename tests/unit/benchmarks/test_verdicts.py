"""The benchmark of verdicts: what it calls wrong, what it is sure of, and that it can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import verdicts
from benchmarks.verdicts import Cell, Install, Kind


def install(kind: Kind, reason: str, **more: Any) -> Install:
    given: dict[str, Any] = {"version": "v", "busy": 8, "threads": 1, "tries": 1, "took_s": 2.0}
    return Install(kind=kind, reason=reason, **{**given, **more})


@pytest.mark.parametrize(
    ("kind", "reason", "is_wrong"),
    [
        ("good", "passed", False),
        ("good", "too_slow", True),
        ("good", "device_busy", True),
        ("slow", "too_slow", False),
        ("slow", "passed", True),
        ("slow", "golden_mismatch", True),
    ],
)
def test_only_the_right_verdict_for_the_right_reason_counts(
    kind: Kind, reason: str, *, is_wrong: bool
) -> None:
    assert install(kind, reason).is_wrong == is_wrong


@pytest.mark.parametrize(
    ("wrong", "count", "most"), [(0, 200, 0.0149), (0, 10, 0.259), (2, 200, 0.0312), (5, 5, 1.0)]
)
def test_what_may_be_behind_so_few_is_the_textbooks(wrong: int, count: int, most: float) -> None:
    assert verdicts.upper_bound(wrong, count) == pytest.approx(most, abs=0.0005)


def test_a_row_has_both_errors_and_what_they_cost() -> None:
    installs = [install("good", "passed"), install("good", "too_slow", tries=3)]
    installs += [install("slow", "too_slow", took_s=5.0)]
    assert verdicts.row(Cell(8, 1), installs) == (
        "| 8 | 1 | 1 of 2 | 97.5 % | 2.00 | 2.0 s | 0 of 1 | 95.0 % | 1.00 | 5.0 s |"
    )
    assert verdicts.HEAD[0].count("|") == verdicts.row(Cell(8, 1), installs).count("|")


def test_what_was_done_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "OUT", tmp_path / "out" / "verdicts.jsonl")
    assert verdicts.read_done() == []
    done = [install("good", "passed"), install("slow", "too_slow", threads=0)]
    for one in done:
        verdicts.append_done(one)
    assert verdicts.read_done() == done


def test_a_slow_model_has_three_times_the_layers_of_a_good_one() -> None:
    good, slow = verdicts.dense(1, verdicts.LAYERS), verdicts.dense(1, 3 * verdicts.LAYERS)
    assert good != verdicts.dense(2, verdicts.LAYERS)
    assert 2.8 < len(slow) / len(good) < 3.1
