"""Finds the two thin factors of a difference of low rank, as a merged LoRA adapter leaves it.

A few rows tell whether it is worth a try; a randomised range finder (Halko, Martinsson, Tropp,
arXiv:0909.4061, algorithm 4.4) bounds the work for the others. Whether the factors pay is the
caller's to decide, by the coded size of what they leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.tensors import TensorPair
from slotcast_schemas.codecs.delta.elements import FLOAT16, FLOAT32
from slotcast_schemas.codecs.delta.segments import (
    RANK_MAX,
    ROW_MAX,
    LowRank,
    TensorSegment,
)

_PROBE_ROWS: Final = 64
"""The number of a matrix's rows by which it is seen whether factors may pay."""

_OVERSAMPLING: Final = 8
"""The random directions beside those that are kept (Halko, Martinsson, Tropp: Finding Structure
with Randomness, 2011)."""

_DIFFERENCE_MAX: Final = 1e12
"""The difference from which on, or where it is no number, no factors are looked for: its products
would not fit float32, and no weight moves so far."""

_CAPTURED_MIN: Final = 0.9
"""The share of the difference's energy that the factors must hold."""

_KEPT_MANTISSA_BITS: Final = (23, 15)
"""The bits of the factors' mantissas that are tried: all of float32, or 15, which pack better."""


def fit_low_rank(pair: TensorPair, tensor: TensorSegment, row: int) -> Iterator[LowRank]:
    """Give candidate factors of a matrix's difference; none where it is not nearly of low rank.

    Args:
        pair: where new and old elements are.
        tensor: the segment, whole rows of it.
        row: elements in a row of the target.
    """
    rows = tensor.count // row if row else 0
    if tensor.kind not in (FLOAT32, FLOAT16) or min(rows, row) < 2 * RANK_MAX or row > ROW_MAX:
        return
    if tensor.count % row:
        return
    if not _looks_low(pair, tensor, row):
        return
    difference = _difference(pair, tensor).reshape(rows, row)
    if not np.all(np.abs(difference) < _DIFFERENCE_MAX):
        return
    factors = _factorise(difference)
    if factors is None:
        return
    left, right = factors
    for bits in _KEPT_MANTISSA_BITS:
        yield LowRank(_rounded(left, bits), _rounded(right, bits))


def factor_bits(factors: LowRank) -> float:
    """Estimate what factors cost: trailing zeros are free, and exponents shrink a little."""
    mantissa = 23 if np.any(factors.left.view(np.uint32) & 0xFF) else 15
    return float((factors.left.size + factors.right.size) * (mantissa + 7))


def _difference(
    pair: TensorPair, tensor: TensorSegment, most: int | None = None
) -> NDArray[np.float32]:
    """New minus old, of the first elements only where there are enough of them for the caller."""
    float_type = np.dtype("<f2") if tensor.kind == FLOAT16 else np.dtype("<f4")
    out = np.empty(tensor.count, dtype=np.float32)
    done = 0
    with np.errstate(all="ignore"):
        for first, old, new in pair.strips(tensor):
            values = new.view(float_type).astype(np.float64) - old.view(float_type)
            done = first + len(old)
            out[first:done] = values
            if most is not None and done >= most:
                break
    return out[:most]


def _looks_low(pair: TensorPair, tensor: TensorSegment, row: int) -> bool:
    """Whether the first rows have most of their energy in few directions."""
    probe = _difference(pair, tensor, _PROBE_ROWS * row).reshape(-1, row).astype(np.float64)
    if not np.all(np.abs(probe) < _DIFFERENCE_MAX):
        return False
    energy = np.linalg.eigvalsh(probe @ probe.T)[::-1]
    total = energy.sum()
    return bool(total > 0 and energy[:RANK_MAX].sum() >= _CAPTURED_MIN * total)


def _factorise(
    difference: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    noise = np.random.default_rng(0).standard_normal(
        (difference.shape[1], RANK_MAX + _OVERSAMPLING), dtype=np.float32
    )
    basis, _ = np.linalg.qr(difference @ noise)
    basis, _ = np.linalg.qr(difference @ (difference.T @ basis))
    basis = basis.astype(np.float64)
    small = basis.T @ difference
    left, strength, right = np.linalg.svd(small, full_matrices=False)
    total = float(np.square(difference, dtype=np.float64).sum())
    if np.square(strength).sum() < _CAPTURED_MIN * total:
        return None
    falls = strength[:RANK_MAX] / np.maximum(strength[1 : RANK_MAX + 1], 1e-300)
    rank = int(np.argmax(falls)) + 1
    root = np.sqrt(strength[:rank])
    return (
        np.ascontiguousarray((basis @ left[:, :rank]) * root, dtype=np.float32),
        np.ascontiguousarray(root[:, None] * right[:rank], dtype=np.float32),
    )


def _rounded(values: NDArray[np.float32], mantissa_bits: int) -> NDArray[np.float32]:
    """Values with only the highest mantissa bits left: the lowest bytes then cost nothing."""
    dropped = 23 - mantissa_bits
    if dropped == 0:
        return values
    bits = values.view(np.uint32) + np.uint32(1 << (dropped - 1))
    kept: NDArray[np.float32] = (bits >> np.uint32(dropped) << np.uint32(dropped)).view(np.float32)
    return kept
