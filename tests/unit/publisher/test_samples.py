"""Samples: what the publisher writes is what a device checks, and it says what will be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from slotcast_publisher.release import sample_runs
from slotcast_publisher.release.golden_samples import make_samples
from slotcast_publisher.release.probe_limits import arithmetic
from slotcast_publisher.release.sample_runs import load_model
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from slotcast_schemas.probe.onnx_session import OnnxSession
from slotcast_schemas.probe.runtime import Feed
from slotcast_schemas.samples import Samples, read_samples
from tests.support import models, typed_models
from tests.support.probing import run_rows


def _model(tmp_path: Path, model: bytes) -> Path:
    (tmp_path / "model.onnx").write_bytes(model)
    return tmp_path


def _user(tmp_path: Path, **arrays: np.ndarray) -> Path:
    path = tmp_path / "user.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub mistakes names for options
    return path


def test_a_device_accepts_what_the_publisher_saw(tmp_path: Path) -> None:
    folder = _model(tmp_path, models.classifier())
    user = _user(tmp_path, x=models.inputs(100), labels=models.labels(runs=100))
    probe = make_samples(folder, "model.onnx", user, folder / "samples.npz", seed=1)
    assert probe.samples == "samples.npz"
    assert probe.min_accuracy == pytest.approx(1 - 1 / 16)
    assert probe.label_output == "scores"
    candidate = SlotModel(str(folder), "model.onnx")
    model = load_model(candidate)
    request = ProbeRequest(
        candidate=candidate, inputs=model.inputs, outputs=model.outputs, probe=probe
    )
    result = run_probe(request)
    assert result.passed, result.detail
    assert {"golden", "cosine", "accuracy"} <= {check.name for check in result.checks}


def test_a_model_damaged_after_its_samples_were_made_is_refused(tmp_path: Path) -> None:
    folder = _model(tmp_path, models.classifier())
    probe = make_samples(folder, "model.onnx", None, folder / "samples.npz", seed=1)
    _model(tmp_path, models.damaged_weights())
    request = ProbeRequest(candidate=SlotModel(str(folder), "model.onnx"), probe=probe)
    assert run_probe(request).reason == "golden_mismatch"


def test_a_model_that_loads_only_with_the_shortcut_of_old_kernels_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of efficientword-net 1.0.5, of which onnxruntime makes some weights twice."""

    def open_session(path: Path, *, threads: int, entries: object = None) -> OnnxSession:
        if entries:
            raise RuntimeError("Attempt to replace the existing tensor")
        return OnnxSession(path, threads=threads)

    monkeypatch.setattr(sample_runs, "OnnxSession", open_session)
    folder = _model(tmp_path, models.classifier())
    probe = make_samples(folder, "model.onnx", None, folder / "samples.npz", seed=1)
    assert probe.samples == "samples.npz"
    _model(tmp_path, b"no model")
    with pytest.raises(UsageError, match="expected a model that its runtime loads"):
        make_samples(folder, "model.onnx", None, folder / "samples.npz", seed=1)


@pytest.mark.parametrize(("is_made", "count"), [(True, 3), (False, 6)])
def test_made_runs_end_before_one_that_is_not_finite_where_enough_are(
    is_made: bool, count: int
) -> None:
    class UpToTwo:
        def run(self, feed: Feed) -> dict[str, np.ndarray]:
            x = np.asarray(feed["x"])
            return {"y": np.where(x > 2, np.nan, x)}

    session: Any = UpToTwo()
    samples = Samples({"x": np.arange(6.0).reshape(6, 1)})
    runs = sample_runs.run_samples(session, samples, 1 << 20, 1 << 20, is_made=is_made)
    assert len(runs) == count


def test_outputs_that_the_user_knows_win_over_what_the_model_says(tmp_path: Path) -> None:
    rows = models.inputs(8)
    true = run_rows(models.classifier(), rows)
    folder = _model(tmp_path, models.damaged_weights())
    user = _user(tmp_path, **{"x": rows, "output:scores": true[:, 0, :]})
    warnings: list[str] = []
    out = folder / "samples.npz"
    make_samples(folder, "model.onnx", user, out, seed=1, warn=warnings.append)
    assert any("differs" in warning for warning in warnings)
    np.testing.assert_array_equal(read_samples(out).outputs["scores"], true)


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    folder = _model(tmp_path, models.classifier())
    files = [tmp_path / name for name in ("one.npz", "two.npz", "other.npz")]
    for file, seed in zip(files, (5, 5, 6), strict=True):
        make_samples(folder, "model.onnx", None, file, seed=seed)
    first, second, other = (file.read_bytes() for file in files)
    assert first == second != other
    assert read_samples(files[0]).runs == 16


