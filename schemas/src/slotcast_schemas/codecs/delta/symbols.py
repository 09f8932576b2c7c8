"""A difference between two elements as one symbol and some plain bits.

The symbol says how large the difference is: its bit length, the bit below the highest, and whether
the element grew or shrank. The bits below are noise in trained weights and travel as they are.
docs/delta-format.md, section 6, has the table.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.elements import (
    Bits,
    ElementKind,
    exponents,
    is_negative,
    sign_spread,
)
from slotcast_schemas.codecs.delta.segments import (
    CONTEXT_COUNT,
    SYMBOL_COUNT,
    Rebase,
    TensorSegment,
)

CONTEXT_OF_ONE: Final = 20
"""The context in which differences of 1 in the last place are expected on average."""

SCALE_NONE: Final = -(1 << 12)
"""The scale of a block without any difference: below every context."""


def _tables() -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
    """By symbol: the magnitude without its plain bits, how many plain bits, and the sign."""
    magnitude = np.zeros(SYMBOL_COUNT, dtype=np.uint32)
    plain_bits = np.zeros(SYMBOL_COUNT, dtype=np.uint8)
    sign = np.zeros(SYMBOL_COUNT, dtype=np.uint8)
    magnitude[1:3] = 1
    sign[2] = 1
    for symbol in range(3, 127):
        plain, rest = divmod(symbol - 3, 4)
        magnitude[symbol] = (2 | rest >> 1) << plain
        plain_bits[symbol] = plain
        sign[symbol] = rest & 1
    return magnitude, plain_bits, sign


MAGNITUDE, PLAIN_BITS, SIGN = _tables()
_SIGN_MASK: Final = (0 - SIGN.astype(np.uint32)).astype(np.uint32)
"""All ones for a symbol of a negative difference, else zero; uint32, shape (SYMBOL_COUNT,)."""


def context_of(tensor: TensorSegment, predicted: Bits, first: int) -> NDArray[np.uint8]:
    """Give each element's context, uint8, (n,): the difference to be expected, in half octaves.

    Args:
        tensor: the segment, whose scales are in quarter octaves of the elements' value.
        predicted: the predicted elements, of which only the exponents count.
        first: index in the segment of the first of them.
    """
    count = len(predicted)
    block, last = first // tensor.block, (first + count - 1) // tensor.block
    repeats = np.full(last + 1 - block, tensor.block, dtype=np.int64)
    repeats[0] -= first - block * tensor.block
    repeats[-1] -= (last + 1) * tensor.block - (first + count)
    scales = np.repeat(tensor.scales[block : last + 1], repeats)
    if not isinstance(tensor.predictor, Rebase):
        scales = scales - (exponents(tensor.kind, predicted) << np.int16(2))
    shifted = (scales + np.int16(2 * CONTEXT_OF_ONE)) >> np.int16(1)
    result: NDArray[np.uint8] = np.clip(shifted, 0, CONTEXT_COUNT - 1).astype(np.uint8)
    return result


def split(
    kind: ElementKind, difference: Bits, predicted: Bits
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Split differences into symbols, uint8, and plain bits, uint32, shape (n,); `join` undoes it.

    Args:
        kind: of the elements.
        difference: modulo 2**bits, of ordered integers.
        predicted: the elements that the difference starts from; only their sign counts.
    """
    half = 1 << (kind.bits - 1)
    wide = difference.astype(np.uint32)
    is_down = wide >= half
    magnitude = np.where(is_down, (1 << kind.bits) - wide.astype(np.int64), wide)
    length = (magnitude.astype(np.float64).view(np.uint64) >> np.uint64(52)).astype(np.int64) - 1022
    plain = np.maximum(length - 2, 0)
    top = (magnitude >> plain) & 1
    sign = is_down ^ is_negative(kind, predicted)
    symbol = np.where(length >= 2, 3 + 4 * plain + 2 * top, 1) + sign
    symbol = np.where(magnitude == 0, 0, symbol).astype(np.uint8)
    return symbol, (magnitude - MAGNITUDE[symbol]).astype(np.uint32)


def join(
    kind: ElementKind, symbol: NDArray[np.uint8], plain: NDArray[np.uint32] | None, predicted: Bits
) -> Bits:
    """Give differences modulo 2**bits from their symbols and plain bits.

    Args:
        kind: the elements' kind.
        symbol: uint8, shape (n,): the class of each difference's magnitude, with its sign.
        plain: uint32, shape (n,): what each adds to the least magnitude of its class; None for
            nothing.
        predicted: what each element was predicted to be, unsigned, shape (n,); its sign turns the
            symbol's.
    """
    magnitude = MAGNITUDE[symbol]
    if plain is not None:
        magnitude += plain
    mask = _SIGN_MASK[symbol]
    # An arithmetic shift spreads the sign over all bits: 0 or all ones, without a branch.
    if kind.bits == 4:
        mask ^= (0 - (predicted >> np.uint8(3)).astype(np.uint32)).astype(np.uint32)
    else:
        mask ^= sign_spread(kind, predicted).astype(np.int32).view(np.uint32)
    magnitude ^= mask
    magnitude -= mask
    return magnitude.astype(kind.unsigned)
