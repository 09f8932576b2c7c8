"""scikit-learn's classifiers as skl2onnx writes them: text for classes, a map for each row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slotcast_publisher.release.golden_samples import make_samples
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from slotcast_schemas.samples import read_samples


@pytest.mark.parametrize("zipmap", [True, False])
def test_labels_of_text_are_compared_and_maps_are_golden(tmp_path: Path, zipmap: bool) -> None:
    # Imported here: they take seconds, in each worker.
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    iris = load_iris()
    classes = np.asarray(iris.target_names)[iris.target]
    rows = iris.data.astype(np.float32)
    trained = LogisticRegression(max_iter=500).fit(rows, classes)
    written = to_onnx(trained, rows[:1], options={"zipmap": zipmap})
    (tmp_path / "model.onnx").write_bytes(written.SerializeToString())
    np.savez(tmp_path / "user.npz", X=rows[::5], labels=classes[::5])
    warnings: list[str] = []
    probe = make_samples(
        tmp_path,
        "model.onnx",
        tmp_path / "user.npz",
        tmp_path / "samples.npz",
        seed=1,
        warn=warnings.append,
    )
    assert not warnings
    kept = read_samples(tmp_path / "samples.npz")
    label, probability = (
        ("output_label", "output_probability") if zipmap else ("label", "probabilities")
    )
    assert np.asarray(kept.outputs[label]).dtype.kind == "U"
    assert np.asarray(kept.outputs[probability]).shape == (16, 1, 3)
    assert probe.min_accuracy is not None
    assert probe.min_accuracy > 0.8
    candidate = SlotModel(str(tmp_path), "model.onnx")
    result = run_probe(ProbeRequest(candidate=candidate, probe=probe))
    assert result.passed, result.detail
    checks = {check.name: check for check in result.checks}
    assert checks["accuracy"].value is not None
    assert checks["golden"].value == 0
