"""Which kind of model a release holds, and what it requires of those who take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slotcast_publisher.release.command_samples import take_samples
from slotcast_publisher.release.model_format import (
    check_magic,
    check_options,
    check_prepared_name,
    choose_entry,
    features_of,
)
from slotcast_publisher.release.probe_limits import arithmetic
from slotcast_schemas.errors import ModelUnloadable, UsageError
from slotcast_schemas.messages.release import Runtime
from slotcast_schemas.samples import read_samples
from tests.support import litert_models
from tests.support.model_files import gguf_bytes, tflite_bytes


def files(*names: str) -> dict[str, Path]:
    return {name: Path(name) for name in names}


def write_given(folder: Path, arrays: dict[str, Any]) -> None:
    np.savez(folder / "given.npz", **arrays)


@pytest.mark.parametrize(
    ("wanted", "entry", "names", "chosen"),
    [
        (None, None, ["m.onnx", "labels.txt"], ("onnx", "m.onnx")),
        (None, None, ["m.ort"], ("onnx", "m.ort")),
        (None, None, ["m.tflite", "labels.txt"], ("litert", "m.tflite")),
        (None, None, ["m.gguf"], ("gguf", "m.gguf")),
        (None, None, ["m.onnx", "m.tflite"], ("onnx", "m.onnx")),
        ("litert", None, ["m.onnx", "m.tflite"], ("litert", "m.tflite")),
        (None, "m.tflite", ["m.onnx", "m.tflite"], ("litert", "m.tflite")),
        ("opaque", None, ["net.param"], ("opaque", "net.param")),
        ("opaque_ncnn", "net.param", ["net.param", "net.bin"], ("opaque_ncnn", "net.param")),
        ("gguf", "model.bin", ["model.bin"], ("gguf", "model.bin")),
    ],
)
def test_the_format_is_what_is_said_or_what_the_names_say(
    wanted: str | None, entry: str | None, names: list[str], chosen: tuple[str, str]
) -> None:
    assert choose_entry(wanted, entry, files(*names)) == chosen


@pytest.mark.parametrize(
    ("wanted", "entry", "names", "said"),
    [
        ("lightrt", None, ["m.tflite"], "expected a format of onnx, litert, gguf, opaque"),
        (None, None, ["net.param", "net.bin"], "--format says what kind"),
        ("opaque", None, ["net.param", "net.bin"], "--entry to say which"),
        (None, "other.onnx", ["m.onnx"], "expected one of"),
        (None, None, ["a.onnx", "b.onnx"], r"got \['a.onnx', 'b.onnx'\]"),
    ],
)
def test_what_cannot_be_meant_is_told_with_the_option(
    wanted: str | None, entry: str | None, names: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        choose_entry(wanted, entry, files(*names))


def test_only_what_older_devices_cannot_know_is_required() -> None:
    assert features_of(Runtime()) == ()
    assert features_of(Runtime(format="gguf")) == ("model_format",)
    assert features_of(Runtime(compiled=True)) == ("compiled_model",)


def test_what_is_called_gguf_and_is_none_is_refused_before_devices_do(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes({"w": np.ones((2, 2), np.float32)}))
    check_magic("gguf", path)
    path.write_bytes(b"TFL3 or what else")
    check_magic("opaque", path)
    with pytest.raises(ModelUnloadable, match="not a GGUF file"):
        check_magic("gguf", path)


def test_options_of_onnx_are_refused_with_another_format() -> None:
    check_options("onnx", has_rebase=True, onnxruntime=">=1.17")
    with pytest.raises(UsageError, match="--rebase"):
        check_options("litert", has_rebase=True, onnxruntime="")
    with pytest.raises(UsageError, match="--runtime"):
        check_options("gguf", has_rebase=False, onnxruntime=">=1.17")


def test_given_samples_are_taken_as_they_are_and_told_how_to_compare(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)
    write_given(tmp_path, {"x": rows, "output:y": rows * 2, "labels": rows[:, 0] > 0})
    probe = take_samples(tmp_path / "given.npz", tmp_path / "samples.npz")
    kept = read_samples(tmp_path / "samples.npz")
    assert kept.runs == 16
    assert set(kept.inputs) == {"x"}
    assert np.allclose(np.asarray(kept.outputs["y"]), 2 * np.asarray(kept.inputs["x"]))
    assert (probe.samples, probe.min_cosine, probe.label_output) == ("samples.npz", 0.999, "y")


def test_labels_beside_given_outputs_say_which_accuracy_devices_must_reach(tmp_path: Path) -> None:
    """Else nobody would ever be held to them: nothing here runs the model."""
    scores = np.random.default_rng(1).standard_normal((16, 3)).astype(np.float32)
    labels = scores.argmax(axis=1)
    labels[:4] = (labels[:4] + 1) % 3
    arrays = {"x": scores, "output:boxes": np.ones((16, 9)), "output:y": scores, "labels": labels}
    write_given(tmp_path, arrays)
    probe = take_samples(tmp_path / "given.npz", tmp_path / "samples.npz", "y")
    assert probe.min_accuracy == pytest.approx(12 / 16 - 1 / 16)
    assert probe.label_output == "y"


def test_labels_that_devices_could_not_compare_are_refused_by_the_release(tmp_path: Path) -> None:
    write_given(tmp_path, {"x": np.ones((4, 2)), "output:y": np.ones((4, 5, 3)), "labels": [0] * 4})
    with pytest.raises(UsageError, match="expected one result for each of 4 labels, got 20"):
        take_samples(tmp_path / "given.npz", tmp_path / "samples.npz")


def test_given_samples_must_have_as_many_rows_everywhere(tmp_path: Path) -> None:
    write_given(tmp_path, {"x": np.ones((4, 2)), "output:y": np.ones((3, 2))})
    with pytest.raises(UsageError, match="as many rows everywhere"):
        take_samples(tmp_path / "given.npz", tmp_path / "samples.npz")


def test_litert_is_compared_by_what_its_weights_are(tmp_path: Path) -> None:
    """An int8 model differs from processor to processor by more than a float one."""
    path = tmp_path / "m.tflite"
    path.write_bytes(litert_models.classifier())
    assert arithmetic(path, "litert") == "float32"
    for dtype, found in ((np.int8, "quantised"), (np.float16, "half")):
        path.write_bytes(tflite_bytes({"w": np.ones((16, 16), dtype=dtype)}))
        assert arithmetic(path, "litert") == found


@pytest.mark.parametrize("entry", [None, "m.bin"])
def test_what_onnxruntime_prepared_is_told_the_name_by_which_it_is_opened(
    tmp_path: Path, entry: str | None
) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"\x08\0\0\0ORTM" + bytes(100))
    with pytest.raises(UsageError, match=r"what helps: m\.ort=FILE .*--allow-compiled"):
        check_prepared_name(*choose_prepared(entry, path))


def choose_prepared(entry: str | None, path: Path) -> tuple[str, Path]:
    """Give what a release looks at, of a folder with one file."""
    model_format, _ = choose_entry(None, entry, {path.name: path})
    return model_format, path


def test_only_a_prepared_file_of_onnx_needs_a_name(tmp_path: Path) -> None:
    for name, content in (("m.ort", b"\x08\0\0\0ORTM"), ("m.onnx", b"\x08\x08")):
        (tmp_path / name).write_bytes(content)
        check_prepared_name("onnx", tmp_path / name)
