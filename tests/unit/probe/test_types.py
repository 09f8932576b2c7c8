"""Everything that onnxruntime's Python takes can be a sample, made or given, and is compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from slotcast_publisher.release.golden_samples import make_samples
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import ProbeRequest, ProbeResult, SlotModel, run_probe
from slotcast_schemas.samples import Samples, read_samples, write_samples
from slotcast_schemas.value_types import Rows
from tests.support import typed_models
from tests.support.old_packages import EXPONENTS_ALONE

MODELS = {
    "scalar": typed_models.scalar(),
    "bfloat16": typed_models.identity(TensorProto.BFLOAT16),
    "float8e4m3fn": typed_models.identity(TensorProto.FLOAT8E4M3FN),
    "float8e5m2": typed_models.identity(TensorProto.FLOAT8E5M2),
    "int4": typed_models.dequantized(TensorProto.INT4),
    "uint4": typed_models.dequantized(TensorProto.UINT4),
    "sequence in": typed_models.concatenated(),
    "sequence out": typed_models.cut_up(),
    "optional": typed_models.perhaps(),
    "text": typed_models.words(),
    "empty dimension": typed_models.nothing_in_it(),
}
UNSAMPLED = Probe()
pytestmark = pytest.mark.usefixtures("quick_probes")


def on_device(folder: Path, probe: Probe = UNSAMPLED) -> ProbeResult:
    return run_probe(ProbeRequest(candidate=SlotModel(str(folder), "model.onnx"), probe=probe))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_any_type_passes_with_golden_samples(folder: Path, name: str) -> None:
    (folder / "model.onnx").write_bytes(MODELS[name])
    warnings: list[str] = []
    probe = make_samples(
        folder, "model.onnx", None, folder / "samples.npz", seed=3, warn=warnings.append
    )
    # Whether an optional input is there is all that this one says: a release warns of that.
    assert [text for text in warnings if "a damaged model may pass" not in text] == []
    assert bool(warnings) is (name == "optional")
    assert probe.samples == "samples.npz"
    result = on_device(folder, probe)
    assert result.passed, result.detail
    assert "golden" in {check.name for check in result.checks}


@pytest.mark.parametrize("name", ["scalar", "bfloat16", "int4", "sequence in", "optional"])
def test_without_samples_a_device_makes_inputs_of_these_types_too(folder: Path, name: str) -> None:
    (folder / "model.onnx").write_bytes(MODELS[name])
    result = on_device(folder)
    assert result.passed, result.detail


@pytest.mark.parametrize("name", ["bfloat16", "float8e5m2", "sequence out", "sequence in"])
def test_other_answers_are_noticed_in_these_types_too(folder: Path, name: str) -> None:
    (folder / "model.onnx").write_bytes(MODELS[name])
    probe = make_samples(folder, "model.onnx", None, folder / "samples.npz", seed=3)
    kept = read_samples(folder / "samples.npz")
    turned = {name: _turned(rows) for name, rows in kept.outputs.items()}
    write_samples(folder / "samples.npz", Samples(kept.inputs, turned))
    assert on_device(folder, probe).reason == "golden_mismatch"


def _turned(rows: Any) -> Any:
    return -rows if isinstance(rows, np.ndarray) else [_turned(row) for row in rows]


def test_values_that_cannot_be_stacked_are_read_as_they_were_written(tmp_path: Path) -> None:
    one, two = np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32)
    inputs: dict[str, Rows] = {
        "ragged": [one, two],
        "list": [[one, two], []],
        "perhaps": [None, one],
        "map": [{"a": 1.5, "b": 2.5}, {"a": 0.5}],
        "scalar": np.array([3, 4]),
    }
    path = tmp_path / "s.npz"
    write_samples(path, Samples(inputs))
    got = read_samples(path)
    assert got.runs == 2
    assert np.asarray(got.feed(1)["scalar"]).shape == ()
    assert got.feed(0)["map"] == {"a": 1.5, "b": 2.5}
    assert got.feed(1)["list"] == []
    assert got.feed(0)["perhaps"] is None
    np.testing.assert_array_equal(got.feed(1)["ragged"], two)
    first, second = got.feed(0)["list"]  # type: ignore[misc]  # a list of two, as it was written
    np.testing.assert_array_equal(first, one)
    np.testing.assert_array_equal(second, two)


def test_an_input_given_once_is_the_same_in_every_run(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(typed_models.scalar())
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.savez(folder / "user.npz", x=rows, rate=np.array(8000))
    probe = make_samples(folder, "model.onnx", folder / "user.npz", folder / "samples.npz", seed=1)
    kept = read_samples(folder / "samples.npz")
    np.testing.assert_array_equal(kept.outputs["y"], rows[:, None, :] * 8000)
    assert on_device(folder, probe).passed


def test_what_no_sample_can_hold_is_judged_by_what_is_sure(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(typed_models.sparse())
    result = on_device(folder)
    assert result.passed, result.detail
    checks = {check.name: check for check in result.checks}
    assert "sparse_tensor(float), which no sample can hold" in checks["runs"].detail
    assert {"loads", "contract", "memory"} <= checks.keys()


@pytest.mark.parametrize(
    "make",
    [
        typed_models.words_beside_bfloat16,
        pytest.param(typed_models.words_beside_scales, marks=EXPONENTS_ALONE),
    ],
    ids=["beside a narrow input", "beside an output that no sample can hold"],
)
def test_text_beside_what_goes_by_bytes_is_judged_by_what_is_sure(
    folder: Path, make: Callable[[], bytes]
) -> None:
    """onnxruntime makes no values of text where the others are given by their bytes."""
    (folder / "model.onnx").write_bytes(make())
    said = "input 'words' is text"
    warnings: list[str] = []
    probe = make_samples(folder, "model.onnx", None, folder / "s.npz", seed=1, warn=warnings.append)
    assert probe.samples is None
    assert any(said in warning for warning in warnings)
    result = on_device(folder)
    assert result.passed, result.detail
    assert said in {check.name: check for check in result.checks}["runs"].detail


@EXPONENTS_ALONE
def test_outputs_that_no_sample_can_hold_are_left_out_and_the_others_compared(
    folder: Path,
) -> None:
    (folder / "model.onnx").write_bytes(typed_models.scales_of_eight_bits())
    probe = make_samples(folder, "model.onnx", None, folder / "samples.npz", seed=1)
    assert read_samples(folder / "samples.npz").outputs.keys() == {"y"}
    result = on_device(folder, probe)
    assert result.passed, result.detail
    assert "golden" in {check.name for check in result.checks}
