"""Pairs of files of no known format, with matrices of which rows or columns came, went or moved.

Three matrices of different lengths lie behind a header and their names, none of them aligned. Where
they lie, how long their rows are and what became of them has to be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.moved_rows import MovedPair

Matrix = NDArray[Any]
Change = Callable[[Matrix, np.random.Generator, str], Matrix]

_SHAPES: Final = ((1500, 96), (700, 256), (400, 300))


def opaque_pairs(seed: int) -> Iterator[MovedPair]:
    """Give every pair, made one at a time; the same seed gives the same files."""
    for kind, name, change in _CHANGES:
        rng = np.random.default_rng(seed)
        old = [_weights(rng, shape, kind) for shape in _SHAPES]
        new = [change(matrix, rng, kind) for matrix in old]
        yield MovedPair(f"unknown format, {kind}, {name}", _file(old), _file(new))


def _file(matrices: list[Matrix]) -> bytes:
    parts = [b"layer.%d.weight\0" % n + each.tobytes() for n, each in enumerate(matrices)]
    return b"OPAQUE\1" + b"".join(parts) + b"end"


def _weights(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> Matrix:
    values = (rng.standard_normal(shape) * 0.05).astype(np.float32)
    if kind == "bf16":
        return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return values.astype(np.float16) if kind == "fp16" else values


def _delete_rows(matrix: Matrix, rng: np.random.Generator, kind: str) -> Matrix:
    del kind
    gone = rng.choice(len(matrix), len(matrix) // 20, replace=False)
    return np.delete(matrix, gone, axis=0)


def _delete_columns(matrix: Matrix, rng: np.random.Generator, kind: str) -> Matrix:
    del kind
    gone = rng.choice(matrix.shape[1], matrix.shape[1] // 10, replace=False)
    return np.delete(matrix, gone, axis=1)


def _insert_columns(matrix: Matrix, rng: np.random.Generator, kind: str) -> Matrix:
    places = np.sort(rng.integers(0, matrix.shape[1], 3))
    return np.insert(matrix, places, _weights(rng, (len(matrix), 3), kind), axis=1)


def _append_column(matrix: Matrix, rng: np.random.Generator, kind: str) -> Matrix:
    return np.concatenate([matrix, _weights(rng, (len(matrix), 1), kind)], axis=1)


def _swap_columns(matrix: Matrix, rng: np.random.Generator, kind: str) -> Matrix:
    del kind
    order = np.arange(matrix.shape[1])
    one, other = rng.choice(len(order), 2, replace=False)
    order[[one, other]] = order[[other, one]]
    return matrix[:, order]


def _shuffle_both(matrix: Matrix, rng: np.random.Generator, kind: str) -> Matrix:
    del kind
    rows, columns = (rng.permutation(count) for count in matrix.shape)
    return matrix[rows][:, columns]


_CHANGES: Final[tuple[tuple[str, str, Change], ...]] = (
    ("fp32", "rows deleted", _delete_rows),
    ("fp16", "a column appended", _append_column),
    ("bf16", "columns inserted", _insert_columns),
    ("fp32", "columns deleted", _delete_columns),
    ("fp16", "columns deleted", _delete_columns),
    ("bf16", "two columns swapped", _swap_columns),
    ("fp32", "rows and columns shuffled", _shuffle_both),
)
