"""The samples that somebody gives: an .npz with inputs by name, one item or one batch per row.

`x` or `input:x` is an input; `output:y` an output known from elsewhere, such as the training
framework; `labels` what is right. An input given once, as the same for every run (a sampling rate,
a state of zeros), is taken for each. Sequences, maps and optionals have members for each run, as
`slotcast_schemas.samples_members` calls them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from slotcast_schemas import limits
from slotcast_schemas.errors import MalformedMessage, UsageError
from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.narrow_types import rounded
from slotcast_schemas.samples import Samples, read_arrays
from slotcast_schemas.samples_members import values_of
from slotcast_schemas.value_types import Array, Rows, Value, ValueType, value_type

_USER_MAX_BYTES: Final = 16 * 1024 * limits.MIB
"""The most bytes of the samples that somebody gives, unpacked."""


def given_samples(path: Path, tensors: Sequence[Tensor], max_samples: int) -> Samples:
    """Read at most so many runs, spread over the file's; its outputs and labels with them.

    Args:
        path: the user's file.
        tensors: the model's inputs.
        max_samples: runs to keep.

    Raises:
        UsageError: the file does not fit the model.
    """
    try:
        arrays = read_arrays(path, max_bytes=_USER_MAX_BYTES)
        has_input_so_called = any(tensor.name == "labels" for tensor in tensors)
        is_input = has_input_so_called and "input:labels" not in arrays
        labels = None if is_input else arrays.pop("labels", None)
        inputs, outputs = values_of(_members(arrays, tensors))
    except (MalformedMessage, ValueError) as exc:
        raise UsageError(f"{path.name}: {str(exc).removeprefix(f'{path.name}: ')}") from exc
    rows = {tensor.name: _rows(tensor, inputs, arrays, path) for tensor in tensors}
    runs = _runs(rows, path)
    chosen = np.unique(np.linspace(0, runs - 1, min(runs, max_samples)).round().astype(int))
    if labels is not None:
        labels = _per_run(labels, runs, f"{path.name}: labels")[chosen]
    wanted = {
        name: _chosen(_outputs(one, runs, f"{path.name}: output:{name}"), chosen)
        for name, one in outputs.items()
    }
    taken = {name: _chosen(_repeated(one, runs), chosen) for name, one in rows.items()}
    return Samples(taken, wanted, labels)


def _members(arrays: dict[str, Array], tensors: Sequence[Tensor]) -> dict[str, Array]:
    """Give the members of a samples file: an input may be called by its bare name."""
    names = {tensor.name for tensor in tensors}
    return {
        f"input:{name}" if name in names else name: array
        for name, array in arrays.items()
        if name in names or name.startswith(("input:", "input.", "output:", "output."))
    }


def _rows(tensor: Tensor, inputs: dict[str, Rows], arrays: dict[str, Array], path: Path) -> Rows:
    """Give one input's values, a run each, of the type that the model takes."""
    kind = value_type(tensor.dtype)
    if kind is None:
        raise UsageError(f"{path.name}: input {tensor.name!r} of {tensor.dtype} cannot be sampled")
    bare = arrays.get(tensor.name, arrays.get(f"input:{tensor.name}"))
    if bare is not None and bare.ndim == 0:
        inputs = {**inputs, tensor.name: bare[None]}
    rows = inputs.get(tensor.name)
    if rows is None:
        raise UsageError(
            f"{path.name}: expected an array {tensor.name!r}, got {sorted(arrays)!r:.200}"
        )
    if isinstance(rows, np.ndarray):
        if kind.form != "tensor":
            raise UsageError(
                f"{path.name}: {tensor.name!r} is a {tensor.dtype}: expected members"
                f" 'input.RUN.ITEM:{tensor.name}', got one array"
            )
        return _cast(_cut(tensor, rows, path), kind)
    return [_cast_value(value, kind) for value in rows]


def _cut(tensor: Tensor, array: Array, path: Path) -> Array:
    """Give an array with one run per row, whether it came in batches or not."""
    rank, given = len(tensor.shape), list(array.shape)
    if array.ndim == rank and rank > 0:
        batch = tensor.shape[0] if isinstance(tensor.shape[0], int) else 1
        whole = len(array) // max(1, batch) * batch
        array = array[:whole].reshape(whole // max(1, batch), batch, *array.shape[1:])
    sizes = [d if isinstance(d, int) else None for d in tensor.shape]
    fits = array.ndim == rank + 1 and all(
        want in {None, got} for want, got in zip(sizes, array.shape[1:], strict=True)
    )
    if not fits:
        raise UsageError(
            f"{path.name}: {tensor.name!r}: expected rows of shape {list(tensor.shape)},"
            f" got an array of shape {given}"
        )
    return array


def _cast(array: Array, kind: ValueType) -> Array:
    array = array.astype(kind.element)
    return rounded(kind.narrow, array) if kind.narrow else array


def _cast_value(value: Value, kind: ValueType) -> Value:
    if isinstance(value, list):
        return [_cast(array, kind) for array in value]
    return _cast(value, kind) if isinstance(value, np.ndarray) else value


def _runs(rows: dict[str, Rows], path: Path) -> int:
    """Give the number of runs: every input has as many, or one for all."""
    counts = {name: len(one) for name, one in rows.items()}
    if len(set(counts.values()) - {1}) > 1 or 0 in counts.values():
        raise UsageError(f"{path.name}: expected as many rows for each input, got {counts}")
    return max(counts.values(), default=1)


def _repeated(rows: Rows, runs: int) -> Rows:
    if len(rows) == runs:
        return rows
    return np.repeat(rows, runs, 0) if isinstance(rows, np.ndarray) else [*rows] * runs


def _chosen(rows: Rows, chosen: Array) -> Rows:
    return rows[chosen] if isinstance(rows, np.ndarray) else [rows[at] for at in chosen]


def _outputs(rows: Rows, runs: int, what: str) -> Rows:
    if isinstance(rows, np.ndarray):
        return _per_run(rows, runs, what)
    if len(rows) != runs:
        raise UsageError(f"{what}: expected {runs} runs, got {len(rows)}")
    return rows


def _per_run(array: Array, runs: int, what: str) -> Array:
    """Give labels or outputs, one item or one batch per run, as one row per run."""
    if array.ndim == 0 or len(array) % runs or len(array) == 0:
        raise UsageError(f"{what}: expected a multiple of {runs} rows, got {list(array.shape)}")
    return array if len(array) == runs else array.reshape(runs, -1, *array.shape[1:])
