"""Arrays of floats in bytes that no format explains, found by what trained weights look like.

In a float the byte with the sign and the exponent takes few values, since the weights of a layer
are about as large as each other, and the lowest byte takes all of them. So a block of bytes is
looked at in four lanes, its bytes number 0, 4, 8 ..., number 1, 5, 9 ... and so on:

- float32: one lane is poor and holds exponents of numbers from 2**-40 to 2**16;
- bfloat16 and float16: every other lane is poor, and the two between are rich. A bfloat16's high
  byte has the sign and most of the exponent, as float32's; a float16's also has two bits of
  mantissa, and says so by being richer;
- float64: of eight lanes one is poor, with exponents, and six are rich. It is told as two float32,
  the second of which bears the exponent, as formats tell it: the codec has no such kind.

What is taken for floats by mistake costs bytes, never truth: a codec keeps every bit of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import BFLOAT16, FLOAT16, FLOAT32, ElementKind
from slotcast_schemas.codecs.source import Source

SEARCHED_MIN_BYTES: Final = 16 * 1024
"""The least bytes that are searched; smaller gaps are what lies between tensors."""

_BLOCK_BYTES: Final = 4096
"""The bytes that are judged at once: a thousand in each lane."""

_STEP_BYTES: Final = 1024 * 1024
"""The bytes that are read at once, whole blocks."""

_SAMPLED: Final = 4
"""One in so many bytes of a lane is looked at; 256 tell a poor lane from a rich one."""

_POOR_BITS: Final = 5.6
"""The entropy of a lane, by its 256 samples, below which it is poor: a rich one comes to 7.2."""

_BFLOAT16_BITS: Final = 4.2
"""The entropy below which a 16-bit float's high byte has no mantissa in it."""

_RICH_BITS: Final = 6.5
"""The entropy from which a lane of 256 samples takes all values about as often."""

_PLAUSIBLE_SHARE: Final = 0.85
"""The share of high bytes that must be those of a plausible exponent."""

_TEXT_SHARE: Final = 0.9
"""The share of printable bytes from which on a block is text."""

_RUN_MIN_BYTES: Final = 2 * _BLOCK_BYTES
"""The least bytes of an array that is found."""

_BRIDGED_BLOCKS: Final = 2
"""The most blocks of nothing known that may lie inside an array: zeros, or a small odd tensor."""

_IMPLAUSIBLE: Final = -4
"""What an implausible element counts, against 1 for a plausible one, where an array may end."""

