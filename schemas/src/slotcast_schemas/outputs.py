"""What both sides ask of a model's outputs: finite, not constant, and right where labels say so.

The publisher warns by the same functions by which the device refuses, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of any type and shape."""

Outputs = Mapping[str, Array]
"""One run's outputs, by name."""


def nonfinite(outputs: Outputs) -> str:
    """Describe the first output with NaN or infinity; empty if there is none."""
    for name, array in outputs.items():
        if array.dtype.kind == "f":
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            if bad:
                return f"output {name!r}: {bad} of {array.size} values are NaN or infinite"
    return ""


def constant(runs: Sequence[Outputs]) -> str:
    """Describe the outputs if none of the float ones depends on the input; empty if one does.

    With a single run, an output of which all elements are alike counts as constant.
    """
    names = [n for n, a in runs[0].items() if a.dtype.kind == "f" and a.size] if runs else []
    if not names or not all(_is_constant([run[name] for run in runs]) for name in names):
        return ""
    return f"outputs {', '.join(names)!r:.200} are the same for {len(runs)} different inputs"


def _is_constant(arrays: Sequence[Array]) -> bool:
    if len(arrays) == 1:
        return arrays[0].size > 1 and bool(np.all(arrays[0] == arrays[0].flat[0]))
    return all(np.array_equal(array, arrays[0], equal_nan=True) for array in arrays[1:])


def accuracy(got: Sequence[Outputs], labels: Array, output: str) -> float:
    """Give the share of labels that are right; of scores, the largest element's index counts.

    Args:
        got: the outputs of each run, by name.
        labels: one for each result, of any type and shape; compared as text, in order.
        output: the output to compare: scores (float, classes along the last axis) or results
            (else).
    """
    predicted = []
    for outputs in got:
        array = outputs[output]
        is_scores = array.dtype.kind == "f" and array.ndim > 0
        predicted.append(np.argmax(array, axis=-1).ravel() if is_scores else array.ravel())
    flat = np.concatenate(predicted)
    if flat.size != labels.size:
        raise ValueError(f"expected one result for each of {labels.size} labels, got {flat.size}")
    return float(np.mean(flat.astype(str) == labels.ravel().astype(str)))
