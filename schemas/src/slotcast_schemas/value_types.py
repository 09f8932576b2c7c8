"""What a model's input or output can be: a tensor, a sequence of tensors, a map, perhaps nothing.

Read from the runtime's own words, such as `optional(seq(tensor(float)))`.
A value in a sample is an array; a list of arrays for a sequence; a dict for a map; None for an
optional that is left out. Numbers for which numpy has no type are held in a wider one
(`narrow_types`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.narrow_types import NARROW_TYPES

Array = NDArray[Any]
"""An array of any type and shape."""

Value = Array | list[Array] | dict[Any, Any] | None
"""What goes into a model, or comes out, by one name."""

Rows = Array | Sequence[Value]
"""Such a value for each run: stacked where all are arrays of a shape, else a list."""

NUMPY_TYPES: Final[Mapping[str, str]] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}
"""onnxruntime's type names to numpy's, where numpy has the very type."""

_TYPE: Final = re.compile(r"(optional\()?(seq\()?tensor\(([a-z0-9]+)\)\)*\Z")
_MAP: Final = re.compile(r"map\((string|int64),tensor\((float|double|int64|string)\)\)\Z")

Form = Literal["tensor", "sequence", "map"]
"""How a value is put together."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """What one input takes, or one output gives.

    Attributes:
        element: numpy's name of its numbers' type.
        narrow: the name of their type where numpy has none, else empty.
        key: of a map, numpy's name of the type of its keys.
    """

    form: Form
    element: str
    narrow: str = ""
    is_optional: bool = False
    key: str = ""


@cache
def value_type(dtype: str) -> ValueType | None:
    """Read a type in the runtime's words; None where a sample cannot hold such values."""
    if match := _MAP.match(dtype):
        key, element = match.groups()
        return ValueType("map", NUMPY_TYPES[f"tensor({element})"], key=_KEYS[key])
    match = _TYPE.match(dtype)
    if match is None:
        return None
    optional, sequence, name = match.groups()
    form: Form = "sequence" if sequence else "tensor"
    narrow = NARROW_TYPES.get(name)
    element = narrow.numpy if narrow is not None else NUMPY_TYPES.get(f"tensor({name})")
    if element is None:
        return None
    return ValueType(form, element, name if narrow is not None else "", optional is not None)


_KEYS: Final = {"string": "str", "int64": "int64"}


def arrays_of(value: Value) -> list[Array]:
    """Give the arrays of a value: one, those of a sequence, a map's values in order of its keys."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [np.asarray([value[key] for key in sorted(value)])]
    return value if isinstance(value, list) else [value]


def size_bytes(value: Value) -> int:
    """Give the bytes of a value's arrays."""
    return sum(array.nbytes for array in arrays_of(value))


def rows_of(values: Sequence[Value]) -> Rows:
    """Put the values of runs together: stacked where all are arrays of one shape and type."""
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if arrays and len(arrays) == len(values):
        kinds = {(a.shape, a.dtype if a.dtype.kind != "U" else "U") for a in arrays}
        if len(kinds) == 1:
            return np.stack(arrays)
    return list(values)


def stacked(rows: Rows) -> list[Array]:
    """Give the arrays of all runs: one where they are stacked."""
    if isinstance(rows, np.ndarray):
        return [rows]
    return [array for value in rows for array in arrays_of(value)]