_TOPS: Final = np.arange(256)
# Exponents 87 to 143 of 255, less their lowest bit: 2**-40 to 2**16. Zeros are plausible too.
_WIDE_TOPS: Final = ((_TOPS & 127) >= 43) & ((_TOPS & 127) <= 71) | ((_TOPS & 127) == 0)
# Exponents 976 to 1039 of 2047, less their lowest four bits: 2**-47 to 2**16.
_DOUBLE_TOPS: Final = ((_TOPS & 127) >= 61) & ((_TOPS & 127) <= 64)
# Exponents up to 20 of 31: to 2**5.
_HALF_TOPS: Final = ((_TOPS & 127) >> 2) <= 20
_PRINTABLE: Final = ((_TOPS >= 32) & (_TOPS < 127)) | (_TOPS == 10) | (_TOPS == 13) | (_TOPS == 9)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a block looks like: numbers of `parts` elements of `kind`.

    They begin at `phase` modulo their width.
    """

    kind: ElementKind
    phase: int
    parts: int = 1

    @property
    def width(self) -> int:
        return self.parts * self.kind.size_bytes(1)

    @property
    def tops(self) -> NDArray[np.bool_]:
        """Which high bytes are plausible, (256,)."""
        if self.parts > 1:
            return _DOUBLE_TOPS
        return _HALF_TOPS if self.kind == FLOAT16 else _WIDE_TOPS


def find_by_looks(source: Source, start: int, size_bytes: int) -> list[TensorPlace]:
    """Find arrays of floats in a range, as guesses, by their place in the source.

    Args:
        source: the bytes, of an image.
        start: where the range begins.
        size_bytes: how long it is.

    Raises:
        SlotDamaged: a file cannot be read.
    """
    looks: list[_Look | None] = []
    for offset in range(start, start + size_bytes, _STEP_BYTES):
        step_bytes = min(_STEP_BYTES, start + size_bytes - offset)
        data = np.frombuffer(source.read_at(offset, step_bytes), dtype=np.uint8)
        looks += _looks(data[: len(data) // _BLOCK_BYTES * _BLOCK_BYTES].reshape(-1, _BLOCK_BYTES))
    found: list[TensorPlace] = []
    lowest, end = start, start + size_bytes
    for first, blocks, look in _runs(looks):
        # Whole elements of the run's own blocks, then as far as the floats go on.
        low = max(lowest, start + first * _BLOCK_BYTES)
        low += (start + look.phase - low) % look.width
        count = (start + (first + blocks) * _BLOCK_BYTES - low) // look.width
        if count <= 0:
            continue  # the array before it goes on over all of it
        place = _extended(source, (lowest, end), look, (low, count))
        if place.size_bytes >= _RUN_MIN_BYTES:
            found.append(place)
            lowest = place.end
    return found


def _looks(blocks: NDArray[np.uint8]) -> list[_Look | None]:
    """What each block looks like; blocks uint8, shape (blocks, bytes)."""
    if not len(blocks):
        return []
    lanes = [blocks[:, lane :: 4 * _SAMPLED] for lane in range(4)]
    counts = np.stack([_histograms(lane) for lane in lanes], axis=1)
    entropies = _entropies(counts)
    sampled = counts.sum(axis=2)
    wide = counts[:, :, _WIDE_TOPS].sum(axis=2) / sampled
    half = counts[:, :, _HALF_TOPS].sum(axis=2) / sampled
    text = counts[:, :, _PRINTABLE].sum(axis=(1, 2)) / sampled.sum(axis=1)
    found = [
        None if is_text else _look(*block)
        for is_text, *block in zip(text > _TEXT_SHARE, entropies, wide, half, strict=True)
    ]
    maybe = [n for n, look in enumerate(found) if _may_be_double(look, entropies[n])]
    for number, look in zip(maybe, _double_looks(blocks[maybe]), strict=True):
        found[number] = look or found[number]
    return found


def _may_be_double(look: _Look | None, entropy: NDArray[np.float64]) -> bool:
    """Of four lanes, those of a float64 are all rich, or like float32's, by which are sampled."""
    return bool(entropy.min() > _POOR_BITS) if look is None else look.kind == FLOAT32


def _double_looks(blocks: NDArray[np.uint8]) -> list[_Look | None]:
    """Which blocks are of float64; blocks uint8, shape (blocks, bytes)."""
    if not len(blocks):
        return []
    counts = np.stack([_histograms(blocks[:, lane :: 8 * 2]) for lane in range(8)], axis=1)
    entropies = _entropies(counts)
    tops = entropies.argmin(axis=1)
    of_top = counts[np.arange(len(blocks)), tops]
    is_double = of_top[:, _DOUBLE_TOPS].sum(axis=1) >= _PLAUSIBLE_SHARE * of_top.sum(axis=1)
    lowest, second, third = np.sort(entropies, axis=1)[:, :3].T
    is_double &= (lowest < _BFLOAT16_BITS) & (second > _BFLOAT16_BITS) & (third > _RICH_BITS)
    return [
        _Look(FLOAT32, (int(top) + 1) % 8, 2) if found else None
        for top, found in zip(tops, is_double, strict=True)
    ]


