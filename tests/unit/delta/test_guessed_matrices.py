"""Matrices in files of no known format whose columns changed places, or which were turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_publisher.delta.guessed_matrices import find_matrices
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.source import MemorySource
from tests.support.deltas import kinds_of, round_trip, small_weights

ROWS: Final = 700
COLUMNS: Final = 150
RNG = np.random.default_rng(5)
BY_COLUMN = RNG.permutation(COLUMNS)


def file_of(*tensors: NDArray[Any]) -> bytes:
    return b"NOT KNOWN" + bytes(55) + b"".join(tensor.tobytes() for tensor in tensors)


@pytest.mark.parametrize("others", [(), (small_weights(2, 30_000),)])
@pytest.mark.parametrize("change", ["columns", "turned"])
def test_a_matrix_in_an_unknown_file_is_told_by_a_map(
    tmp_path: Path, change: str, others: tuple[NDArray[np.float32], ...]
) -> None:
    matrix = small_weights(1, ROWS, COLUMNS)
    moved = matrix[:, BY_COLUMN] if change == "columns" else matrix.T
    files = (file_of(*others, matrix, *others[:1]), file_of(*others, moved, *others[:1]))
    report, payload = round_trip(tmp_path, {"m.bin": files[0]}, {"m.bin": files[1]})
    assert len(payload) < 0.02 * matrix.nbytes
    assert any(word in kind for kind in kinds_of(report) for word in ("moved", "transposed"))


def test_a_matrix_that_lost_rows_and_whose_columns_moved_is_found(tmp_path: Path) -> None:
    matrix = small_weights(1, ROWS, COLUMNS)
    moved = matrix[:-40, BY_COLUMN]
    _, payload = round_trip(tmp_path, {"m.bin": file_of(matrix)}, {"m.bin": file_of(moved)})
    assert len(payload) < 0.02 * matrix.nbytes


def array(data: bytes) -> TensorPlace:
    return TensorPlace("", FLOAT32, (len(data) // 4,), 0, len(data), is_guess=True)


@pytest.mark.parametrize(
    "new",
    [
        small_weights(9, ROWS, COLUMNS),
        np.zeros((ROWS, COLUMNS), np.float32),
        RNG.permutation(small_weights(1, ROWS, COLUMNS).ravel()),
        small_weights(1, ROWS, COLUMNS),
    ],
    ids=["unrelated", "zeros", "no pattern", "the same"],
)
def test_what_is_no_such_matrix_is_left_alone(new: NDArray[np.float32]) -> None:
    old = small_weights(1, ROWS, COLUMNS).tobytes()
    place = array(new.tobytes())
    base, target = MemorySource(old), MemorySource(new.tobytes())
    assert find_matrices(base, [array(old)], target, [place]) == []


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_found_is_there(seed: int) -> None:
    """Cut anywhere, with some elements that came twice: the maps hold, or nothing is said."""
    rng = np.random.default_rng(seed)
    matrix = small_weights(seed, 300, int(rng.integers(20, 400)))
    matrix.ravel()[rng.integers(0, matrix.size, matrix.size // 50)] = np.float32(0.5)
    order = rng.permutation(matrix.shape[1])
    cut = int(rng.integers(0, 900))
    old = np.concatenate([small_weights(77, 100), matrix.ravel()])
    new = np.concatenate([small_weights(78, 300), matrix[:, order].ravel()])[cut:]
    places = array(old.tobytes()), array(new.tobytes())
    sources = MemorySource(old.tobytes()), MemorySource(new.tobytes())
    for before, after in find_matrices(sources[0], [places[0]], sources[1], [places[1]]):
        ours = new[after.offset // 4 : after.end // 4].reshape(after.dims)
        theirs = old[before.offset // 4 : before.end // 4].reshape(before.dims)
        np.testing.assert_array_equal(np.sort(ours, axis=1), np.sort(theirs, axis=1))
