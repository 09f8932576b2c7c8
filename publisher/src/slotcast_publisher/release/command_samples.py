"""Samples of a model that only devices' commands run: taken as they are given, and checked.

No runtime here makes outputs, so what devices shall compare with must be in the file: `output:NAME`
as the training framework, or the owner's own program, saw it. What a command reads of the inputs
is between it and whoever makes the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from slotcast_publisher.release.golden_samples import SAMPLES_DEFAULT
from slotcast_publisher.release.probe_limits import absolute_tolerances, least_accuracy
from slotcast_schemas.errors import MalformedMessage, UsageError
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.samples import SAMPLES_MAX_BYTES, Samples, read_arrays, write_samples
from slotcast_schemas.value_types import Array, stacked

_TOLERANCE: Final = 2e-2
"""The relative tolerance of an output: that of half precision, since nobody knows with which the
model calculates."""

_ATOL_MIN: Final = 1e-4
_COSINE: Final = 0.999
"""The least absolute tolerance of an output, and the least cosine with the expected one."""


def take_samples(path: Path, out: Path, label_output: str | None = None) -> Probe:
    """Write a release's samples file from a given one; give the probe that goes with it.

    Args:
        path: an .npz with `input:NAME` or `NAME`, `output:NAME` and `labels`, a run in each row.
        out: the samples file to write; `probe.samples` is its name.
        label_output: which output labels are compared with; None means the first.

    Raises:
        UsageError: the file is none, its arrays have different numbers of rows, or the labels do
            not fit the outputs that it has.
        OSError: a file cannot be read or written.
    """
    try:
        arrays = read_arrays(path, max_bytes=SAMPLES_MAX_BYTES)
    except MalformedMessage as exc:
        raise UsageError(str(exc)) from exc
    rows = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(rows.values())) != 1 or 0 in rows.values():
        raise UsageError(f"{path.name}: expected as many rows everywhere, got {rows!r:.300}")
    runs = next(iter(rows.values()))
    chosen = np.unique(np.linspace(0, runs - 1, min(runs, SAMPLES_DEFAULT)).round().astype(int))
    kept = {name: array[chosen] for name, array in arrays.items()}
    labels = kept.pop("labels", None)
    samples = Samples(_inputs(kept), _outputs(kept), labels)
    write_samples(out, samples)
    return _probe(samples, out.name, label_output)


def _inputs(arrays: dict[str, Array]) -> dict[str, Array]:
    return {
        name.removeprefix("input:"): array
        for name, array in arrays.items()
        if not name.startswith("output:")
    }


def _outputs(arrays: dict[str, Array]) -> dict[str, Array]:
    return {
        name.removeprefix("output:"): array
        for name, array in arrays.items()
        if name.startswith("output:")
    }


def _probe(samples: Samples, name: str, label_output: str | None) -> Probe:
    atol, output_atol = absolute_tolerances(samples.outputs, _TOLERANCE, _ATOL_MIN)
    has_floats = any(
        array.dtype.kind == "f" and array.size
        for rows in samples.outputs.values()
        for array in stacked(rows)
    )
    least = None
    if samples.labels is not None and samples.outputs:
        # What was right where the outputs come from: nothing here measures it.
        label_output = label_output or next(iter(samples.outputs))
        runs = [samples.expected(run) for run in range(samples.runs)]
        least = least_accuracy(samples.labels, [runs], label_output)
    return Probe(
        samples=name,
        rtol=_TOLERANCE,
        atol=atol,
        output_atol=output_atol,
        min_cosine=_COSINE if has_floats else None,
        min_accuracy=least,
        label_output=label_output if samples.labels is not None else None,
    )
