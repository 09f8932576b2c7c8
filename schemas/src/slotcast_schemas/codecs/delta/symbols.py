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
    of_elements,
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


def context_of(tensor: TensorSegment, predicted: Bits, first: int) -> NDArray[np.uint8]:
    """Give each element's context, uint8, (n,): the difference to be expected, in half octaves.

    Args:
        tensor: the segment, whose scales are in quarter octaves of the elements' value.
        predicted: the predicted elements, of which only the exponents count.
        first: index in the segment of the first of them.
    """
    raised = tensor.scales + np.int16(2 * CONTEXT_OF_ONE)
    expected = of_elements(raised, tensor.block, first, len(predicted))
    if not isinstance(tensor.predictor, Rebase):
        expected -= exponents(tensor.kind, predicted) << np.int16(2)
    expected >>= np.int16(1)
    result: NDArray[np.uint8] = np.clip(expected, 0, CONTEXT_COUNT - 1).astype(np.uint8)
    return result


def split(
    kind: ElementKind, difference: Bits, predicted: Bits
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Split differences into symbols, uint8, and plain bits, uint32; `SymbolTables.join` undoes it.

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


class SymbolTables:
    """What symbols mean, looked up by their places in a coder's tables.

    A place is the context's index times the number of symbols, plus the symbol's index; the coder
    gives places, so that nothing has to be looked up twice.

    Attributes:
        plain_bits: by place, int64, how many plain bits the symbol has.

    Args:
        symbols: uint8, shape (symbols,): those that there are, by index.
        contexts: how many there are.
    """

    def __init__(self, symbols: NDArray[np.uint8], contexts: int) -> None:
        places = np.tile(symbols, contexts)
        self.plain_bits = PLAIN_BITS[places].astype(np.int64)
        self._magnitude = MAGNITUDE[places]
        self._sign = (0 - SIGN[places].astype(np.uint32)).astype(np.uint32)

    def join(
        self,
        kind: ElementKind,
        places: NDArray[np.intp],
        plain: NDArray[np.uint32] | None,
        predicted: Bits,
    ) -> Bits:
        """Give differences modulo 2**bits from their symbols and plain bits.

        Args:
            kind: the elements' kind.
            places: shape (n,): of the symbol that tells each difference's magnitude and sign.
            plain: uint32, shape (n,): what each adds to the least magnitude of its symbol; None for
                nothing.
            predicted: what each element was predicted to be, unsigned, shape (n,); its sign turns
                the symbol's.
        """
        magnitude = self._magnitude.take(places)
        if plain is not None:
            magnitude |= plain
        # All ones where the difference is negative: minus a number is its complement, plus one.
        mask = self._sign.take(places)
        if kind.bits == 4:
            mask ^= (0 - (predicted >> np.uint8(3)).astype(np.uint32)).astype(np.uint32)
        else:
            # An arithmetic shift spreads the sign over all bits: 0 or all ones, without a branch.
            spread = sign_spread(kind, predicted).astype(np.int32, copy=False)
            mask ^= spread.view(np.uint32)
        magnitude ^= mask
        magnitude -= mask
        return magnitude.astype(kind.unsigned, copy=False)
