"""Element kinds of tensors, and the integers that their differences are taken between.

Floats are compared as ordered integers: the float's bits, made to grow with the float's value, so
that a small step of the weight is a small step of the integer (docs/delta-format.md, section 5).
All arithmetic is modulo 2**bits, so that infinities and NaN payloads survive like any other bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.unsignedinteger[Any]]
"""Elements as unsigned integers of the kind's width, whatever they mean."""


@dataclass(frozen=True, slots=True)
class ElementKind:
    """How the elements of one kind of tensor lie in the image.

    `bits` is the width of an element; 4-bit elements lie two in a byte, the low half first.
    `mantissa_bits` is None for integers.
    """

    code: int
    name: str
    bits: int
    mantissa_bits: int | None
    unsigned: np.dtype[Any]
    signed: np.dtype[Any]

    @property
    def is_float(self) -> bool:
        """Whether elements have an exponent."""
        return self.mantissa_bits is not None

    def size_bytes(self, count: int) -> int:
        """Give the bytes that `count` elements take; 4-bit elements come in pairs."""
        return count * self.bits // 8

    def count(self, size_bytes: int) -> int:
        """Give the number of whole elements in so many bytes."""
        return size_bytes * 8 // self.bits


def _kind(code: int, name: str, bits: int, mantissa_bits: int | None) -> ElementKind:
    width = max(bits, 8) // 8
    return ElementKind(
        code, name, bits, mantissa_bits, np.dtype(f"<u{width}"), np.dtype(f"<i{width}")
    )


FLOAT32: Final = _kind(1, "float32", 32, 23)
FLOAT16: Final = _kind(2, "float16", 16, 10)
BFLOAT16: Final = _kind(3, "bfloat16", 16, 7)
INT8: Final = _kind(4, "int8", 8, None)
INT16: Final = _kind(5, "int16", 16, None)
INT32: Final = _kind(6, "int32", 32, None)
INT4: Final = _kind(7, "int4", 4, None)

KINDS: Final = {kind.code: kind for kind in (FLOAT32, FLOAT16, BFLOAT16, INT8, INT16, INT32, INT4)}


def unpack(kind: ElementKind, data: bytes | memoryview) -> Bits:
    """Give the elements that lie in `data`, unsigned, shape (n,); a view of whole bytes."""
    flat: Bits = np.frombuffer(data, dtype=kind.unsigned)
    if kind.bits != 4:
        return flat
    halves = np.empty(2 * len(flat), dtype=np.uint8)
    halves[0::2] = flat & 15
    halves[1::2] = flat >> 4
    return halves


def pack(kind: ElementKind, elements: Bits) -> bytes:
    """Give the bytes that `unpack` made `elements` of, unsigned, shape (n,)."""
    if kind.bits != 4:
        return elements.astype(kind.unsigned, copy=False).tobytes()
    return (elements[0::2] | (elements[1::2] << np.uint8(4))).astype(np.uint8).tobytes()


def ordered(kind: ElementKind, elements: Bits) -> Bits:
    """Give elements, shape (n,), as integers that grow with the value; its own inverse.

    For floats, negative ones have all bits but the sign turned over, which keeps -0.0 apart from
    +0.0 and NaN payloads apart from each other. For integers, the two's complement as it is.
    """
    if not kind.is_float:
        return elements
    spread = sign_spread(kind, elements).view(kind.unsigned)
    flipped: Bits = np.bitwise_xor(elements, spread >> 1, dtype=kind.unsigned)
    return flipped


def sign_spread(kind: ElementKind, elements: Bits) -> NDArray[np.signedinteger[Any]]:
    """Set all bits where an element's highest bit is, else none; (n,); not for 4-bit elements."""
    spread: NDArray[np.signedinteger[Any]] = elements.view(kind.signed) >> (kind.bits - 1)
    return spread


def is_negative(kind: ElementKind, elements: Bits) -> NDArray[np.bool_]:
    """Say which elements have their highest bit set; bool, shape (n,)."""
    return elements >= (1 << (kind.bits - 1))


def exponents(kind: ElementKind, elements: Bits) -> NDArray[np.int16]:
    """Give biased exponents of floats (0 to 255), int16, shape (n,); zeros for integers."""
    if kind.mantissa_bits is None:
        return np.zeros(len(elements), dtype=np.int16)
    exponent_mask = (1 << (kind.bits - 1 - kind.mantissa_bits)) - 1
    return ((elements >> kind.mantissa_bits) & exponent_mask).astype(np.int16)


def of_elements(values: NDArray[Any], block: int, first: int, count: int) -> NDArray[Any]:
    """Give for each of `count` elements what its block has, same type, shape (count,).

    Args:
        values: one for each block.
        block: the number of elements of a block; the last may have fewer.
        first: index of the first of the elements.
        count: how many there are.
    """
    start, end = first // block, (first + count - 1) // block + 1
    repeats = np.full(end - start, block, dtype=np.int64)
    repeats[0] -= first - start * block
    repeats[-1] -= end * block - (first + count)
    return np.repeat(values[start:end], repeats)
