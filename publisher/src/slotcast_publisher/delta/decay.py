"""Finds the rows that training only decayed, and the table that says how far each mantissa fell.

AdamW multiplies every weight by 1 - lr * wd at each step, also those that no sample touched, such
as the rows of a word embedding whose tokens never came. Their steps, counted in last places, depend
on nothing but the mantissa. Whether the map pays is the caller's to decide.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.tensors import TensorPair
from slotcast_schemas.codecs.delta.elements import FLOAT32, Bits, is_negative, ordered
from slotcast_schemas.codecs.delta.segments import (
    DecayMap,
    TensorSegment,
)

TABLE_BITS: Final = 13
"""The leading bits of a mantissa that a decay map looks at."""

_COUNT_MIN: Final = 65_536
"""The least number of elements of a tensor for which a map is made."""

_SAMPLED_STRIPS: Final = 16
"""The number of strips that a map is made from."""

_ONE_SIDED: Final = 0.95
"""The share of a block's elements that must move to one side for the map to learn from the
block."""

_GAIN_MIN_BITS: Final = 0.1
"""The least gain, in bits for each element of a block, for which the block is mapped."""


def fit_decay(pair: TensorPair, tensor: TensorSegment) -> DecayMap | None:
    """Fit a map and the blocks that it helps; None where no block was only decayed.

    Args:
        pair: where new and old elements are.
        tensor: the segment, with its block length set.
    """
    if tensor.kind != FLOAT32 or tensor.count < _COUNT_MIN or tensor.block_count < 16:
        return None
    table = _fit_table(pair, tensor)
    if table is None:
        return None
    gains = np.zeros(tensor.block_count, dtype=np.float64)
    for first, old, new in pair.strips(tensor):
        steps = _steps(old, new)
        left = steps - table[_index(old)]
        gain = np.log2(1.0 + np.abs(steps)) - np.log2(1.0 + np.abs(left))
        blocks = np.arange(first, first + len(old)) // tensor.block
        sums = np.bincount(blocks - blocks[0], weights=gain)
        gains[blocks[0] : blocks[0] + len(sums)] += sums
    is_mapped = gains > _GAIN_MIN_BITS * tensor.block
    return DecayMap(TABLE_BITS, table, is_mapped) if is_mapped.any() else None


def _steps(old: Bits, new: Bits) -> NDArray[np.float64]:
    """By how many last places each magnitude grew."""
    moved = (ordered(FLOAT32, new) - ordered(FLOAT32, old)).view(np.int32).astype(np.float64)
    return np.where(is_negative(FLOAT32, old), -moved, moved)


def _index(old: Bits) -> NDArray[np.int64]:
    index = (old >> np.uint32(23 - TABLE_BITS)) & np.uint32((1 << TABLE_BITS) - 1)
    return index.astype(np.int64)


def _fit_table(pair: TensorPair, tensor: TensorSegment) -> NDArray[np.int32] | None:
    """Mean steps by mantissa over blocks that all moved to one side, from a sample of strips."""
    strips = -(-tensor.count // 65_536)
    every = max(1, strips // _SAMPLED_STRIPS)
    sums = np.zeros(1 << TABLE_BITS, dtype=np.float64)
    counts = np.zeros(1 << TABLE_BITS, dtype=np.float64)
    for number, (first, old, new) in enumerate(pair.strips(tensor)):
        if number % every:
            continue
        steps = _steps(old, new)
        blocks = np.arange(first, first + len(old)) // tensor.block
        one_sided = _one_sided(steps, blocks - blocks[0])
        index = _index(old)[one_sided]
        sums += np.bincount(index, weights=steps[one_sided], minlength=len(sums))
        counts += np.bincount(index, minlength=len(counts))
    if counts.sum() < 2 * len(counts):
        return None
    known = np.flatnonzero(counts)
    means = np.interp(np.arange(len(counts)), known, sums[known] / counts[known])
    return np.rint(np.clip(means, -(1 << 30), 1 << 30)).astype(np.int32)


def _one_sided(steps: NDArray[np.float64], blocks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which elements are in blocks where nearly all magnitudes fell, or nearly all grew."""
    sizes = np.maximum(np.bincount(blocks), 1)
    fell = np.bincount(blocks, weights=steps < 0) / sizes
    grew = np.bincount(blocks, weights=steps > 0) / sizes
    chosen = (fell >= _ONE_SIDED) | (grew >= _ONE_SIDED)
    result: NDArray[np.bool_] = chosen[blocks]
    return result
