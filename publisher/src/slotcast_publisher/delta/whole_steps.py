"""Finds integers that are held in wide floats: every element a whole multiple of a scale.

Such are weights that were quantised and stored again as floats, each row or group of a row with a
scale of its own. What is found here is only a guess until `steps_of` gave the very same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.elements import FLOAT16, FLOAT32, Bits, ElementKind
from slotcast_schemas.codecs.delta.weights import stepped
from slotcast_schemas.codecs.delta.weights_format import STEPPED_KINDS, Steps

_GROUPS: Final = (256, 128, 64, 32)
"""The usual numbers of elements that share a scale where it is not a row."""

_LARGEST: Final = (7, 8, 127, 128)
"""What the largest magnitude of a block mostly is, in steps: int4 and int8, full range or not. The
smaller first, for whatever is 7 steps is also 126 smaller ones."""

_UNUSUAL: Final = tuple(steps for steps in range(126, 0, -1) if steps not in _LARGEST)
"""What it may be in a block that was clipped, or that has no element at the end of the range."""

_GLIMPSE_ELEMENTS: Final = 64
"""The elements of a block by which a number of steps is ruled out."""

_NEAR: Final = {7: 0.5, 10: 0.2, 23: 0.02}
"""How far from a whole number of steps an element may seem to be, by the bits of the mantissa: the
largest element is rounded, and so is the element."""

_SAMPLE_BLOCKS: Final = 8
"""The blocks by which a size of block is ruled out."""

_BLOCK_MIN: Final = 16
"""The least elements of a block: its scale takes as much as four bytes of them."""

_REFINEMENTS: Final = {7: 4, 10: 1, 23: 0}
"""How often the first guess of a scale is bettered, by the bits of the mantissa: the coarser the
elements, the less the largest one says."""

_NEGATIVE_ZERO: Final = 128
"""The byte that stands for -0.0 among steps (docs/weights-format.md)."""

CELL_ELEMENTS: Final = 4096
"""The elements of an array without rows that are looked at for themselves."""

_CELL_KINDS: Final = (FLOAT32, FLOAT16)
"""The kinds in which a few elements say that they are no integers: a bfloat16 may be any."""

_SAMPLE_CELLS: Final = 8
"""The cells by which an array is ruled out: a fourth of them must be in whole steps."""


@dataclass(frozen=True, slots=True)
class FoundSteps:
    """Scales, float32, shape (blocks,), that seem to give every element in whole steps."""

    block: int
    scales: NDArray[np.float32]
    has_negative_zero: bool


def find_steps(kind: ElementKind, elements: Bits, row: int) -> FoundSteps | None:
    """Find blocks and scales by which all elements may be whole steps; None if there are none.

    Args:
        kind: of the elements.
        elements: unsigned, shape (n,).
        row: elements of one output; they may share a scale.
    """
    if kind not in STEPPED_KINDS or not len(elements):
        return None
    floats = floats_of(kind, elements)
    if not np.isfinite(floats).all():
        return None
    has_negative_zero = bool(np.any(elements == 1 << (kind.bits - 1)))
    for block in _blocks(row, len(elements)):
        rows = floats.reshape(-1, block)
        picked = rows[:: max(1, len(rows) // _SAMPLE_BLOCKS)]
        # Where the usual numbers of steps fit few blocks, these are no integers; a cell has only a
        # part of those that share its scale, and its largest may be any.
        usual = (*_LARGEST, *_UNUSUAL) if block == CELL_ELEMENTS else _LARGEST
        if 2 * np.count_nonzero(np.isnan(_scales(kind, picked, usual))) > len(picked):
            continue
        scales = _scales(kind, rows, (*_LARGEST, *_UNUSUAL))
        if not np.isnan(scales).any():
            return FoundSteps(block, scales, has_negative_zero)
    return None


def cells_in_steps(kind: ElementKind, elements: Bits) -> NDArray[np.bool_]:
    """Say which cells of an array may be in whole steps of scales of their own.

    Args:
        kind: of the elements.
        elements: unsigned, shape (n,).

    Returns:
        bool, shape (n // CELL_ELEMENTS,); empty where hardly one is, or there are fewer than two.
    """
    cells = elements[: len(elements) // CELL_ELEMENTS * CELL_ELEMENTS].reshape(-1, CELL_ELEMENTS)
    if len(cells) < 2 or kind not in _CELL_KINDS:
        return np.zeros(0, dtype=np.bool_)
    sample = cells[:: -(-len(cells) // _SAMPLE_CELLS)]
    if 4 * sum(_is_in_steps(kind, cell) for cell in sample) < len(sample):
        return np.zeros(0, dtype=np.bool_)
    return np.array([_is_in_steps(kind, cell) for cell in cells], dtype=np.bool_)


def _is_in_steps(kind: ElementKind, cell: Bits) -> bool:
    return find_steps(kind, cell, CELL_ELEMENTS) is not None


def steps_of(kind: ElementKind, elements: Bits, segment: Steps) -> NDArray[np.uint8] | None:
    """Give each element's steps, a signed byte, uint8, shape (n,); None if one has other bits.

    Args:
        kind: of the elements.
        elements: unsigned, shape (n,).
        segment: the scales.
    """
    floats = floats_of(kind, elements)
    scales = np.repeat(segment.scales.astype(np.float64), segment.block)[: len(floats)]
    with np.errstate(all="ignore"):
        steps = np.rint(floats / np.where(scales > 0, scales, 1.0))
    if np.abs(steps).max(initial=0) > 128:
        return None
    symbols = steps.astype(np.int64).astype(np.uint8)
    if segment.has_negative_zero:
        if np.any(symbols == _NEGATIVE_ZERO):
            return None
        symbols[elements == 1 << (kind.bits - 1)] = _NEGATIVE_ZERO
    return symbols if np.array_equal(stepped(segment, symbols, 0), elements) else None


def floats_of(kind: ElementKind, elements: Bits) -> NDArray[np.float64]:
    """Give floats of a kind as float64, shape (n,)."""
    with np.errstate(invalid="ignore"):
        if kind == FLOAT32:
            return elements.view("<f4").astype(np.float64)
        if kind == FLOAT16:
            return elements.view("<f2").astype(np.float64)
        return (elements.astype("<u4") << np.uint32(16)).view("<f4").astype(np.float64)


def _blocks(row: int, count: int) -> Iterator[int]:
    """Sizes of blocks to try: the row, then groups that a row is a multiple of."""
    if row < 1 or count % row:
        return
    if row >= _BLOCK_MIN:
        yield row
    for group in _GROUPS:
        if group < row and row % group == 0:
            yield group


def _scales(
    kind: ElementKind, rows: NDArray[np.float64], candidates: Sequence[int]
) -> NDArray[np.float32]:
    """A scale for each block, shape (blocks,): 0 where all is zero, NaN where there is none.

    Args:
        kind: of the elements.
        rows: shape (blocks, elements of a block).
        candidates: what the largest magnitude of a block may be, in steps, the likely ones first.
    """
    largest = np.abs(rows).max(axis=1)
    glimpse = rows[:, :: max(1, rows.shape[1] // _GLIMPSE_ELEMENTS)]
    scales = np.where(largest == 0, np.float32(0), np.float32("nan")).astype(np.float32)
    for steps in candidates:
        is_open = np.isnan(scales)
        if not is_open.any():
            break
        whole = glimpse * (steps / np.where(largest > 0, largest, 1.0))[:, None]
        is_near = np.abs(whole - np.rint(whole)).max(axis=1) <= _NEAR[kind.mantissa_bits or 0]
        fitting = np.flatnonzero(is_open & is_near)
        if len(fitting):
            scales[fitting] = _fitted(kind, rows[fitting], largest[fitting], steps)
    return scales


def _fitted(
    kind: ElementKind, rows: NDArray[np.float64], largest: NDArray[np.float64], steps: int
) -> NDArray[np.float32]:
    """The scales by which each block's largest magnitude is so many steps; NaN where none fits."""
    magnitude = np.abs(rows)
    # The largest element is rounded itself: what all of them say together is nearer the scale.
    count = np.rint(magnitude * (steps / largest)[:, None])
    for _ in range(_REFINEMENTS[kind.mantissa_bits or 0]):
        scale = (magnitude * count).sum(axis=1) / (count * count).sum(axis=1)
        count = np.rint(magnitude / scale[:, None])
    # First as if no product had been just between two floats, which bounds the scale more closely.
    strict, loose = (_bounded(kind, magnitude, count, half) for half in (0.4999999, 0.5000001))
    return np.where(np.isnan(strict), loose, strict)


def _bounded(
    kind: ElementKind, magnitude: NDArray[np.float64], count: NDArray[np.float64], half: float
) -> NDArray[np.float32]:
    """The middle of where a block's scale must lie, shape (blocks,); NaN where it lies nowhere.

    Each element was rounded to its kind, by at most `half` a spacing, so it bounds the scale from
    both sides.
    """
    below, above = _spacings(kind, magnitude)
    with np.errstate(all="ignore"):
        low = np.where(count > 0, (magnitude - half * below) / count, 0.0).max(axis=1)
        high = np.where(count > 0, (magnitude + half * above) / count, np.inf).min(axis=1)
    is_zero_right = ((count > 0) | (magnitude == 0)).all(axis=1)
    fits = is_zero_right & (low <= high)
    return np.where(fits, (low + high) / 2, np.nan).astype(np.float32)


def _spacings(
    kind: ElementKind, magnitude: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The distance to the next smaller and to the next larger float of a kind."""
    assert kind.mantissa_bits is not None  # noqa: S101  (only floats come here)
    mantissa, exponent = np.frexp(magnitude)
    least = -14 if kind == FLOAT16 else -126
    place = np.maximum(exponent - 1, least)
    above = np.ldexp(1.0, place - kind.mantissa_bits)
    is_lowest = (mantissa == 0.5) & (place > least)
    return np.where(is_lowest, above / 2, above), above
