"""The `onnx` package's own tests of each operator: a small model, with inputs and right outputs.

What onnx gives in types of its own (bfloat16, 8-bit floats, integers of 4 bits) becomes what a
samples file holds them in, and text becomes numpy's text.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from slotcast_schemas.samples import Samples, write_samples
from slotcast_schemas.value_types import Rows, Value, rows_of

_WIDER: Final = {
    "bfloat16": "float32",
    "float8_e4m3fn": "float32",
    "float8_e4m3fnuz": "float32",
    "float8_e5m2": "float32",
    "float8_e5m2fnuz": "float32",
    "float8_e8m0fnu": "float32",
    "float4_e2m1fn": "float32",
    "int4": "int8",
    "uint4": "uint8",
    "int2": "int8",
    "uint2": "uint8",
}
"""numpy's names of the types that only onnx brings, and what a sample holds them in."""


class NodeCase(msgspec.Struct, frozen=True, kw_only=True):
    """One test: a model's bytes, and runs of it."""

    name: str
    model: bytes
    samples: Samples


def load_cases() -> list[NodeCase]:
    """Give every test of onnx, in the order of their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of them divide by zero on purpose
        found = load_model_tests(kind="node")
    return sorted((_case(one) for one in found), key=lambda case: case.name)


def write_case(case: NodeCase, folder: Path) -> tuple[Path, Path]:
    """Write a case as a user has it: a model, and the samples to it.

    Raises:
        OSError: the folder takes no files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, samples = folder / "model.onnx", folder / "given.npz"
    model.write_bytes(case.model)
    write_samples(samples, case.samples)
    return model, samples


def _case(test: Any) -> NodeCase:
    model: onnx.ModelProto = test.model
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    runs = [tuple([_value(one) for one in side] for side in run) for run in test.data_sets]
    return NodeCase(
        name=test.name,
        model=model.SerializeToString(),
        samples=Samples(
            _rows(inputs, [given for given, _ in runs]),
            _rows(outputs, [wanted for _, wanted in runs]),
        ),
    )


def _rows(names: Sequence[str], runs: Sequence[Sequence[Value]]) -> dict[str, Rows]:
    """Give what each run has, by name."""
    return {name: rows_of([run[at] for run in runs]) for at, name in enumerate(names)}


def _value(value: Any) -> Value:
    if isinstance(value, onnx.TensorProto):  # so some tests have types that numpy has not
        return _array(numpy_helper.to_array(value))
    if isinstance(value, list | tuple):
        return [_array(one) for one in value]
    if value is None or isinstance(value, dict):
        return value
    return _array(value)


def _array(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind in "OS":
        texts = [one.decode() if isinstance(one, bytes) else str(one) for one in array.flat]
        return np.array(texts, dtype=np.str_).reshape(array.shape)
    wider = _WIDER.get(array.dtype.name)
    return array if wider is None else array.astype(wider)
