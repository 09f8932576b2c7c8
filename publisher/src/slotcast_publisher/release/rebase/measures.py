"""Two measures for `rebase`: nearness to the given model's outputs, and accuracy on labels.

Candidates are run with onnxruntime on samples that were made with the given model, one thread, so
that a measure does not change from run to run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.image_files import Image
from slotcast_publisher.release.rebase.search import Measure
from slotcast_schemas import outputs
from slotcast_schemas.errors import UsageError
from slotcast_schemas.probe.onnx_session import OnnxSession
from slotcast_schemas.probe.runtime import Outputs
from slotcast_schemas.samples import Samples
from slotcast_schemas.value_types import Rows, arrays_of, stacked


def cosine_measure(entry: str, samples: Samples) -> Measure:
    """Make a measure: the mean cosine between a candidate's float outputs and those in `samples`.

    Args:
        entry: the ONNX file's path in the release.
        samples: inputs, and the given model's outputs.

    Raises:
        UsageError: the samples have no output of floats.
    """
    names = [name for name, rows in samples.outputs.items() if _has_floats(rows)]
    if not names or not samples.runs:
        raise UsageError("expected samples with float outputs to compare with, got none")

    def measure(files: Image) -> float:
        runs = _run(files, entry, samples)
        return float(
            np.mean(
                [
                    _cosine(got, wanted)
                    for index, run in enumerate(runs)
                    for name in names
                    for got, wanted in zip(
                        arrays_of(run[name]),
                        arrays_of(samples.expected(index)[name]),
                        strict=True,
                    )
                ]
            )
        )

    return measure


def accuracy_measure(entry: str, samples: Samples, output: str) -> Measure:
    """Make a measure: the share of the samples' labels that a candidate gives.

    Args:
        entry: the .onnx file's path in the release.
        samples: inputs, and a label for each result.
        output: the output to compare with the labels.

    Raises:
        UsageError: the samples have no labels.
    """
    labels = samples.labels
    if labels is None:
        raise UsageError("expected samples with labels to measure accuracy, got none")
    return lambda files: outputs.accuracy(_run(files, entry, samples), labels, output)


def _has_floats(rows: Rows) -> bool:
    return any(array.dtype.kind == "f" for array in stacked(rows))


def _run(files: Image, entry: str, samples: Samples) -> list[Outputs]:
    path = dict(files).get(entry)
    if path is None:
        raise UsageError(f"expected {entry} among the files, got {[name for name, _ in files]}")
    try:
        session = OnnxSession(path, threads=1)
    except Exception as exc:
        raise UsageError(f"{path.name}: expected a model that onnxruntime loads: {exc}") from exc
    return [session.run(samples.feed(index)) for index in range(samples.runs)]


def _cosine(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    """1 for the same direction; 0 where one of them has none, or is not finite."""
    first, second = (array.astype(np.float64).ravel() for array in (got, wanted))
    if np.array_equal(first, second):
        return 1.0
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    cosine = float(first @ second) / lengths if lengths > 0 else 0.0
    return cosine if np.isfinite(cosine) else 0.0
