"""One tensor against its old self: which predictor is cheapest, and its symbols.

Decides per segment between an exact copy, a plain difference, a decay map, a low rank and a rebase;
which tensors belong together is `match`'s, the predictors' arithmetic is the decoder's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.coder import SymbolCollector
from slotcast_schemas.codecs.delta.elements import Bits, exponents, ordered, unpack
from slotcast_schemas.codecs.delta.predict import apply_rebase, predict
from slotcast_schemas.codecs.delta.segments import (
    CONTEXT_COUNT,
    SYMBOL_COUNT,
    Rebase,
    TensorSegment,
)
from slotcast_schemas.codecs.delta.strips import open_old, strips
from slotcast_schemas.codecs.delta.symbols import PLAIN_BITS, SCALE_NONE, context_of, split
from slotcast_schemas.codecs.source import Source

_BLOCK_MIN: Final = 48
"""The least number of elements of a block, which shares one scale."""


@dataclass(frozen=True, slots=True)
class TensorPair:
    """A tensor segment's new elements in the target image, and the old ones in the base image."""

    base: Source
    target: Source
    target_offset: int

    def strips(self, tensor: TensorSegment) -> Iterator[tuple[int, Bits, Bits]]:
        """Give each strip's first element, and its old and new elements, unsigned, shape (n,).

        Holes of a gathered tensor look as if nothing had changed there: they are coded elsewhere.
        """
        reader = open_old(self.base, tensor)
        for first, count in strips(tensor):
            old = unpack(tensor.kind, reader.read(first, count))
            offset = self.target_offset + tensor.kind.size_bytes(first)
            new = unpack(tensor.kind, self.target.read_at(offset, tensor.kind.size_bytes(count)))
            holes = tensor.gather.holes(first, count) if tensor.gather else None
            yield first, old, new if holes is None else np.where(holes, old, new)

    def hole_bytes(self, tensor: TensorSegment) -> bytes:
        """Give the new elements that are holes, one after another; nothing where there are none."""
        if tensor.gather is None or not tensor.gather.hole_count:
            return b""
        parts = []
        for first, count in strips(tensor):
            holes = tensor.gather.holes(first, count)
            if holes is not None:
                offset = self.target_offset + tensor.kind.size_bytes(first)
                data = self.target.read_at(offset, tensor.kind.size_bytes(count))
                parts.append(unpack(tensor.kind, data)[holes].tobytes())
        return b"".join(parts)