def test_samples_stay_within_their_size(tmp_path: Path) -> None:
    folder = _model(tmp_path, models.classifier())
    out = tmp_path / "samples.npz"
    make_samples(folder, "model.onnx", None, out, seed=1, max_bytes=1000)
    samples = read_samples(out)
    one_run_bytes = 4 * (models.FEATURES + models.CLASSES)
    assert samples.runs == 1000 // one_run_bytes
    assert samples.size_bytes <= 1000


def test_batches_and_single_rows_are_cut_into_runs(tmp_path: Path) -> None:
    folder = _model(tmp_path, models.classifier())
    out = tmp_path / "samples.npz"
    for array in (models.inputs(6), models.inputs(6).reshape(3, 2, models.FEATURES)):
        make_samples(folder, "model.onnx", _user(tmp_path, x=array), out, seed=1)
        samples = read_samples(out)
        assert samples.runs == len(array)
        rows = np.asarray(samples.inputs["x"]).reshape(-1, models.FEATURES)
        assert rows.tolist() == models.inputs(6).tolist()


def test_what_devices_would_refuse_is_said_beforehand(tmp_path: Path) -> None:
    for model, word in ((models.not_a_number(), "NaN"), (models.constant_output(), "the same")):
        warnings: list[str] = []
        folder = _model(tmp_path, model)
        make_samples(folder, "model.onnx", None, tmp_path / "s.npz", seed=1, warn=warnings.append)
        assert word in " ".join(warnings)


def _scaled(scale: float) -> bytes:
    """A model that answers 0.5 and its input times `scale`."""
    tensors = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in (("scale", scale), ("half", 0.5))
    ]
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "scaled", [x], [y], initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize(("scale", "is_said"), [(1e-6, True), (1.0, False)])
def test_samples_that_tell_nothing_of_the_model_are_said_to(
    tmp_path: Path, scale: float, is_said: bool
) -> None:
    warnings: list[str] = []
    folder = _model(tmp_path, _scaled(scale))
    make_samples(folder, "model.onnx", None, tmp_path / "s.npz", seed=1, warn=warnings.append)
    said = [text for text in warnings if "a damaged model may pass too" in text]
    assert bool(said) == is_said
    assert all("--samples" in text and "--range" in text for text in said)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": models.inputs()}, "expected an array 'x'"),
        ({"x": models.inputs()[:, :5]}, "expected rows of shape"),
        ({"x": models.inputs()[:0]}, "rows"),
        ({"x": models.inputs(), "labels": np.zeros(3, np.int64)}, "multiple of 16"),
        ({"x": np.array([{}], dtype=object)}, "plain"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_both_sides(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    folder = _model(tmp_path, models.classifier())
    user = _user(tmp_path, **arrays)
    with pytest.raises(UsageError, match=message):
        make_samples(folder, "model.onnx", user, tmp_path / "s.npz", seed=1)


def test_tolerances_follow_the_arithmetic(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.classifier())
    assert arithmetic(path) == "float32"
    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("h", TensorProto.FLOAT16, [1], [1.0]))
    onnx.save(model, path)
    assert arithmetic(path) == "half"
    model.graph.node.append(helper.make_node("DequantizeLinear", ["q", "s"], ["d"]))
    onnx.save(model, path)
    assert arithmetic(path) == "quantised"


def test_inputs_that_nobody_can_make_leave_the_release_without_samples(tmp_path: Path) -> None:
    folder = _model(tmp_path, typed_models.sparse())
    warnings: list[str] = []
    probe = make_samples(
        folder, "model.onnx", None, tmp_path / "s.npz", seed=1, warn=warnings.append
    )
    assert probe.samples is None
    assert "which no sample can hold" in warnings[0]


def _halves(tmp_path: Path) -> Path:
    """A model of y = 1 / x and z = x - x: infinite where it should be, and constant."""
    graph = helper.make_graph(
        [
            helper.make_node("Reciprocal", ["x"], ["y"]),
            helper.make_node("Sub", ["x", "x"], ["z"]),
        ],
        "halves",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N"]) for n in ("y", "z")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return _model(tmp_path, bytes(made.SerializeToString()))


X = np.array([[1.0, 0.0], [2.0, 4.0]], np.float32)
Y = np.array([[1.0, np.inf], [0.5, 0.25]], np.float32)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({}, False),
        ({"output:y": Y}, True),
        ({"output:y": np.where(np.isinf(Y), 9, Y)}, False),  # infinity is not what was wanted
        ({"output:z": np.zeros_like(X)}, False),  # says nothing of y
    ],
)
def test_infinity_that_was_given_as_right_is_accepted(
    given: dict[str, np.ndarray], allowed: bool, tmp_path: Path
) -> None:
    folder, user = _halves(tmp_path), _user(tmp_path, x=X, **given)
    probe = make_samples(folder, "model.onnx", user, folder / "samples.npz", seed=1)
    assert probe.allow_nonfinite is allowed
    assert not probe.allow_constant
    result = run_probe(ProbeRequest(candidate=SlotModel(str(folder), "model.onnx"), probe=probe))
    assert result.passed is allowed


