"""What an old element is expected to have become, held against numbers calculated one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.elements import FLOAT16, FLOAT32, ElementKind
from slotcast_schemas.codecs.delta.predict import apply_decay_map, apply_low_rank, apply_rebase
from slotcast_schemas.codecs.delta.segments import DecayMap, LowRank, Rebase

Floats = NDArray[np.float16] | NDArray[np.float32]
BY_TYPE: dict[type[np.floating], ElementKind] = {np.float16: FLOAT16, np.float32: FLOAT32}
TYPES = pytest.mark.parametrize("dtype", BY_TYPE)


def _bits(values: Floats) -> NDArray[np.unsignedinteger]:
    return values.view(BY_TYPE[values.dtype.type].unsigned)


def _decay(*steps: int) -> DecayMap:
    """A map by the highest bit of the mantissa."""
    return DecayMap(1, np.array(steps, dtype=np.int32), np.ones(1, dtype=bool))


@TYPES
def test_only_what_is_mapped_decays(dtype: type[np.floating]) -> None:
    old = np.array([1.0, -1.0, 1.75, 1.0], dtype=dtype)
    mapped = np.array([True, True, True, False])
    got = apply_decay_map(BY_TYPE[dtype], _decay(-1, -3), _bits(old), mapped).view(dtype)
    below = np.nextafter(np.array(1, dtype), np.array(0, dtype), dtype=dtype)
    third = _bits(old)[2] - 3
    assert got.tolist()[:2] == [below, -below]
    assert _bits(got)[2] == third
    assert got[3] == 1.0


@TYPES
def test_a_number_that_decays_through_zero_changes_its_sign(dtype: type[np.floating]) -> None:
    """Two steps from the least above zero is the least below it; between them lie both zeros."""
    least = np.nextafter(np.array(0, dtype), np.array(1, dtype), dtype=dtype)
    old = np.array([least, -least, 1.0], dtype=dtype)
    got = apply_decay_map(BY_TYPE[dtype], _decay(-3, 0), _bits(old), np.ones(3, dtype=bool))
    assert got.view(dtype)[:2].tolist() == [-least, least]
    assert got[2] == _bits(old)[2] - 3


def test_steps_are_of_32_bits_where_elements_are_of_16() -> None:
    """Steps wrap around at the elements' width, not at the map's."""
    old = np.array([0x3C00], dtype="<u2")
    got = apply_decay_map(FLOAT16, _decay(-(1 << 16) - 2, 0), old, np.ones(1, dtype=bool))
    assert got.tolist() == [0x3BFE]
    assert got.dtype == np.dtype("<u2")


@TYPES
def test_a_low_rank_move_is_summed_in_float64_and_rounded_once(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(1)
    old = rng.standard_normal((6, 5)).astype(dtype)
    left, right = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 2), (2, 5)))
    wide = [
        [
            float(old[row, column])
            + float(left[row, 0]) * float(right[0, column])
            + float(left[row, 1]) * float(right[1, column])
            for column in range(5)
        ]
        for row in range(6)
    ]
    got = apply_low_rank(BY_TYPE[dtype], LowRank(left, right), _bits(old).ravel())
    assert np.array_equal(got.view(dtype).reshape(6, 5), np.array(wide).astype(dtype))


@TYPES
def test_what_was_not_a_number_keeps_its_bits(dtype: type[np.floating]) -> None:
    kind = BY_TYPE[dtype]
    old = np.full(4, -1, dtype=kind.signed).view(kind.unsigned)
    ones = np.ones((2, 1), dtype=np.float32)
    assert apply_low_rank(kind, LowRank(ones, ones.T), old).tolist() == old.tolist()
    steps = np.ones(4, dtype=kind.unsigned)
    assert apply_rebase(kind, Rebase(np.float32(0.5)), old, steps).tolist() == old.tolist()


@TYPES
def test_a_rebase_rounds_after_each_operation(dtype: type[np.floating]) -> None:
    """In float32: the product, then the sum; float16 once more. Not in float64, where each
    step of these thousand would come out the same or one unit beside it."""
    kind, step = BY_TYPE[dtype], np.float32(3.1e-5)
    rng = np.random.default_rng(2)
    old = rng.standard_normal(1000).astype(dtype)
    whole = rng.integers(-30_000, 30_000, 1000)
    whole[:10] = 0
    wanted = []
    for each, count in zip(old, whole.tolist(), strict=True):
        product = np.float32(np.float32(count) * step)
        wanted.append(dtype(np.float32(np.float32(each) + product)) if count else each)
    got = apply_rebase(
        kind, Rebase(step), _bits(old), whole.astype(kind.signed).view(kind.unsigned)
    )
    assert np.array_equal(got.view(dtype), np.array(wanted, dtype=dtype))
