"""HotModel holds a LiteRT model as it holds an ONNX one: same calls, figures and switches."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from slotcast_device import HotModel
from slotcast_device.application.app_report import read_reports
from slotcast_device.hotmodel.litert import LitertModel
from slotcast_schemas import wire
from slotcast_schemas.errors import ModelUnloadable
from slotcast_schemas.messages.release import File, Release, Runtime
from slotcast_schemas.model_formats import FEATURE
from tests.support import litert_models, models
from tests.support.probing import run_rows
from tests.support.waiting import wait_until

ROWS = models.inputs(3)


def fill(folder: Path, slot: str, content: bytes, model_format: str, sequence: int) -> None:
    """A slot as the agent leaves it, and `current` that leads to it."""
    name = "m.tflite" if model_format == "litert" else "m.onnx"
    (folder / "slots" / slot).mkdir(parents=True, exist_ok=True)
    (folder / "slots" / slot / name).write_bytes(content)
    release = Release(
        requires=() if model_format == "onnx" else (FEATURE,),
        model="zoo",
        version=f"{sequence}.0",
        sequence=sequence,
        created=0,
        files=(File(path=name, size_bytes=len(content), sha256=bytes(32)),),
        image_size_bytes=len(content),
        image_sha256=bytes(32),
        entry=name,
        runtime=Runtime(format=model_format),
    )
    (folder / "slots" / f"{slot}.release").write_bytes(wire.encode(release))
    (folder / "new").symlink_to(f"slots/{slot}")
    (folder / "new").replace(folder / "current")


def expected(seed: int) -> np.ndarray:
    return run_rows(models.classifier(seed), ROWS)[:, 0]


@pytest.fixture
def hot(tmp_path: Path) -> Iterator[HotModel]:
    fill(tmp_path, "a", litert_models.classifier(1), "litert", 1)
    with HotModel(tmp_path / "current", poll_s=0.01, report_s=0.01) as hot:
        yield hot


def test_it_answers_by_names_as_a_session_does(hot: HotModel) -> None:
    (scores,) = hot.run(["scores"], {"x": ROWS})
    assert np.allclose(scores, expected(1), atol=1e-5)
    (only,) = hot.run(None, {"x": ROWS[:1]})
    assert only.shape == (1, models.CLASSES)
    session = onnxruntime.InferenceSession(models.classifier(1))
    for ours, theirs in (
        (hot.get_inputs(), session.get_inputs()),
        (hot.get_outputs(), session.get_outputs()),
    ):
        assert [(n.name, n.type) for n in ours] == [(n.name, n.type) for n in theirs]


def test_a_switch_from_litert_to_onnx_and_back_loses_no_call(tmp_path: Path, hot: HotModel) -> None:
    """The same program goes on through a change of format: that is what one interface is for."""
    stop, wrong = threading.Event(), list[object]()
    known = [expected(1), expected(2), expected(3)]

    def caller() -> None:
        while not stop.is_set():
            (scores,) = hot.run(["scores"], {"x": ROWS})
            if not any(np.allclose(scores, each, atol=1e-5) for each in known):
                wrong.append(scores)

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for sequence, (slot, content, model_format) in enumerate(
            [
                ("b", models.classifier(2), "onnx"),
                ("a", litert_models.classifier(3), "litert"),
            ],
            start=2,
        ):
            fill(tmp_path, slot, content, model_format, sequence)
            _wait_for_sequence(hot, sequence)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    reports = read_reports(tmp_path / "app").reports
    assert max(report.sequence for report in reports) == 3
    assert sum(report.errors for report in reports) == 0
    assert hot.swaps == 2


def _wait_for_sequence(hot: HotModel, sequence: int) -> None:
    def has_followed() -> bool:
        return hot.release is not None and hot.release.sequence == sequence

    wait_until(has_followed, f"release {sequence} is taken over")


@pytest.mark.parametrize(
    "feed",
    [{"y": ROWS}, {"x": ROWS[:, :5]}, {"x": ROWS.astype(np.float64)}, {}],
    ids=["name", "shape", "type", "nothing"],
)
def test_a_callers_mistake_raises_and_is_not_held_against_the_release(
    hot: HotModel, feed: dict[str, np.ndarray]
) -> None:
    with pytest.raises(ValueError):
        hot.run(None, feed)
    with hot._held() as live:
        assert (live.recorder.errors, live.recorder.invalid) == (0, 1)


def test_callers_that_come_together_get_an_interpreter_each(tmp_path: Path) -> None:
    """An interpreter holds one thread's tensors; two in it at once would mix their answers."""
    path = tmp_path / "m.tflite"
    path.write_bytes(litert_models.classifier(1))
    model, rows = LitertModel(path), models.inputs(8)
    wanted = run_rows(models.classifier(1), rows)[:, 0]
    wrong: list[int] = []

    def caller(index: int) -> None:
        for _ in range(200):
            (scores,) = model.run(None, {"x": rows[index : index + 1]})
            if not np.allclose(scores[0], wanted[index], atol=1e-5):
                wrong.append(index)

    threads = [threading.Thread(target=caller, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_plain_folder_with_a_litert_file_needs_no_agent(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(litert_models.classifier(1))
    with HotModel(tmp_path) as hot:
        assert np.allclose(hot.run(None, {"x": ROWS})[0], expected(1), atol=1e-5)


def test_without_litert_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.tflite").write_bytes(litert_models.classifier(1))
    monkeypatch.delitem(sys.modules, "slotcast_schemas.probe.litert_session", raising=False)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ModelUnloadable, match=r"pip install 'slotcast-device\[litert\]'"):
        HotModel(tmp_path, start_timeout_s=0.5)


def test_a_format_that_programs_of_ones_own_run_is_refused_with_the_way(tmp_path: Path) -> None:
    fill(tmp_path, "a", b"GGUF", "gguf", 1)
    with pytest.raises(ModelUnloadable, match="a program of your own follows it"):
        HotModel(tmp_path / "current", start_timeout_s=0.5)


def test_a_model_whose_file_has_sizes_that_it_cannot_run_on_takes_those_of_its_callers(
    tmp_path: Path,
) -> None:
    (tmp_path / "m.tflite").write_bytes(litert_models.of_any_length(1))
    with HotModel(tmp_path) as hot:
        assert np.allclose(hot.run(None, {"x": ROWS})[0], expected(1), atol=1e-5)
        with pytest.raises(RuntimeError):
            hot.run(None, {"x": ROWS[:, :1]})
        assert np.allclose(hot.run(None, {"x": ROWS[:1]})[0], expected(1)[:1], atol=1e-5)