def test_sameness_that_was_given_as_right_is_accepted(tmp_path: Path) -> None:
    folder = _model(tmp_path, models.constant_output())
    right = run_rows(models.constant_output(), models.inputs(4))[:, 0, :]
    for given, allowed in (({}, False), ({"output:scores": right}, True)):
        user = _user(tmp_path, x=models.inputs(4), **given)
        probe = make_samples(folder, "model.onnx", user, folder / "samples.npz", seed=1)
        assert probe.allow_constant is allowed


def test_an_input_may_be_called_labels(tmp_path: Path) -> None:
    folder = _model(tmp_path, typed_models.called_labels())
    rows = np.arange(12, dtype=np.float32).reshape(3, 1, 4)
    for arrays in ({"labels": rows}, {"input:labels": rows}):
        probe = make_samples(
            folder, "model.onnx", _user(tmp_path, **arrays), folder / "samples.npz", seed=1
        )
        assert probe.label_output is None
        assert read_samples(folder / "samples.npz").runs == 3


def test_labels_of_which_none_is_right_are_told(tmp_path: Path) -> None:
    """Such as numbers of classes where the model gives names: no accuracy would be held."""
    folder = _model(tmp_path, models.classifier())
    user = _user(tmp_path, x=models.inputs(), labels=np.array(["tulip"] * 16))
    warnings: list[str] = []
    make_samples(folder, "model.onnx", user, folder / "samples.npz", seed=1, warn=warnings.append)
    (told,) = warnings
    assert "not one of the 16 labels is right" in told
    assert "the first is 'tulip'" in told


@pytest.mark.parametrize(
    ("array", "help_"),
    [
        (np.array(["a", "b"], dtype=object), r"\.astype\(str\)"),
        (np.zeros(2, dtype="V2"), r"\.astype\('float32'\)"),
    ],
)
def test_what_numpy_does_not_write_plainly_is_refused_with_what_helps(
    tmp_path: Path, array: np.ndarray, help_: str
) -> None:
    folder = _model(tmp_path, models.classifier())
    with pytest.raises(UsageError, match=help_):
        make_samples(folder, "model.onnx", _user(tmp_path, x=array), folder / "samples.npz", seed=1)


@pytest.mark.parametrize(
    ("model", "chosen", "name"),
    [
        (models.not_a_number(), Probe(allow_nonfinite=True), "allow_nonfinite"),
        (models.constant_output(), Probe(allow_constant=True), "allow_constant"),
    ],
)
def test_what_was_chosen_to_be_accepted_is_said_so(
    tmp_path: Path, model: bytes, chosen: Probe, name: str
) -> None:
    folder = _model(tmp_path, model)
    said: list[str] = []
    make_samples(
        folder,
        "model.onnx",
        None,
        folder / "samples.npz",
        seed=1,
        warn=said.append,
        chosen=chosen,
    )
    assert any(f"probe.{name} was chosen, so devices accept it" in text for text in said), said
    assert not any("devices refuse" in text and name in text for text in said), said
