"""What README has a beginner type first says what is wrong with the folder, before it trains."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from examples import train_digits


def test_a_folder_that_cannot_be_made_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["train_digits", str(tmp_path / "file" / "try")])
    with pytest.raises(SystemExit) as ended:
        train_digits.main()
    assert ended.value.code == 2
    assert "Not a directory; name another one" in capsys.readouterr().err
