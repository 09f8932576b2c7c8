"""A test vector for the arithmetic that must be bit-equal on every CPU.

Low rank and rebased tensors are calculated in floating point. A machine that fuses multiply and
add, flushes denormals or rounds otherwise would rebuild wrong bytes, and only find out at the very
end of a transfer. So the decoder tries a known vector first, and says that it cannot apply deltas.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final

import numpy as np

from slotcast_schemas.codecs.delta.elements import FLOAT16, FLOAT32, Bits, ElementKind
from slotcast_schemas.codecs.delta.predict import apply_low_rank, apply_rebase
from slotcast_schemas.codecs.delta.segments import (
    LowRank,
    Rebase,
)
from slotcast_schemas.errors import Incompatible

EXPECTED: Final = "5de8b4245fe274d48a311a2b0cba29768d77ef369b889104ebdbfac3d8d26aa7"
"""SHA-256 of what `vector` gives on a CPU that keeps to IEEE 754."""

_COUNT: Final = 4096
"""The number of elements that are tried."""


def check_arithmetic() -> None:
    """Raise unless this machine calculates as the format demands; runs once in a process.

    Raises:
        Incompatible: it does not; full payloads still work.
    """
    got = vector_digest()
    if got != EXPECTED:
        raise Incompatible(
            f"expected the arithmetic test vector to give {EXPECTED}, got {got}; "
            "this machine does not round as IEEE 754 says, send it full payloads"
        )


@functools.cache
def vector_digest() -> str:
    """Give the SHA-256 over the vector's results, in hexadecimal digits."""
    digest = hashlib.sha256()
    for kind in (FLOAT32, FLOAT16):
        for result in vector(kind):
            digest.update(result.astype(kind.unsigned).tobytes())
    return digest.hexdigest()


def vector(kind: ElementKind) -> list[Bits]:
    """Try low rank and rebase on all sorts of numbers: normal, denormal, infinite, not a number."""
    old = _noise(kind, seed=1, count=_COUNT)
    weights = _weights(seed=2, count=_COUNT).astype(np.float16 if kind == FLOAT16 else np.float32)
    left = _weights(seed=3, count=64 * 8).reshape(64, 8)
    right = _weights(seed=4, count=64 * 8).reshape(8, 64)
    steps = (_lcg(seed=5, count=_COUNT) % 255 - np.uint32(127)).astype(kind.unsigned)
    factors, rebase = LowRank(left, right), Rebase(np.float32(3.1e-5))
    # Steps among the denormals of float32: a machine that flushes them to zero shows here.
    tiny = Rebase(np.float32(1.1e-42))
    results: list[Bits] = []
    for each in (old, weights.view(kind.unsigned)):
        small: Bits = np.bitwise_and(each, 1023, dtype=kind.unsigned)
        results.append(apply_low_rank(kind, factors, each))
        results.append(apply_rebase(kind, rebase, each, steps))
        results.append(apply_rebase(kind, tiny, small, steps))
    return results


def _lcg(seed: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    """A linear congruential generator in integers, so that no library's random numbers matter."""
    state = seed
    values = np.empty(count, dtype=np.uint32)
    for index in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        values[index] = state >> 33
    return values


def _noise(kind: ElementKind, seed: int, count: int) -> Bits:
    low, high = _lcg(seed, count), _lcg(seed + 100, count)
    return (low ^ high << np.uint32(7)).astype(kind.unsigned)


def _weights(seed: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Numbers in [-1/8, 1/8) with full mantissas, exactly representable."""
    centred = _lcg(seed, count).astype(np.int64) % (1 << 24) - (1 << 23)
    return (centred.astype(np.float64) * 2.0**-26).astype(np.float32)
