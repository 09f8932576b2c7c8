"""`slotcast delta`: figures for people and for programs, from processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import typer

from slotcast_publisher.cli.delta import register
from slotcast_schemas.errors import UsageError
from tests.support.cli_runner import CliRunner
from tests.support.deltas import model_bytes


def _app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def _pair(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(1)
    old = rng.standard_normal((200, 200)).astype(np.float32)
    for name, weights in (("old", old), ("new", old * np.float32(1.001))):
        (folder / name).mkdir()
        (folder / name / "m.onnx").write_bytes(model_bytes({"w": weights}))
        (folder / name / "labels.txt").write_text("cat\ndog\n")
    return folder / "old", folder / "new"


def test_json_has_every_figure(tmp_path: Path) -> None:
    old, new = _pair(tmp_path)
    done = CliRunner().invoke(_app(), [str(old), str(new), "--json"])
    assert done.exit_code == 0, done.output
    fields = json.loads(done.stdout)
    size_bytes = sum(path.stat().st_size for path in new.iterdir())
    assert fields["identical"] is True
    assert fields["old_bytes"] == fields["new_bytes"] == size_bytes
    assert 0 < fields["patch_bytes"] < size_bytes
    for step in ("create", "apply"):
        assert fields[f"{step}_cpu_s"] > 0
        # The decoder holds at least a strip; numpy alone is more than 10 MB of the whole.
        assert 100_000 < fields[f"{step}_peak_bytes"] < fields[f"{step}_resident_bytes"] - 5_000_000
    rows = {row["kind"]: row for row in fields["segments"]}
    assert sum(row["target_bytes"] for row in rows.values()) == size_bytes
    assert sum(row["coded_bytes"] for row in rows.values()) > 0.8 * fields["patch_bytes"]


def test_people_get_a_table(tmp_path: Path) -> None:
    old, new = _pair(tmp_path)
    done = CliRunner().invoke(_app(), [str(old / "m.onnx"), str(new / "m.onnx")])
    assert done.exit_code == 0, done.output
    assert "identical when applied" in done.stdout
    assert "float32" in done.stdout


def test_a_missing_file_is_wrong_use(tmp_path: Path) -> None:
    done = CliRunner().invoke(_app(), [str(tmp_path / "none"), str(tmp_path / "none")])
    assert isinstance(done.exception, UsageError)
    assert "expected a file or a folder" in str(done.exception)
