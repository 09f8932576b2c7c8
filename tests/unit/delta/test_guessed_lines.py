"""Rows and columns that came, went or moved in files of no known format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slotcast_publisher.delta.formats.by_looks import find_by_looks
from slotcast_publisher.delta.guessed_matrices import find_matrices
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import BFLOAT16, FLOAT16, FLOAT32, ElementKind
from slotcast_schemas.codecs.source import MemorySource
from tests.support.deltas import opaque_file, round_trip

Matrix = NDArray[Any]
Change = Callable[[Matrix, np.random.Generator], Matrix]

KINDS: Final = {"fp32": FLOAT32, "fp16": FLOAT16, "bf16": BFLOAT16}
SHAPES: Final = ((400, 96), (150, 260), (220, 130))


def weights(rng: np.random.Generator, dims: tuple[int, int], kind: ElementKind) -> Matrix:
    values = rng.standard_normal(dims) * 0.05
    if kind == BFLOAT16:
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    return values.astype("<f2" if kind == FLOAT16 else "<f4").view(kind.unsigned)


def fresh(matrix: Matrix, count: int) -> Matrix:
    """Columns of other weights like those of the matrix."""
    kind = {2: FLOAT16, 4: FLOAT32}[matrix.itemsize]
    return weights(np.random.default_rng(99), (len(matrix), count), kind)


def swapped(matrix: Matrix, rng: np.random.Generator) -> Matrix:
    order = np.arange(matrix.shape[1])
    one, other = rng.choice(len(order), 2, replace=False)
    order[[one, other]] = order[[other, one]]
    return matrix[:, order]


def inserted(matrix: Matrix, rng: np.random.Generator) -> Matrix:
    places = np.sort(rng.integers(0, matrix.shape[1] + 1, 3))
    return np.insert(matrix, places, fresh(matrix, 3), axis=1)


CHANGES: Final[dict[str, Change]] = {
    "columns deleted": lambda m, rng: np.delete(m, rng.choice(m.shape[1], 9, replace=False), 1),
    "columns inserted": inserted,
    "a column appended": lambda m, rng: np.concatenate([m, fresh(m, 1)], axis=1),
    "two columns swapped": swapped,
    "rows deleted": lambda m, rng: np.delete(m, rng.choice(len(m), 20, replace=False), 0),
    "rows shuffled": lambda m, rng: m[rng.permutation(len(m))],
}
ONLY_OF_FLOAT32: Final[dict[str, Change]] = {
    "columns shuffled": lambda m, rng: m[:, rng.permutation(m.shape[1])],
    "both shuffled": lambda m, rng: m[rng.permutation(len(m))][:, rng.permutation(m.shape[1])],
}
CASES: Final = [(name, kind) for name in CHANGES for kind in KINDS]
CASES_OF_FLOAT32: Final = [(name, "fp32") for name in ONLY_OF_FLOAT32]


@pytest.mark.parametrize(("name", "kind"), CASES + CASES_OF_FLOAT32)
def test_moved_lines_of_each_of_several_matrices_cost_next_to_nothing(
    tmp_path: Path, name: str, kind: str
) -> None:
    rng = np.random.default_rng(7)
    old = [weights(rng, dims, KINDS[kind]) for dims in SHAPES]
    change = (CHANGES | ONLY_OF_FLOAT32)[name]
    new = [change(matrix, rng) for matrix in old]
    new_bytes = sum(n.nbytes - o.nbytes for n, o in zip(new, old, strict=True) if n.size > o.size)
    _, payload = round_trip(tmp_path, {"m.bin": opaque_file(old)}, {"m.bin": opaque_file(new)})
    rows = sum(len(matrix) for matrix in new) if name in ("rows shuffled", "both shuffled") else 0
    assert len(payload) < 800 + 1.05 * new_bytes + 4 * rows


@given(
    seed=st.integers(0, 1 << 30),
    case=st.sampled_from(CASES + CASES_OF_FLOAT32),
    dims=st.tuples(st.integers(30, 200), st.integers(20, 200)),
    cut=st.integers(0, 700),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_found_lies_in_both_images(
    seed: int, case: tuple[str, str], dims: tuple[int, int], cut: int
) -> None:
    """Cut anywhere, with noise before it and behind: within bounds and without overlaps."""
    name, kind = case[0], KINDS[case[1]]
    rng = np.random.default_rng(seed)
    matrix = weights(rng, dims, kind)
    moved = (CHANGES | ONLY_OF_FLOAT32)[name](matrix, rng)
    noise = [weights(rng, (1, int(count)), kind).ravel() for count in rng.integers(0, 900, 4)]
    old = np.concatenate([noise[0], matrix.ravel(), noise[1]])
    new = np.concatenate([noise[2], moved.ravel(), noise[3]])[cut:]
    places = [TensorPlace("", kind, (len(e),), 0, e.nbytes, is_guess=True) for e in (old, new)]
    found = find_matrices(
        MemorySource(old.tobytes()), [places[0]], MemorySource(new.tobytes()), [places[1]]
    )
    end = 0
    for before, after in sorted(found, key=lambda pair: pair[1].offset):
        assert end <= after.offset
        assert after.end <= new.nbytes
        assert before.offset >= 0
        assert before.end <= old.nbytes
        end = after.end
        for place in (before, after):
            assert place.size_bytes == place.dims[0] * place.dims[1] * kind.size_bytes(1)


def test_few_columns_that_went_from_many_narrow_floats_are_found() -> None:
    """Of four million bfloat16, many are there twice with both neighbours."""
    rng = np.random.default_rng(1)
    old = weights(rng, (7812, 512), BFLOAT16)
    new = np.delete(old, [100, 333], axis=1)
    places = [TensorPlace("", BFLOAT16, (e.size,), 0, e.nbytes, is_guess=True) for e in (old, new)]
    sources = [MemorySource(each.tobytes()) for each in (old, new)]
    [(before, after)] = find_matrices(sources[0], [places[0]], sources[1], [places[1]])
    assert (before.dims, after.dims) == (old.shape, new.shape)


@pytest.mark.parametrize("header", range(1, 16, 2))
def test_a_block_where_two_arrays_meet_is_not_taken_for_another_kind(header: int) -> None:
    """Half of it has its exponents in the other lanes, so it looks like float16."""
    rng = np.random.default_rng(3)
    arrays = [weights(rng, (count, 1), BFLOAT16).tobytes() for count in (13_000, 9_000, 22_000)]
    data = b"".join(bytes(range(1, 1 + header)) + array for array in arrays)
    found = find_by_looks(MemorySource(data), 0, len(data))
    assert {place.kind for place in found} == {BFLOAT16}
    assert sum(place.size_bytes for place in found) > 0.98 * len(data)


@pytest.mark.parametrize("seed", [1318, 2345, 3713])
def test_arrays_that_go_on_over_the_next_ones_block_stay_inside_the_file(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for count in rng.integers(1_000, 5_000, 3):
        kind = (FLOAT16, BFLOAT16, FLOAT32)[rng.integers(3)]
        parts += [rng.bytes(int(rng.integers(0, 9))), weights(rng, (int(count), 1), kind).tobytes()]
    data = b"".join(parts)
    data = data[: len(data) // 4096 * 4096 + int(rng.integers(0, 4))]
    end = 0
    for place in find_by_looks(MemorySource(data), 0, len(data)):
        assert end <= place.offset < place.end <= len(data)
        end = place.end
