from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.__main__ import BENCHMARKS, main, models_folder
from benchmarks.report import CannotRun, Figure, Options


def offers(monkeypatch: pytest.MonkeyPatch, name: str, figures: list[Figure]) -> list[Options]:
    """Put a benchmark that gives these figures in the place of a registered one."""
    seen: list[Options] = []

    def run(options: Options) -> list[Figure]:
        seen.append(options)
        assert options.work.is_dir()
        return figures

    module = ModuleType(f"benchmarks.{name}")
    module.run = run  # type: ignore[attr-defined]  # a module is made here
    monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    return seen


def test_all_limits_met_is_success_and_every_figure_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = offers(monkeypatch, "delta", [Figure("bytes", 1.0, "ratio", limit=1.1)])
    out = tmp_path / "figures.json"
    assert main(["delta", "--quick", "--json", str(out), "--models", str(tmp_path)]) == 0
    (result,) = json.loads(out.read_text())["results"]
    assert result["figures"][0]["is_met"] is True
    assert result["figures"][0]["command"] == "python -m benchmarks delta --quick"
    assert seen[0].quick
    assert not seen[0].work.exists()


def test_a_missed_limit_is_exit_code_1_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offers(monkeypatch, "delta", [Figure("too many bytes", 2.0, "ratio", limit=1.1)])
    assert main(["delta"]) == 1
    assert "missed: too many bytes" in capsys.readouterr().out


def test_a_benchmark_that_cannot_run_is_said_so_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["nonsense"]) == 2
    assert f"expected one of {', '.join(BENCHMARKS)}, got 'nonsense'" in capsys.readouterr().out


def test_a_folder_of_models_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLOTCAST_MODELS", str(tmp_path / "none"))
    with pytest.raises(CannotRun, match="expected a folder"):
        models_folder(None)
    assert models_folder(tmp_path) == tmp_path


def test_without_a_word_there_is_no_folder_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLOTCAST_MODELS", raising=False)
    assert models_folder(None) is None
