"""Numbers that numpy has no types for: their bytes are those of the ONNX standard."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from slotcast_schemas.narrow_types import NARROW_TYPES, pack, rounded, unpack

FLOATS = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8e5m2": ml_dtypes.float8_e5m2,
    "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
}
INTEGERS = {"int4": (-8, 8), "uint4": (0, 16), "int2": (-2, 2), "uint2": (0, 4)}


@pytest.mark.parametrize("name", FLOATS)
def test_every_float_reads_as_another_library_reads_it_and_goes_back(name: str) -> None:
    bits = NARROW_TYPES[name].bits
    codes = np.arange(1 << bits, dtype=np.uint16 if bits == 16 else np.uint8)
    want = codes.view(FLOATS[name]).astype(np.float32)
    got = unpack(name, codes.tobytes(), codes.shape)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(rounded(name, want), want)


@pytest.mark.parametrize("name", FLOATS)
def test_what_lies_between_goes_to_the_nearer(name: str) -> None:
    values = np.random.default_rng(1).normal(0, 3, 1000).astype(np.float32)
    got = rounded(name, values)
    there = np.unique(unpack_all(name))
    there = there[np.isfinite(there)]
    nearest = np.abs(there[None, :] - values[:, None]).min(axis=1)
    np.testing.assert_array_equal(np.abs(got - values), nearest)


def unpack_all(name: str) -> Any:
    bits = NARROW_TYPES[name].bits
    codes = np.arange(1 << bits, dtype=np.uint16 if bits == 16 else np.uint8)
    return unpack(name, codes.tobytes(), codes.shape)


@pytest.mark.parametrize(("name", "ends"), INTEGERS.items())
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (2, 3, 5)])
def test_integers_of_a_few_bits_lie_side_by_side(
    name: str, ends: tuple[int, int], shape: tuple[int, ...]
) -> None:
    kind = NARROW_TYPES[name]
    values = np.asarray(np.random.default_rng(2).integers(*ends, shape)).astype(kind.numpy)
    data = pack(name, values)
    assert len(data) == -(-values.size * kind.bits // 8)
    got = unpack(name, data, shape)
    assert got.dtype == kind.numpy
    np.testing.assert_array_equal(got, values)
    assert pack("uint4", np.array([1, 2, 3], np.uint8)) == b"\x21\x03"  # the first in the low bits
