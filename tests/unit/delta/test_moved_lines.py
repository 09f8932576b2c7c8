"""Rows and columns that came, went or changed places, also those that training moved afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_publisher.delta.encode import DeltaReport
from slotcast_schemas.codecs.delta.headers import FEATURE_GATHER, HEADER_SIZE
from tests.support.deltas import apply_delta, kinds_of, model_bytes, round_trip, small_weights

ROWS, COLUMNS = 400, 96
RNG = np.random.default_rng(1)
BY_ROW, BY_COLUMN = RNG.permutation(ROWS), RNG.permutation(COLUMNS)
FEW = 800
"""Bytes that a description takes, with a map of 400 rows or of 96 columns."""

Change = Callable[[NDArray[Any]], NDArray[Any]]


def _delta(
    folder: Path, old: dict[str, Any], new: dict[str, Any], **options: Any
) -> tuple[DeltaReport, int]:
    files = [{"m__onnx": model_bytes(tensors)} for tensors in (old, new)]
    report, payload = round_trip(folder, *files, **options)
    return report, len(payload)


SHUFFLES: dict[str, Change] = {
    "rows": lambda w: w[BY_ROW],
    "columns": lambda w: w[:, BY_COLUMN],
    "both": lambda w: w[BY_ROW][:, BY_COLUMN],
    "two columns swapped": lambda w: w[:, [0, 2, 1, *range(3, COLUMNS)]],
    "columns deleted": lambda w: np.delete(w, [3, 50], axis=1),
    "turned and shuffled": lambda w: w[BY_ROW].T,
    "rows and columns deleted": lambda w: np.delete(np.delete(w, [9, 77], axis=0), [4], axis=1),
}


@pytest.mark.parametrize("name", SHUFFLES)
def test_lines_that_moved_are_told_by_a_map(tmp_path: Path, name: str) -> None:
    old = small_weights(2, ROWS, COLUMNS)
    report, cost = _delta(tmp_path, {"w": old}, {"w": SHUFFLES[name](old)})
    assert cost < FEW + 2 * ROWS
    # Where lines only went, runs are as cheap, and every decoder knows those.
    if "deleted" not in name:
        assert report.features == FEATURE_GATHER
        assert "copy, rows or columns moved" in kinds_of(report)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float16])
@pytest.mark.parametrize("name", ["rows", "columns", "both"])
def test_elements_of_other_kinds_move_as_well(
    tmp_path: Path, name: str, dtype: type[np.number[Any]]
) -> None:
    old: NDArray[Any] = (small_weights(3, ROWS, COLUMNS) * 300 + 90).clip(0, 120).astype(dtype)
    assert _delta(tmp_path, {"w": old}, {"w": SHUFFLES[name](old)})[1] < FEW + 2 * ROWS


def test_unrelated_tensors_are_not_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of their cells tells."""

    def no_hashing(*_: object) -> NDArray[np.uint64]:
        raise AssertionError("expected no hash of all cells")

    monkeypatch.setattr("slotcast_publisher.delta.cells._contents", no_hashing)
    monkeypatch.setattr("slotcast_publisher.delta.cells._cells", no_hashing)
    old, new = (small_weights(seed, ROWS, COLUMNS) for seed in (50, 51))
    report, _ = _delta(tmp_path, {"w": old}, {"w": new})
    assert "copy, rows or columns moved" not in kinds_of(report)
    with pytest.raises(AssertionError, match="no hash"):
        _delta(tmp_path, {"w": old}, {"w": SHUFFLES["both"](old)})


def test_new_columns_cost_themselves(tmp_path: Path) -> None:
    old = small_weights(4, ROWS, COLUMNS)
    fresh = small_weights(5, ROWS, 2)
    new = np.insert(old, [17, 60], fresh, axis=1)
    assert _delta(tmp_path, {"w": old}, {"w": new})[1] < fresh.nbytes + FEW


CONV_SHUFFLES: dict[str, Change] = {
    "channels in another order": lambda w: w[:, ::-1],
    "outputs, height, width, inputs": lambda w: w.transpose(0, 2, 3, 1),
    "height, width, inputs, outputs": lambda w: w.transpose(2, 3, 1, 0),
    "inputs pruned": lambda w: np.delete(w, [3, 7, 20], axis=1),
}


@pytest.mark.parametrize("name", CONV_SHUFFLES)
def test_axes_and_channels_of_a_convolution(tmp_path: Path, name: str) -> None:
    old = small_weights(6, 64, 32, 3, 3)
    new = np.ascontiguousarray(CONV_SHUFFLES[name](old))
    assert _delta(tmp_path, {"w": old}, {"w": new})[1] < FEW