def choose_block(row: int, count: int) -> int:
    """Choose how many elements share a scale: a row where rows are long enough, else several."""
    if row < 1 or row >= count:
        return count
    rows = -(-_BLOCK_MIN // row)
    return min(count, rows * row)


def is_equal(pair: TensorPair, tensor: TensorSegment) -> bool:
    """Say whether new and old elements are the same bits."""
    return all(np.array_equal(old, new) for _, old, new in pair.strips(tensor))


def is_predicted(pair: TensorPair, tensor: TensorSegment) -> bool:
    """Say whether the predictor alone gives the new elements."""
    return all(
        np.array_equal(predict(tensor, old, first), new) for first, old, new in pair.strips(tensor)
    )


def difference_of(tensor: TensorSegment, predicted: Bits, old: Bits, new: Bits) -> Bits | None:
    """Give what must be coded for `new`, modulo 2**bits; None if the predictor cannot give it.

    Args:
        tensor: the elements' kind and predictor.
        predicted: what the decoder will predict, unsigned, shape (n,).
        old: elements of the base, same type and shape.
        new: elements of the target, same type and shape.
    """
    kind = tensor.kind
    if isinstance(tensor.predictor, Rebase):
        return _rebase_difference(tensor, tensor.predictor, old, new)
    difference: Bits = ordered(kind, new) - ordered(kind, predicted)
    if kind.bits == 4:
        # Into a byte's worth of -8 to 7, which `split` reads by the kind's own width.
        difference &= np.uint8(15)
    return difference


def _rebase_difference(tensor: TensorSegment, rebase: Rebase, old: Bits, new: Bits) -> Bits | None:
    """Whole steps from old to new, if there are such for every element."""
    kind = tensor.kind
    float_type = np.dtype("<f2") if kind.bits == 16 else np.dtype("<f4")
    with np.errstate(all="ignore"):
        moved = new.view(float_type).astype(np.float64) - old.view(float_type)
        steps = np.rint(moved / np.float64(rebase.step))
    limit = (1 << (kind.bits - 1)) - 1
    steps = np.where(np.abs(steps) <= min(limit, 1 << 24), steps, 0.0)
    difference: Bits = steps.astype(np.int64).astype(kind.signed).view(kind.unsigned)
    if np.array_equal(apply_rebase(kind, rebase, old, difference), new):
        return difference
    return None


def with_scales(pair: TensorPair, tensor: TensorSegment) -> TensorSegment | None:
    """Measure each block's scale; None if the predictor cannot give the tensor."""
    sums = np.zeros(tensor.block_count, dtype=np.float64)
    counts = np.zeros(tensor.block_count, dtype=np.int64)
    for first, old, new in pair.strips(tensor):
        predicted = predict(tensor, old, first)
        difference = difference_of(tensor, predicted, old, new)
        if difference is None:
            return None
        sizes, is_finite = _sizes(tensor, predicted, difference)
        blocks = np.arange(first, first + len(old), dtype=np.int64) // tensor.block
        lowest = int(blocks[0])
        span = slice(lowest, int(blocks[-1]) + 1)
        sums[span] += np.bincount(blocks - lowest, weights=sizes)
        counts[span] += np.bincount(blocks - lowest, weights=is_finite).astype(np.int64)
    return replace(tensor, scales=_scales(sums, counts))


def _sizes(
    tensor: TensorSegment, predicted: Bits, difference: Bits
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How far each element moved, in units of the smallest exponent's last place."""
    kind = tensor.kind
    if kind.bits == 4:
        signed = (difference ^ np.uint8(8)).astype(np.int16) - 8
    else:
        signed = difference.view(kind.signed)
    sizes = np.abs(signed.astype(np.float64))
    if kind.mantissa_bits is None or isinstance(tensor.predictor, Rebase):
        return sizes, np.ones(len(sizes), dtype=np.bool_)
    exponent = exponents(kind, predicted)
    # Infinities and NaNs would drown the block's other elements.
    is_finite = exponent < (1 << (kind.bits - 1 - kind.mantissa_bits)) - 1
    return np.where(is_finite, np.ldexp(sizes, exponent.astype(np.int32)), 0.0), is_finite


def _scales(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int16]:
    """Quarter octaves of the mean; blocks that did not move take the lowest scale."""
    mean = sums / np.maximum(counts, 1)
    moved = mean > 0
    quarter_octaves = np.rint(4 * np.log2(np.where(moved, mean, 1.0)))
    return np.where(moved, quarter_octaves, SCALE_NONE).astype(np.int16)


def coded_strips(
    pair: TensorPair, tensor: TensorSegment
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint32]]]:
    """Give each strip's contexts, uint8, symbols, uint8, and plain bits, uint32, shape (n,)."""
    for first, old, new in pair.strips(tensor):
        predicted = predict(tensor, old, first)
        difference = difference_of(tensor, predicted, old, new)
        assert difference is not None  # noqa: S101  (`with_scales` found it possible)
        symbols, plain = split(tensor.kind, difference, predicted)
        contexts = context_of(tensor, predicted, first)
        holes = tensor.gather.holes(first, len(old)) if tensor.gather else None
        if holes is not None:
            contexts, symbols, plain = contexts[~holes], symbols[~holes], plain[~holes]
        yield contexts, symbols, plain


def collect(pair: TensorPair, tensor: TensorSegment, collector: SymbolCollector) -> None:
    """Give a tensor's symbols to the section's coder.

    Args:
        pair: base and target.
        tensor: where its elements lie in both, and how they are predicted.
        collector: takes the symbols, a strip at a time.
    """
    for contexts, symbols, plain in coded_strips(pair, tensor):
        collector.add(contexts, symbols, plain)


def estimate_bits(pair: TensorPair, tensor: TensorSegment) -> float:
    """Estimate the bits of a tensor's symbols with tables of its own, and of its scales."""
    joint = np.zeros(CONTEXT_COUNT * SYMBOL_COUNT, dtype=np.int64)
    for contexts, symbols, _ in coded_strips(pair, tensor):
        pairs = np.multiply(contexts, SYMBOL_COUNT, dtype=np.int32) + symbols
        joint += np.bincount(pairs, minlength=len(joint))
    table = joint.reshape(CONTEXT_COUNT, SYMBOL_COUNT)
    totals = np.broadcast_to(table.sum(axis=1, keepdims=True), table.shape)
    seen = table > 0
    symbol_bits = -(table[seen] * np.log2(table[seen] / totals[seen])).sum()
    plain_bits = (table.sum(axis=0) * PLAIN_BITS).sum()
    return float(symbol_bits + plain_bits + 4 * tensor.block_count)
