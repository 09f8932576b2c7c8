"""Numbers narrower than numpy has types for: bfloat16, the 8-bit floats, integers of 4 and 2 bits.

A sample holds them in a wider type that has every one of their values (float32, int8, uint8), so
that a file of samples is plain numpy, and golden outputs are compared as any others. Only whoever
hands them to a runtime needs their bytes: `pack` and `unpack`.

The layouts are those of the ONNX standard (onnx.proto3, TensorProto.DataType): bfloat16 is the
upper half of a float32; float8 is sign, exponent, mantissa, with what stands for NaN and infinity
by type (docs/technical/float8.md of onnx); integers of 4 and 2 bits lie with the first in the low
bits of a byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of any type and shape."""


@dataclass(frozen=True, slots=True)
class NarrowType:
    """One of these types.

    Attributes:
        onnx: its number among the data types of ONNX.
        numpy: the type that holds its values in a sample.
        bits: of one number.
        mantissa: bits of a float's fraction; 0 for integers.
        bias: of a float's exponent.
        has_infinity: whether a float of the largest exponent and no fraction is infinite.
        zero_is_nan: whether minus zero stands for NaN, and no other value does.
    """

    onnx: int
    numpy: str
    bits: int
    mantissa: int = 0
    bias: int = 0
    has_infinity: bool = False
    zero_is_nan: bool = False


NARROW_TYPES: Final[Mapping[str, NarrowType]] = {
    "bfloat16": NarrowType(16, "float32", 16),
    "float8e4m3fn": NarrowType(17, "float32", 8, mantissa=3, bias=7),
    "float8e4m3fnuz": NarrowType(18, "float32", 8, mantissa=3, bias=8, zero_is_nan=True),
    "float8e5m2": NarrowType(19, "float32", 8, mantissa=2, bias=15, has_infinity=True),
    "float8e5m2fnuz": NarrowType(20, "float32", 8, mantissa=2, bias=16, zero_is_nan=True),
    "uint4": NarrowType(21, "uint8", 4),
    "int4": NarrowType(22, "int8", 4),
    "uint2": NarrowType(25, "uint8", 2),
    "int2": NarrowType(26, "int8", 2),
}
"""By the name that onnxruntime gives, in `tensor(NAME)`."""


def pack(name: str, values: Array) -> bytes:
    """Give the bytes of numbers, as a runtime wants them; what lies between two goes to the nearer.

    Args:
        name: of the narrow type.
        values: of any shape; integers beyond the type's range wrap around.
    """
    kind = NARROW_TYPES[name]
    flat = np.ascontiguousarray(values).reshape(-1)
    if name == "bfloat16":
        return _to_bfloat16(flat.astype(np.float32)).tobytes()
    if kind.numpy == "float32":
        return _to_float8(name, flat.astype(np.float32)).tobytes()
    return _pack_bits(flat.astype(np.int64), kind.bits)


def unpack(name: str, data: bytes, shape: tuple[int, ...]) -> Array:
    """Give the numbers that lie in a runtime's bytes, in the type that samples hold them in.

    Args:
        name: of the narrow type.
        data: its bytes.
        shape: of the array.
    """
    kind = NARROW_TYPES[name]
    count = int(np.prod(shape, dtype=np.int64))
    if name == "bfloat16":
        halves = np.frombuffer(data, np.uint16, count).astype(np.uint32)
        return (halves << 16).view(np.float32).reshape(shape)
    raw = np.frombuffer(data, np.uint8)
    if kind.numpy == "float32":
        return _float8_values(name)[raw[:count]].reshape(shape)
    return _unpack_bits(raw, kind, count).reshape(shape)


def rounded(name: str, values: Array) -> Array:
    """Give the nearest values that the narrow type has, in the type that samples hold them in."""
    return unpack(name, pack(name, values), values.shape)


def _to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    halves = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), halves).astype(np.uint16)


@cache
def _float8_values(name: str) -> NDArray[np.float32]:
    """Give the value of each of the 256 bytes."""
    kind = NARROW_TYPES[name]
    code = np.arange(256)
    fraction = (code & ((1 << kind.mantissa) - 1)) / (1 << kind.mantissa)
    exponent = (code & 0x7F) >> kind.mantissa
    is_normal = exponent > 0
    size = np.where(
        is_normal,
        (1 + fraction) * 2.0 ** (exponent - kind.bias),
        fraction * 2.0 ** (1 - kind.bias),
    )
    values = np.where(code & 0x80, -size, size).astype(np.float32)
    if kind.zero_is_nan:
        values[0x80] = np.nan
    elif kind.has_infinity:
        top = (code & 0x7F) >= (0x7F >> kind.mantissa) << kind.mantissa
        values[top] = np.nan
        values[0x7F >> kind.mantissa << kind.mantissa] = np.inf
        values[0x80 | 0x7F >> kind.mantissa << kind.mantissa] = -np.inf
    else:
        values[[0x7F, 0xFF]] = np.nan
    return values


def _to_float8(name: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give for each number the byte of the nearest finite value, of infinity itself, or of NaN."""
    table = _float8_values(name)
    finite = np.flatnonzero(np.isfinite(table))
    order = finite[np.argsort(table[finite], kind="stable")]
    ordered = table[order]
    clipped = np.clip(np.nan_to_num(values), ordered[0], ordered[-1])
    above = np.clip(np.searchsorted(ordered, clipped), 1, len(ordered) - 1)
    is_lower = clipped - ordered[above - 1] <= ordered[above] - clipped
    codes = order[np.where(is_lower, above - 1, above)]
    zero = np.flatnonzero((table == 0) & (np.arange(256) < 0x80))[0]
    codes = np.where(clipped == 0, zero, codes)
    for special in (np.inf, -np.inf):
        same = np.flatnonzero(table == special)
        if same.size:
            codes = np.where(values == special, same[0], codes)
    return np.where(np.isnan(values), np.flatnonzero(np.isnan(table))[0], codes).astype(np.uint8)


def _pack_bits(values: NDArray[np.int64], bits: int) -> bytes:
    in_byte = 8 // bits
    padded = np.zeros(-(-values.size // in_byte) * in_byte, np.uint8)
    padded[: values.size] = (values & ((1 << bits) - 1)).astype(np.uint8)
    shifts = np.arange(in_byte, dtype=np.uint8) * bits
    return bytes(np.bitwise_or.reduce(padded.reshape(-1, in_byte) << shifts, axis=1))


def _unpack_bits(raw: NDArray[np.uint8], kind: NarrowType, count: int) -> Array:
    shifts = np.arange(8 // kind.bits, dtype=np.uint8) * kind.bits
    values = ((raw[:, None] >> shifts) & ((1 << kind.bits) - 1)).reshape(-1)[:count]
    if kind.numpy == "uint8":
        return values.astype(np.uint8)
    signed = values.astype(np.int8)
    return np.where(signed >= 1 << (kind.bits - 1), signed - (1 << kind.bits), signed).astype(
        np.int8
    )
