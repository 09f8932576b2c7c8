"""A child that was forked from a warm process is judged as one that was started anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slotcast_publisher.release.model_check import check_model
from slotcast_schemas.errors import ModelUnloadable
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import run_probe
from tests.support import models
from tests.support.probing import request, slot
from tests.support.warm_children import warm_children

SHORT = Probe(timeout_s=2.0, runs=5)


@pytest.fixture(autouse=True, scope="module")
def warm() -> Iterator[None]:
    with warm_children():
        yield


@pytest.mark.parametrize(
    ("model", "reason", "detail"),
    [
        (models.crashes_runtime(), "probe_crashed", "SIG"),
        (models.endless_allocation(), "too_much_memory", ""),
        (models.hangs(), "probe_timeout", "'run'"),
        (models.not_a_number(), "nonfinite_output", ""),
    ],
    ids=["crashes", "eats memory", "hangs", "not a number"],
)
def test_a_bad_model_is_refused_for_its_own_reason(
    tmp_path: Path, model: bytes, reason: str, detail: str
) -> None:
    pids: list[int] = []
    probe = SHORT if reason == "probe_timeout" else Probe(runs=5)
    result = run_probe(request(tmp_path, model, probe=probe), on_start=pids.append)
    assert (result.reason, result.blames_model) == (reason, True), result.detail
    assert detail in result.detail
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_child_that_is_always_killed_says_nothing_about_the_model(tmp_path: Path) -> None:
    result = run_probe(request(tmp_path, models.classifier()), on_start=lambda pid: os.kill(pid, 9))
    assert (result.reason, result.blames_model) == ("probe_killed", False)


def test_a_release_knows_a_good_model_and_one_that_crashes(tmp_path: Path) -> None:
    good = slot(tmp_path / "good", models.classifier())
    assert [tensor.name for tensor in check_model(Path(good.slot), "model.onnx").outputs]
    bad = slot(tmp_path / "bad", models.crashes_runtime())
    with pytest.raises(ModelUnloadable, match="SIG"):
        check_model(Path(bad.slot), "model.onnx")


def test_a_child_with_another_environment_starts_as_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "libraries" / "onnxruntime"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libgomp.so.1: cannot open it')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    result = run_probe(request(tmp_path / "slots", models.classifier()))
    assert not result.passed
    assert "libgomp" in result.detail