def _histograms(lane: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each byte comes in each block; int64, shape (blocks, 256)."""
    places = np.arange(len(lane))[:, None] * 256 + lane
    return np.bincount(places.ravel(), minlength=256 * len(lane)).reshape(-1, 256)


def _entropies(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits per byte of each block's lanes; float64, shape (blocks, 4)."""
    shares = counts / counts.sum(axis=2, keepdims=True)
    bits: NDArray[np.float64] = -(shares * np.log2(np.where(counts > 0, shares, 1.0))).sum(axis=2)
    return bits


def _look(
    entropy: NDArray[np.float64], wide: NDArray[np.float64], half: NDArray[np.float64]
) -> _Look | None:
    """What a block looks like, by the entropy and the plausible shares of its four lanes."""
    top = int(entropy.argmin())
    if entropy[top] == 0.0 or entropy[top] > _POOR_BITS:
        return None
    other, between = (top + 2) % 4, [(top + 1) % 4, (top + 3) % 4]
    is_pair = entropy[other] < _POOR_BITS and min(entropy[between]) > entropy[other] + 0.7
    if is_pair:
        pair = [top, other]
        if wide[pair].min() >= _PLAUSIBLE_SHARE and entropy[pair].max() < _BFLOAT16_BITS:
            return _Look(BFLOAT16, (top + 1) % 2)
        if half[pair].min() >= _PLAUSIBLE_SHARE:
            return _Look(FLOAT16, (top + 1) % 2)
    elif wide[top] >= _PLAUSIBLE_SHARE:
        return _Look(FLOAT32, (top + 1) % 4)
    return None


def _runs(looks: list[_Look | None]) -> list[tuple[int, int, _Look]]:
    """Runs of blocks that look alike: the first block, how many, and what they look like."""
    runs: list[tuple[int, int, _Look]] = []
    for block, look in enumerate(looks):
        if look is None:
            continue
        if runs:
            first, count, before = runs[-1]
            if before == look and block - (first + count) <= _BRIDGED_BLOCKS:
                runs[-1] = (first, block + 1 - first, look)
                continue
        runs.append((block, 1, look))
    return [run for run in runs if not _is_seam(looks, *run)]


def _is_seam(looks: list[_Look | None], first: int, blocks: int, look: _Look) -> bool:
    """Say whether it is one block where an array ends and another begins, of its neighbours' kind.

    Half of it has the sign and the exponent in the other lanes, so it looks richer than it is.
    """
    beside = [*looks[max(0, first - 1) : first], *looks[first + 1 : first + 2]]
    kinds = {(each.kind.code, each.parts) for each in beside if each is not None}
    return blocks == 1 and bool(kinds - {(look.kind.code, look.parts)})


def _extended(
    source: Source, bounds: tuple[int, int], look: _Look, found: tuple[int, int]
) -> TensorPlace:
    """A run's numbers, with plausible ones on both sides, up to two blocks of them."""
    width, (offset, count) = look.width, found
    end = offset + count * width
    most = 2 * _BLOCK_BYTES // width
    before = min(most, (offset - bounds[0]) // width)
    after = min(most, (bounds[1] - end) // width)
    numbers = _high_bytes(source, offset - before * width, before, width)
    before = _plausible(numbers[::-1], look)
    after = _plausible(_high_bytes(source, end, after, width), look)
    count += before + after
    dims = (count * look.parts,)
    start = offset - before * width
    return TensorPlace("", look.kind, dims, start, count * width, is_guess=True)


def _high_bytes(source: Source, offset: int, count: int, width: int) -> NDArray[np.uint8]:
    data = source.read_at(offset, count * width)
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, width)[:, -1]


def _plausible(high_bytes: NDArray[np.uint8], look: _Look) -> int:
    """How many elements from the first on are plausible, and not 0, by their high bytes, (n,).

    But for a few: of float16, one in some thousand is that small.
    """
    is_bad = ~look.tops[high_bytes] | (high_bytes & 127 == 0)
    scores = np.where(is_bad, _IMPLAUSIBLE, 1).cumsum()
    best = int(scores.argmax()) if len(scores) else 0
    return best + 1 if len(scores) and scores[best] > 0 else 0