@pytest.mark.parametrize("name", ["rows", "columns", "turned and shuffled"])
def test_what_moved_and_was_trained_costs_what_the_training_does(tmp_path: Path, name: str) -> None:
    old = small_weights(7, ROWS, COLUMNS)
    moved = (old + small_weights(8, ROWS, COLUMNS) * 0.01).astype(np.float32)
    _, in_place = _delta(tmp_path / "a", {"w": old}, {"w": moved})
    _, cost = _delta(tmp_path / "b", {"w": old}, {"w": SHUFFLES[name](moved)})
    assert cost < 1.03 * in_place + FEW


def test_new_rows_among_trained_ones_that_moved_cost_themselves(tmp_path: Path) -> None:
    """Nothing is coded for the new ones: they are holes among what comes from the base."""
    old, added = small_weights(4, ROWS, COLUMNS), small_weights(5, 20, COLUMNS)
    rng = np.random.default_rng(6)
    trained = (old[BY_ROW] * (1 + rng.normal(0, 1e-5, old.shape))).astype(np.float32)
    mixed = np.insert(trained, np.sort(rng.integers(0, ROWS, 20)), added, axis=0)
    _, training = _delta(tmp_path / "trained", {"w": old}, {"w": trained})
    report, both = _delta(tmp_path / "mixed", {"w": old}, {"w": mixed})
    assert report.features & FEATURE_GATHER
    assert both < training + added.nbytes + FEW


@pytest.mark.parametrize("names", [("w", "w"), ("w", "v")])
def test_rows_that_moved_and_were_trained_are_found_among_those_that_only_moved(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    old = small_weights(2, ROWS, COLUMNS)
    new = old.copy()
    new[: ROWS // 4] += small_weights(3, ROWS // 4, COLUMNS) * 0.01
    _, cost = _delta(tmp_path, {names[0]: old}, {names[1]: new[BY_ROW]})
    assert cost < FEW + 2 * ROWS + 0.7 * new.nbytes / 4


def test_rows_inserted_before_a_fine_tune_are_told_by_runs(tmp_path: Path) -> None:
    """Every decoder knows those."""
    old = small_weights(9, ROWS, COLUMNS)
    fresh = small_weights(10, 2, COLUMNS)
    new = np.insert(old, [100, 300], fresh, axis=0)
    new = (new + small_weights(11, *new.shape) * 0.01).astype(np.float32)
    _, in_place = _delta(tmp_path / "a", {"w": old}, {"w": np.delete(new, [100, 301], axis=0)})
    report, cost = _delta(tmp_path / "b", {"w": old}, {"w": new})
    assert report.features == 0
    assert cost < in_place + fresh.nbytes + FEW


def test_gates_in_another_order_cost_nothing_with_their_biases(tmp_path: Path) -> None:
    old = {"w": small_weights(12, 1, 4 * 64, 40), "b": small_weights(13, 1, 8 * 64)}
    order = [0, 3, 1, 2]
    new = {
        "w": old["w"].reshape(4, 64, 40)[order].reshape(1, 256, 40),
        "b": old["b"].reshape(2, 4, 64)[:, order].reshape(1, 512),
    }
    assert _delta(tmp_path, old, new)[1] < FEW


def test_one_row_of_many_that_changed_leaves_the_others_alone(tmp_path: Path) -> None:
    """As zeros to be decoded they cost more than all that other tools need."""
    old = small_weights(14, 20_000, 64)
    new = old.copy()
    new[77] += np.float32(0.01)
    report, cost = _delta(tmp_path, {"w": old}, {"w": new})
    assert cost < 64 * 4 + 400
    assert "copy" in kinds_of(report)


def test_decoders_of_before_are_told_without_maps(tmp_path: Path) -> None:
    old = small_weights(15, ROWS, COLUMNS)
    new = old[BY_ROW]
    report, cost = _delta(tmp_path, {"w": old}, {"w": new}, features=0)
    assert report.features == 0
    assert cost < 10 * ROWS
    assert (tmp_path / "delta").read_bytes()[8:16] == bytes(8)


def test_a_delta_with_gathered_tensors_still_decodes() -> None:
    """What is in the field stays readable; a change of it must get another feature."""
    folder = Path(__file__).parents[2] / "assets" / "delta"
    base, image, payload = (
        (folder / name).read_bytes() for name in ("lines.base", "lines.image", "lines.delta")
    )
    assert len(payload) > HEADER_SIZE
    assert payload[8] == FEATURE_GATHER
    assert apply_delta(payload, base, len(image)) == image
