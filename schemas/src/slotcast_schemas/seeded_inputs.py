"""Inputs made from a seed, for a model whose release has no samples.

They fit a signature and nothing more: what a model can make of them is the model's affair, so a
model that refuses them, or answers NaN, is not thereby shown to be bad.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas import limits
from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.narrow_types import rounded
from slotcast_schemas.value_types import Rows, Value, ValueType, rows_of, value_type

FREE_DIMENSION: Final = 1
"""Size that seeded inputs give to a free dimension: a batch of one, as most devices run."""

SEEDED_RUNS: Final = 4
"""How many sets of inputs a device makes."""

SEQUENCE_LENGTH: Final = 2
"""The number of tensors in a sequence that is made."""

RUN_MAX_BYTES: Final = 256 * limits.MIB
"""The most bytes of the inputs of one run."""

_ALL_RUNS_BYTES: Final = 32 * limits.MIB
"""The bytes of all runs, where there are more than one: large inputs get fewer runs."""


def seeded_inputs(tensors: Sequence[Tensor], *, runs: int, seed: int) -> dict[str, Rows]:
    """Make inputs that fit a signature: the same tensors, runs and seed give the same arrays.

    Floats are normal with deviation 1, as normalised data are; integers are 0 or 1, which is in
    range for tokens and indices alike; free dimensions are 1.

    Args:
        tensors: the inputs' names, types and shapes.
        runs: how many sets of inputs to make, at most: fewer where one set is large.
        seed: of the random numbers.

    Raises:
        ValueError: an input's type cannot be made, or its fixed shape is too large.
    """
    rng = np.random.default_rng(seed)
    types = {tensor.name: _type_of(tensor) for tensor in tensors}
    one_bytes = sum(_size_bytes(tensor, types[tensor.name]) for tensor in tensors)
    if one_bytes > RUN_MAX_BYTES:
        raise ValueError(f"one set of inputs takes {one_bytes} bytes, more than {RUN_MAX_BYTES}")
    count = min(runs, max(1, _ALL_RUNS_BYTES // max(1, one_bytes)))
    return {tensor.name: _made(tensor, types[tensor.name], count, rng) for tensor in tensors}


def sizes_of(tensor: Tensor) -> tuple[int, ...]:
    """Give the shape that seeded inputs have; the runtime says none of a sequence's tensors."""
    if not tensor.shape and tensor.dtype.startswith(("seq(", "optional(seq(")):
        return (SEQUENCE_LENGTH,)
    return tuple(size if isinstance(size, int) else FREE_DIMENSION for size in tensor.shape)


def _type_of(tensor: Tensor) -> ValueType:
    kind = value_type(tensor.dtype)
    if kind is None:
        raise ValueError(f"input {tensor.name!r}: cannot make values of type {tensor.dtype}")
    return kind


def _size_bytes(tensor: Tensor, kind: ValueType) -> int:
    item_bytes = 8 if kind.element == "str" else np.dtype(kind.element).itemsize
    arrays = SEQUENCE_LENGTH if kind.form == "sequence" else 1
    return math.prod(sizes_of(tensor)) * item_bytes * arrays


def _made(tensor: Tensor, kind: ValueType, runs: int, rng: np.random.Generator) -> Rows:
    shape = sizes_of(tensor)
    if kind.form == "tensor":
        return _numbers(kind, (runs, *shape), rng)
    values: list[Value] = []
    for _ in range(runs):
        if kind.form == "map":
            keys = [0, 1] if kind.key == "int64" else ["a", "b"]
            values.append(dict(zip(keys, _numbers(kind, (2,), rng).tolist(), strict=True)))
        else:
            values.append([_numbers(kind, shape, rng) for _ in range(SEQUENCE_LENGTH)])
    return rows_of(values)


def _numbers(kind: ValueType, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    if kind.element == "str":
        return rng.choice(np.array(["a", "b"]), shape)
    if kind.element.startswith("float"):
        made = np.asarray(rng.standard_normal(shape)).astype(kind.element)
    else:
        made = np.asarray(rng.integers(0, 2, shape)).astype(kind.element)
    return rounded(kind.narrow, made) if kind.narrow else made
