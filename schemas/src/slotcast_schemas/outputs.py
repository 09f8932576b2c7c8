"""What both sides ask of a model's outputs: finite, not constant, and right where labels say so.

The publisher warns by the same functions by which the device refuses, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from slotcast_schemas.value_types import Array, Value, arrays_of

Outputs = Mapping[str, Value]
"""One run's outputs, by name."""


def nonfinite(outputs: Outputs) -> str:
    """Describe the first output with NaN or infinity; empty if there is none."""
    arrays = ((name, array) for name, value in outputs.items() for array in arrays_of(value))
    for name, array in arrays:
        if array.dtype.kind == "f":
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            if bad:
                return f"output {name!r}: {bad} of {array.size} values are NaN or infinite"
    return ""


def constant(runs: Sequence[Outputs]) -> str:
    """Describe the outputs if none of the float ones depends on the input; empty if one does.

    With a single run, an output of which all elements are alike counts as constant.
    """
    names = [name for name, value in runs[0].items() if _has_floats(value)] if runs else []
    if not names or not all(_is_constant([run.get(name) for run in runs]) for name in names):
        return ""
    said = f"outputs {', '.join(names)!r:.200}"
    if len(runs) == 1:
        return f"{said}: every number is the same, and there is one sample alone to judge by"
    return f"{said} are the same for {len(runs)} different inputs"


def _has_floats(value: Value) -> bool:
    return any(array.dtype.kind == "f" and array.size for array in arrays_of(value))


def _is_constant(values: Sequence[Value]) -> bool:
    first = arrays_of(values[0])
    if len(values) == 1:
        return all(a.size > 1 and bool(np.all(a == a.flat[0])) for a in first if a.size)
    return all(_are_same(arrays_of(value), first) for value in values[1:])


def _are_same(these: Sequence[Array], those: Sequence[Array]) -> bool:
    return len(these) == len(those) and all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f" == b.dtype.kind)
        for a, b in zip(these, those, strict=True)
    )


def accuracy(got: Sequence[Outputs], labels: Array, output: str) -> float:
    """Give the share of labels that are right; of scores, the largest element's index counts.

    Args:
        got: the outputs of each run, by name.
        labels: one for each result, of any type and shape; compared as text, in order.
        output: the output to compare: scores (float, classes along the last axis) or results
            (else).

    Raises:
        ValueError: there are not as many results as labels.
    """
    flat = predictions(got, output)
    if flat.size != labels.size:
        raise ValueError(f"expected one result for each of {labels.size} labels, got {flat.size}")
    return float(np.mean(flat.astype(str) == labels.ravel().astype(str)))


def predictions(got: Sequence[Outputs], output: str) -> Array:
    """Give what is compared with labels: of scores the largest element's index, else the results.

    Args:
        got: the outputs of each run, by name.
        output: the output that says it.
    """
    predicted = []
    for outputs in got:
        (array,) = arrays_of(outputs[output])  # a sequence of several raises ValueError
        is_scores = array.dtype.kind == "f" and array.ndim > 0
        predicted.append(np.argmax(array, axis=-1).ravel() if is_scores else array.ravel())
    return np.concatenate(predicted)
