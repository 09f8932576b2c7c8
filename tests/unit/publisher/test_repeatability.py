"""Outputs that differ from run to run are found at release, said, and not held against devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from slotcast_publisher.release.golden_samples import make_samples
from slotcast_publisher.release.probe_limits import least_accuracy
from slotcast_publisher.release.repeatability import (
    AT_ANOTHER_TIME,
    WITH_OTHER_THREADS,
    incomparable,
    not_repeatable,
)
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from slotcast_schemas.samples import read_samples
from tests.support import models, typed_models


class Released:
    """A model with the samples that a release of it gets."""

    def __init__(self, folder: Path, model: bytes, user: Path | None = None) -> None:
        (folder / "model.onnx").write_bytes(model)
        self.folder = folder
        self.warnings: list[str] = []
        self.probe: Probe = make_samples(
            folder, "model.onnx", user, folder / "samples.npz", seed=1, warn=self.warnings.append
        )

    @property
    def compared(self) -> set[str]:
        return set(read_samples(self.folder / "samples.npz").outputs)

    def evidence(self) -> str:
        """Give what a device says of the golden samples."""
        candidate = SlotModel(str(self.folder), "model.onnx")
        result = run_probe(ProbeRequest(candidate=candidate, probe=self.probe))
        return next(check.detail for check in result.checks if check.name == "golden")

    def on_device(self, model: bytes | None = None) -> str:
        """Give the reason of a device's verdict, of this model or of another in its place."""
        if model is not None:
            (self.folder / "model.onnx").write_bytes(model)
        candidate = SlotModel(str(self.folder), "model.onnx")
        return run_probe(ProbeRequest(candidate=candidate, probe=self.probe)).reason


def test_a_model_that_draws_lots_is_released_with_what_can_be_compared(tmp_path: Path) -> None:
    released = Released(tmp_path, models.draws_lots())
    assert released.compared == {"hidden"}
    assert [w for w in released.warnings if "'scores' cannot be compared" in w and "again" in w]
    assert released.on_device() == "passed"
    assert "compares no output 'scores'" in released.evidence()


def test_what_can_be_compared_of_it_still_is(tmp_path: Path) -> None:
    released = Released(tmp_path, models.draws_lots())
    assert released.on_device(models.draws_lots(seed=2)) == "golden_mismatch"


def test_outputs_given_for_what_is_drawn_are_not_compared_either(tmp_path: Path) -> None:
    user = tmp_path / "user.npz"
    given = {"x": models.inputs(4), "output:scores": np.ones((4, models.CLASSES), np.float32)}
    np.savez(user, **given)  # type: ignore[arg-type]  # numpy's stub mistakes names for options
    released = Released(tmp_path, models.draws_lots(), user)
    assert released.compared == {"hidden"}
    assert not any("differs from the one given" in warning for warning in released.warnings)


def test_an_output_that_depends_on_the_threads_is_not_compared(tmp_path: Path) -> None:
    released = Released(tmp_path, models.depends_on_threads())
    assert released.compared == {"steady"}
    assert any("'sum'" in w and "number of threads" in w for w in released.warnings)
    assert released.on_device() == "passed"


def test_accuracy_that_is_drawn_leaves_room_for_other_lots(tmp_path: Path) -> None:
    user = tmp_path / "user.npz"
    given = {"x": models.inputs(16), "labels": models.labels(runs=16)}
    np.savez(user, **given)  # type: ignore[arg-type]  # numpy's stub mistakes names for options
    steady = Released(tmp_path, models.classifier(), user)
    drawn = Released(tmp_path, models.draws_lots(rate=0.5), user)
    assert drawn.probe.label_output == steady.probe.label_output == "scores"
    assert drawn.probe.min_accuracy is not None
    assert steady.probe.min_accuracy is not None
    assert drawn.probe.min_accuracy < steady.probe.min_accuracy - 1 / 16
    assert [drawn.on_device() for _ in range(3)] == ["passed"] * 3


def test_luck_in_all_runs_leaves_room_for_other_lots() -> None:
    labels = np.zeros((16, 1), np.int64)
    right = [{"scores": np.array([[1.0, 0.0]])}] * 16
    assert least_accuracy(labels, [right], "scores") == 1 - 1 / 16
    drawn = least_accuracy(labels, [right] * 3, "scores")
    assert 0.5 < drawn < 0.75  # sixteen of sixteen may be a model that is right at nine of ten


def test_a_model_without_anything_to_compare_is_said_to_be_one(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.draws_lots())
    del model.graph.output[1]
    released = Released(tmp_path, model.SerializeToString())
    assert released.compared == set()
    assert any("no output can be compared" in warning for warning in released.warnings)
    assert released.on_device() == "passed"


def runs(*values: float, dtype: str = "float32") -> list[dict[str, np.ndarray]]:
    return [{"y": np.array([value, 1.0], dtype)} for value in values]


@pytest.mark.parametrize(
    ("again", "threaded", "why"),
    [
        (runs(1.0, 2.0), runs(1.0, 2.0), None),
        (runs(1.0, 2.00001), runs(1.0, 2.0), None),
        (runs(1.0, 2.1), runs(1.0, 2.0), AT_ANOTHER_TIME),
        (runs(1.0, 2.0), runs(1.1, 2.0), WITH_OTHER_THREADS),
        (runs(1.1, 2.0), runs(1.1, 2.0), AT_ANOTHER_TIME),
        (runs(1.0, float("nan")), runs(1.0, 2.0), AT_ANOTHER_TIME),
        ([{"y": np.zeros(3, np.float32)}] * 2, runs(1.0, 2.0), AT_ANOTHER_TIME),
    ],
)
def test_a_difference_that_a_device_could_notice_counts(
    again: list[dict[str, np.ndarray]], threaded: list[dict[str, np.ndarray]], why: str | None
) -> None:
    found = not_repeatable(runs(1.0, 2.0), again, threaded, rtol=1e-3)
    assert found.get("y") == why


def test_whole_numbers_must_be_the_same() -> None:
    first, again = runs(1, 2, dtype="int64"), runs(1, 3, dtype="int64")
    assert not_repeatable(first, again, first, rtol=1e9) == {"y": AT_ANOTHER_TIME}


def test_what_turns_on_the_last_bits_is_not_compared(tmp_path: Path) -> None:
    released = Released(tmp_path, typed_models.last_bit())
    assert released.compared == {"one"}
    assert [w for w in released.warnings if "'which'" in w and "last bits" in w]
    assert released.on_device() == "passed"


def test_an_int8_model_of_one_number_is_held_to_it(tmp_path: Path) -> None:
    released = Released(tmp_path, typed_models.one_number())
    assert released.on_device() == "passed"
    assert released.on_device(typed_models.one_number(damaged_share=0.3)) == "golden_mismatch"


def test_each_output_is_held_to_its_own_scale(tmp_path: Path) -> None:
    """A score that is wrong by a third is found beside boxes of a thousand."""
    released = Released(tmp_path, typed_models.two_scales())
    assert released.probe.output_atol["score"] < released.probe.atol / 100
    assert released.on_device() == "passed"
    assert released.on_device(typed_models.two_scales(small=0.7)) == "golden_mismatch"


def test_a_choice_that_another_kernel_makes_otherwise_cannot_be_compared() -> None:
    assert set(incomparable({"token": np.inf, "scores": 3.0})) == {"token"}
