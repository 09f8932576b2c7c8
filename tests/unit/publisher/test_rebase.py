"""Rebasing: a smaller delta for a model that is nearly the given one, and never silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from slotcast_publisher.delta.encode import encode_delta
from slotcast_publisher.release.rebase.measures import accuracy_measure, cosine_measure
from slotcast_publisher.release.rebase.search import (
    COARSENESS,
    NotRebasable,
    RebaseReport,
    rebase,
    table,
)
from slotcast_schemas.errors import UsageError
from slotcast_schemas.samples import Samples
from tests.support.deltas import (
    apply_delta,
    bytes_of,
    kinds_of,
    load_initializers,
    model_bytes,
    write_image,
)

SHAPE = (200, 180)


def _weights(seed: int, scale: float = 0.05) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(SHAPE) * scale).astype(np.float32)


def _images(folder: Path, old: Any, new: Any) -> tuple[Any, Any]:
    base = write_image(folder / "old", m__onnx=model_bytes(old), labels__txt=b"cat\n")
    return base, write_image(folder / "new", m__onnx=model_bytes(new), labels__txt=b"dog\n")


def _nearness(given: NDArray[Any]) -> Any:
    """A measure without a runtime: 1 less the relative error of `w`."""

    def measure(files: Any) -> float:
        made = load_initializers(dict(files)["m.onnx"].read_bytes())["w"].astype(np.float64)
        return 1.0 - float(np.linalg.norm(made - given) / np.linalg.norm(given))

    return measure


def _rebased(folder: Path, old: Any, new: Any, at_least: float) -> tuple[RebaseReport, Any]:
    base, target = _images(folder, old, new)
    measure = _nearness(new["w"].astype(np.float64))
    report = rebase(base, target, folder / "out", measure=measure, at_least=at_least)
    payload = (folder / "out" / "payload").read_bytes()
    wanted = bytes_of(list(report.files))
    assert apply_delta(payload, bytes_of(base), len(wanted)) == wanted
    assert len(payload) == report.chosen.payload_bytes == report.delta.payload_size_bytes
    return report, (base, target)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_coarsest_step_that_keeps_the_measure_is_taken(tmp_path: Path, dtype: Any) -> None:
    old = _weights(1)
    new = (old + _weights(2, 1e-3)).astype(dtype)
    old_named = {"w": old.astype(dtype), "bias": old[0].astype(dtype)}
    new_named = {"w": new, "bias": new[0]}
    report, (base, target) = _rebased(tmp_path, old_named, new_named, at_least=0.996)
    assert report.chosen.is_kept
    assert report.chosen.quality >= 0.996
    coarser = [row for row in report.rows if row.coarseness > report.chosen.coarseness]
    assert coarser
    assert not any(row.is_kept for row in coarser)
    plain = encode_delta(base, target, tmp_path / "plain")
    assert report.chosen.payload_bytes < 0.4 * plain.payload_size_bytes
    made = load_initializers(dict(report.files)["m.onnx"].read_bytes())
    assert np.array_equal(made["bias"], new_named["bias"])  # vectors stay exact
    assert not np.array_equal(made["w"], new)
    assert dict(report.files)["labels.txt"].read_bytes() == b"dog\n"


def test_a_finer_measure_costs_more_bytes(tmp_path: Path) -> None:
    old = {"w": _weights(1)}
    new = {"w": (old["w"] + _weights(2, 1e-3)).astype(np.float32)}
    rough, _ = _rebased(tmp_path / "rough", old, new, at_least=0.99)
    fine, _ = _rebased(tmp_path / "fine", old, new, at_least=0.9985)
    assert fine.chosen.coarseness < rough.chosen.coarseness
    assert fine.chosen.payload_bytes > rough.chosen.payload_bytes
    assert fine.moved < rough.moved


def test_a_transposed_tensor_is_rebased_too(tmp_path: Path) -> None:
    old = _weights(1)
    new = np.ascontiguousarray((old + _weights(2, 1e-3)).astype(np.float32).T)
    report, _ = _rebased(tmp_path, {"old/w": old}, {"w": new}, at_least=0.996)
    assert "float32 rebase" in kinds_of(report.delta)


def test_a_merged_lora_is_its_factors_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    old = _weights(1)
    thin = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 180)) * 1e-3
    new = (old + thin).astype(np.float32)
    report, _ = _rebased(tmp_path, {"w": old}, {"w": new}, at_least=0.9999)
    assert "float32 low rank 2" in kinds_of(report.delta)
    assert report.chosen.coarseness == COARSENESS[0]
    assert report.chosen.payload_bytes < 3_000


def test_what_is_not_finite_stays_as_given(tmp_path: Path) -> None:
    old, broken = _weights(1), _weights(4)
    new = (old + _weights(2, 1e-3)).astype(np.float32)
    broken_new = broken.copy()
    broken_new[3, 4] = np.nan
    broken_new[5, 6] = np.inf
    old_named, new_named = {"w": old, "odd": broken}, {"w": new, "odd": broken_new}
    report, _ = _rebased(tmp_path, old_named, new_named, at_least=0.99)
    made = load_initializers(dict(report.files)["m.onnx"].read_bytes())
    assert made["odd"].tobytes() == broken_new.tobytes()


def test_the_next_delta_starts_from_what_devices_hold(tmp_path: Path) -> None:
    old = _weights(1)
    new = (old + _weights(2, 1e-3)).astype(np.float32)
    report, _ = _rebased(tmp_path, {"w": old}, {"w": new}, at_least=0.99)
    third = {"w": (new + _weights(5, 1e-3)).astype(np.float32)}
    target = write_image(tmp_path / "third", m__onnx=model_bytes(third), labels__txt=b"dog\n")
    measure = _nearness(third["w"].astype(np.float64))
    again = rebase(report.files, target, tmp_path / "again", measure=measure, at_least=0.99)
    assert abs(again.chosen.quality - report.chosen.quality) < 0.005


def test_a_measure_that_no_step_keeps_is_said(tmp_path: Path) -> None:
    old = {"w": _weights(1)}
    new = {"w": (old["w"] + _weights(2, 1e-3)).astype(np.float32)}
    with pytest.raises(NotRebasable, match="the best reached"):
        _rebased(tmp_path / "a", old, new, at_least=0.99999999)
    with pytest.raises(NotRebasable, match="the given model to measure at least 2"):
        _rebased(tmp_path / "b", old, new, at_least=2.0)
    with pytest.raises(NotRebasable, match="nothing to rebase"):
        _rebased(tmp_path / "c", old, old, at_least=0.5)


def test_the_table_says_that_the_release_is_rebased(tmp_path: Path) -> None:
    old = {"w": _weights(1)}
    new = {"w": (old["w"] + _weights(2, 1e-3)).astype(np.float32)}
    report, _ = _rebased(tmp_path, old, new, at_least=0.996)
    lines = table(report)
    assert len(lines) == len(report.rows) + 2
    assert sum("<- chosen" in line for line in lines) == 1
    assert "this release is rebased" in lines[-1]


def _runnable(folder: Path, weights: NDArray[np.float32]) -> Any:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weights.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weights.shape[1]])],
        initializer=[numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    return write_image(folder, m__onnx=model.SerializeToString())


def test_measures_run_the_candidate_on_the_samples(tmp_path: Path) -> None:
    weights = np.eye(4, dtype=np.float32)
    given = _runnable(tmp_path / "given", weights)
    turned = _runnable(tmp_path / "turned", np.ascontiguousarray(weights[:, [1, 0, 2, 3]]))
    rows = np.eye(4, dtype=np.float32)[:, None, :]
    samples = Samples({"x": rows}, {"y": rows}, np.array([0, 1, 2, 3]))
    cosine, accuracy = cosine_measure("m.onnx", samples), accuracy_measure("m.onnx", samples, "y")
    assert cosine(given) == accuracy(given) == 1.0
    assert cosine(turned) == accuracy(turned) == 0.5
    with pytest.raises(UsageError, match="expected samples with float outputs"):
        cosine_measure("m.onnx", Samples({"x": rows}))
    with pytest.raises(UsageError, match="expected samples with labels"):
        accuracy_measure("m.onnx", Samples({"x": rows}, {"y": rows}), "y")
    with pytest.raises(UsageError, match=r"expected other\.onnx among the files"):
        cosine_measure("other.onnx", samples)(given)
