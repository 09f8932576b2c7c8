"""What a device holds a model to: tolerances by its arithmetic, and the accuracy seen here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import onnx

from slotcast_publisher.delta.formats.tflite import find_in_tflite
from slotcast_publisher.release.repeatability import ABSOLUTE_MIN, Run, root_mean_square
from slotcast_schemas import limits, outputs
from slotcast_schemas.codecs.delta.elements import BFLOAT16, FLOAT16, INT4, INT8
from slotcast_schemas.codecs.source import FileSource
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.model_formats import LITERT, ONNX
from slotcast_schemas.probe.scan import is_prepared
from slotcast_schemas.probe.spec import SlotModel
from slotcast_schemas.samples import Array, Samples
from slotcast_schemas.value_types import Rows, stacked

Arithmetic = Literal["float32", "half", "quantised"]

_TOLERANCE: Final[dict[Arithmetic, tuple[float, float]]] = {
    "float32": (1e-3, 0.999),
    "half": (2e-2, 0.999),
    "quantised": (5e-2, 0.98),
}
"""Relative tolerance and least cosine. Devices differ from the publisher's machine in the order
of sums, in fused multiply-add, and, for int8, in saturation (x86 without VNNI adds in 16 bits:
onnxruntime's documentation of quantisation, `session.x64quantprecision`). What is expected of int8
is made without that shortcut, so that a device is away from it by one kernel and not by two."""

_QUANTISED_MOST: Final = 1e-1
"""The relative tolerance of int8 where this machine's own kernel is far from the exact sums."""

_ROOM: Final = 2.0
"""How many times as far as this machine's own kernel another may be."""

_ATOL_MAX: Final = 1e6
"""The most that a message can hold."""

_WEIGHTS_MIN: Final = 64
"""The least elements of a LiteRT file's constant that tell of its arithmetic."""

_QUANTISED_OPS: Final = ("QLinear", "DequantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQ")
"""How the names of ONNX's operators on quantised numbers begin."""


def arithmetic(path: Path, model_format: str = ONNX) -> Arithmetic:
    """Say how the model calculates, by its operators and the types of its weights."""
    if model_format == LITERT:
        return _arithmetic_of_litert(path)
    # What onnxruntime prepared for itself does not say; it is compared as the finest is.
    return "float32" if is_prepared(path) else _arithmetic_of_onnx(path)


def _arithmetic_of_litert(path: Path) -> Arithmetic:
    with FileSource(path) as source:
        kinds = {place.kind for place in find_in_tflite(source) if place.count >= _WEIGHTS_MIN}
    if kinds & {INT8, INT4}:
        return "quantised"
    return "half" if kinds & {FLOAT16, BFLOAT16} else "float32"


def _arithmetic_of_onnx(path: Path) -> Arithmetic:
    model = onnx.load(str(path), load_external_data=False)
    if any(node.op_type.startswith(_QUANTISED_OPS) for node in model.graph.node):
        return "quantised"
    types = {tensor.data_type for tensor in model.graph.initializer}
    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    return "half" if types & halves else "float32"


def is_quantised_model(model: SlotModel) -> bool:
    """Say whether a model calculates with small integers."""
    return arithmetic(model.path, model.format) == "quantised"


def relative_tolerance(model: SlotModel) -> float:
    """Say by how much a device's outputs may differ from those seen here, relative to them."""
    return _TOLERANCE[arithmetic(model.path, model.format)][0]


def probe_of(
    model: SlotModel, kept: Samples, name: str, apart: Mapping[str, float] = MappingProxyType({})
) -> Probe:
    """Say how a device shall compare with what was kept.

    Args:
        model: where it is, and of which format.
        kept: what goes into the samples file.
        name: of the samples file.
        apart: how far each output comes from what was kept when this machine calculates otherwise
            (its own kernel for int8, no fused operators), as a multiple of the usual tolerance.
    """
    usual = arithmetic(model.path, model.format)
    rtol, cosine = _TOLERANCE[usual]
    if usual == "quantised":
        spread = max((apart.get(output, 0.0) for output in kept.outputs), default=0.0)
        rtol = max(rtol, min(rtol * spread * _ROOM, _QUANTISED_MOST))
        apart = {}
    atol, output_atol = absolute_tolerances(kept.outputs, rtol, ABSOLUTE_MIN, apart)
    return Probe(
        samples=name,
        rtol=rtol,
        atol=atol,
        min_cosine=cosine if _scales(kept.outputs) else None,
        output_atol=output_atol,
    )


def absolute_tolerances(
    outputs: Mapping[str, Rows],
    rtol: float,
    least: float,
    apart: Mapping[str, float] = MappingProxyType({}),
) -> tuple[float, dict[str, float]]:
    """Give the absolute tolerance by the largest output's scale, and those of smaller ones.

    Devices that know of one alone hold every output to the first.

    Args:
        outputs: what is expected, by name.
        rtol: the relative tolerance.
        least: the smallest absolute one.
        apart: how far outputs come from that on this machine, as a multiple of their tolerance.
    """
    own = {
        name: min(_ATOL_MAX, max(least, rtol * scale) * max(1.0, _ROOM * apart.get(name, 0.0)))
        for name, scale in _scales(outputs).items()
    }
    atol = max(own.values(), default=least)
    few = sorted(own.items())[: limits.TENSORS_MAX]
    return atol, {name: value for name, value in few if value < atol}


def _scales(outputs: Mapping[str, Rows]) -> dict[str, float]:
    """Give the root mean square of each output that has floats."""
    floats = {
        name: [array for array in stacked(rows) if array.dtype.kind == "f" and array.size]
        for name, rows in outputs.items()
    }
    return {
        name: max(root_mean_square(array) for array in arrays)
        for name, arrays in floats.items()
        if arrays
    }


def least_accuracy(labels: Array, runs: Sequence[Sequence[Run]], output: str | None) -> float:
    """Give the accuracy that devices must reach: what was measured here, less one label.

    Where the model draws lots, a device draws others: less four standard deviations as well.

    Args:
        labels: int64, one row for each run.
        runs: what the model said to each sample; several times where it varies.
        output: whose largest element is the label.

    Raises:
        UsageError: no such output, or its shape does not fit the labels.
    """
    if output is None or output not in runs[0][0]:
        raise UsageError(
            f"labels: expected one of the outputs {sorted(runs[0][0])}, got {output!r}"
        )
    try:
        measured = float(np.mean([outputs.accuracy(one, labels, output) for one in runs]))
    except ValueError as exc:
        raise UsageError(f"labels: {exc}") from exc
    deviation = _accuracy_deviation(measured, labels.size) if len(runs) > 1 else 0.0
    return max(0.0, measured - 1 / labels.size - 4 * deviation)


def _accuracy_deviation(measured: float, count: int) -> float:
    """Give the standard deviation of an accuracy over so many labels, where lots are drawn.

    Two right and two wrong are added (Agresti and Coull, 1998): otherwise luck here, all right in a
    few runs, would leave a device no room at all.
    """
    share = (measured * count + 2) / (count + 4)
    return float((share * (1 - share) / count) ** 0.5)
