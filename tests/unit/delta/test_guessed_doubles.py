"""Matrices of float64 in files of no known format, found by their looks and told as two float32."""

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
from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.source import MemorySource
from tests.support.deltas import opaque_file, round_trip

Matrix = NDArray[Any]
Change = Callable[[Matrix, np.random.Generator], Matrix]

SHAPES: Final = ((400, 96), (150, 260), (220, 130))
CHANGES: Final[dict[str, Change]] = {
    "columns deleted": lambda m, rng: np.delete(m, rng.choice(m.shape[1], 2, replace=False), 1),
    "rows deleted": lambda m, rng: np.delete(m, rng.choice(len(m), 20, replace=False), 0),
    "columns shuffled": lambda m, rng: m[:, rng.permutation(m.shape[1])],
}


def weights(rng: np.random.Generator, dims: tuple[int, int]) -> Matrix:
    return (rng.standard_normal(dims) * 0.05).astype("<f8")


@pytest.mark.parametrize("name", CHANGES)
def test_moved_lines_cost_next_to_nothing(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(7)
    old = [weights(rng, dims) for dims in SHAPES]
    new = [CHANGES[name](matrix, rng) for matrix in old]
    _, payload = round_trip(tmp_path, {"m.bin": opaque_file(old)}, {"m.bin": opaque_file(new)})
    assert len(payload) < 2200 if name == "columns shuffled" else len(payload) < 500


@pytest.mark.parametrize("header", range(8))
def test_doubles_are_found_wherever_they_begin(header: int) -> None:
    rng = np.random.default_rng(3)
    array = weights(rng, (20_000, 1)).tobytes()
    [place] = find_by_looks(MemorySource(b"x" * header + array + b"end"), 0, header + len(array))
    assert (place.kind, place.offset, place.size_bytes) == (FLOAT32, header, len(array))
    assert place.count == 40_000


def test_what_only_has_lanes_of_eight_is_not_taken_for_doubles() -> None:
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (20_000, 8), dtype=np.uint8)
    noise[:, 7] = rng.integers(0, 8, 20_000)
    assert not find_by_looks(MemorySource(noise.tobytes()), 0, noise.nbytes)
    numbers = rng.integers(0, 1 << 20, 20_000)
    assert not find_by_looks(MemorySource(numbers.tobytes()), 0, numbers.nbytes)


@given(
    seed=st.integers(0, 1 << 30),
    kinds=st.lists(st.sampled_from(["<f8", "<f4", "<f2"]), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_arrays_lie_inside_the_file_and_apart(seed: int, kinds: list[str]) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for kind in kinds:
        values = rng.standard_normal(int(rng.integers(500, 6_000))) * 0.05
        parts += [rng.bytes(int(rng.integers(0, 9))), values.astype(kind).tobytes()]
    data = b"".join(parts)
    end = 0
    for place in find_by_looks(MemorySource(data), 0, len(data)):
        assert end <= place.offset < place.end <= len(data)
        end = place.end
