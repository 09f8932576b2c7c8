from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.device_run import Run
from benchmarks.transfer_against import _figures
from tests.unit.benchmarks.test_main import offers


def made_run(took_s: float, processor_s: float, peak_rss_bytes: int) -> Run:
    lines = [(0.0, "connected"), (1.0, "collecting 1.0"), (1.0 + took_s, "is verified in slot a")]
    used = [9.0, 10.0, 10.0 + processor_s]
    return Run(peak_rss_bytes=peak_rss_bytes, processor_s=1.0, lines=lines, used=used)


def test_each_turn_is_compared_by_itself_and_the_median_is_told() -> None:
    busy = (made_run(9.0, 0.3, 90_000_000), made_run(3.0, 0.1, 60_000_000))
    calm = (made_run(1.0, 0.4, 60_000_000), made_run(2.0, 0.2, 60_000_000))
    speed, transfer, everything, memory = _figures("small", [busy, calm, calm])
    assert speed.value == pytest.approx(2.0)
    assert transfer.value == pytest.approx(2.0)
    assert everything.value == pytest.approx(1.0)
    assert memory.value == pytest.approx(1.0)
    assert "3 turns" in speed.note


def test_the_checkout_and_the_turns_are_handed_on_and_named_in_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = offers(monkeypatch, "transfer", [])
    assert main(["transfer", "--against", str(tmp_path), "--tries", "3"]) == 0
    assert (seen[0].against, seen[0].tries) == (tmp_path, 3)
    assert f"transfer --against {tmp_path} --tries 3" in capsys.readouterr().out
