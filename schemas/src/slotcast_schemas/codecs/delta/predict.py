"""Predictions of new elements from old ones, bit-equal on every CPU that keeps to IEEE 754.

Each rounding is written out: one numpy operation per rounding, in a fixed order, never fused.
`selftest` checks on the machine itself that this holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.elements import (
    FLOAT16,
    Bits,
    ElementKind,
    is_negative,
    of_elements,
    ordered,
    sign_spread,
)
from slotcast_schemas.codecs.delta.segments import (
    DecayMap,
    LowRank,
    Rebase,
    TensorSegment,
)


def predict(tensor: TensorSegment, old: Bits, first: int) -> Bits:
    """Give the elements that `old`, unsigned, shape (n,), is expected to have become; same shape.

    Args:
        tensor: the segment.
        old: elements of the base from element `first` of the segment on, whole rows of them
            where the predictor works on rows.
        first: index in the segment of `old`'s first element.
    """
    predictor = tensor.predictor
    if isinstance(predictor, DecayMap):
        is_mapped = of_elements(predictor.is_mapped, tensor.block, first, len(old))
        return apply_decay_map(tensor.kind, predictor, old, is_mapped)
    if isinstance(predictor, LowRank):
        columns = predictor.right.shape[1]
        row = first // columns
        left = predictor.left[row : row + len(old) // columns]
        return apply_low_rank(tensor.kind, LowRank(left, predictor.right), old)
    return old


def apply_decay_map(
    kind: ElementKind, decay: DecayMap, old: Bits, is_mapped: NDArray[np.bool_]
) -> Bits:
    """Move old elements in magnitude by the map's steps, where mapped; modulo 2**bits.

    Args:
        kind: a kind of floats.
        decay: the step for each pattern of the mantissa's leading bits.
        old: elements of the base, unsigned, shape (n,).
        is_mapped: bool, shape (n,): whether the element is moved.
    """
    assert kind.mantissa_bits is not None  # noqa: S101  (the format lets only floats have a map)
    if not is_mapped.any():
        return old
    index = (old >> (kind.mantissa_bits - decay.table_bits)) & ((1 << decay.table_bits) - 1)
    steps = decay.steps.take(index)
    if not is_mapped.all():
        steps *= is_mapped
    # A float's magnitude is all its bits but the sign, so it may be moved as it is.
    moved: Bits = old + steps.astype(kind.unsigned)
    if np.any(is_negative(kind, moved ^ old)):
        # Unless one goes through zero, or beyond all numbers: then as the format has it.
        negative = sign_spread(kind, old).astype(np.int32)
        steps = (steps ^ negative) - negative
        return ordered(kind, ordered(kind, old) + steps.astype(kind.unsigned))
    return moved


def apply_low_rank(kind: ElementKind, factors: LowRank, old: Bits) -> Bits:
    """Add left @ right to old elements, summed in float64 by growing rank, rounded once at the end.

    Args:
        kind: a kind of floats.
        factors: left, shape (rows, rank), and right, shape (rank, columns).
        old: elements of the base, unsigned, shape (rows * columns,).
    """
    floats = old.view(_float_type(kind))
    with np.errstate(all="ignore"):
        sums = floats.astype(np.float64).reshape(len(factors.left), -1)
        for left, right in zip(factors.left.T, factors.right, strict=True):
            product = np.multiply(left.astype(np.float64)[:, None], right.astype(np.float64))
            np.add(sums, product, out=sums)
        rounded = sums.ravel().astype(_float_type(kind)).view(kind.unsigned)
    # A NaN's bits are not the same on every CPU once it was calculated with: keep the old ones.
    return np.where(np.isnan(floats) | np.isnan(rounded.view(_float_type(kind))), old, rounded)


def apply_rebase(kind: ElementKind, rebase: Rebase, old: Bits, difference: Bits) -> Bits:
    """Give fl(old + fl(fl(difference) * step)) in float32; float16 is rounded once more at last.

    Args:
        kind: float32 or float16.
        rebase: the step.
        old: elements of the base.
        difference: whole steps, signed, modulo 2**bits.
    """
    floats = old.view(_float_type(kind))
    with np.errstate(all="ignore"):
        steps = difference.view(kind.signed).astype(np.float32)
        product = np.multiply(steps, rebase.step, dtype=np.float32)
        total = np.add(floats.astype(np.float32), product, dtype=np.float32)
        rounded = total.astype(_float_type(kind)).view(kind.unsigned)
    unmoved = (difference == 0) | np.isnan(rounded.view(_float_type(kind)))
    return np.where(unmoved, old, rounded)


def _float_type(kind: ElementKind) -> np.dtype[np.float16] | np.dtype[np.float32]:
    return np.dtype("<f2") if kind == FLOAT16 else np.dtype("<f4")
