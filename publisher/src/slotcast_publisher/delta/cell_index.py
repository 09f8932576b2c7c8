"""Where single elements of guessed arrays, or a few in a row, lie in the base.

Two or four floats in a row are seldom there twice, so that they say where they came from; a float
of 32 bits says it alone, if less surely. They are *cells*, known by 32 bits of a hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.hash_factors import FACTOR, SPREAD
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import Bits
from slotcast_schemas.codecs.source import Source

CELLS_MAX: Final = 6 << 20
"""The most cells that are held, 8 bytes each."""

_STEP: Final = 1 << 19
"""The elements that are hashed at once."""

_SEEN_BITS: Final = 22
"""The base-2 logarithm of the bits of a hash by which most cells are passed over at once."""

Numbers = NDArray[np.int64]


def cell_hashes(elements: Bits, in_a_row: int) -> NDArray[np.uint64]:
    """Hash the cell that begins at each element; below 2 to 32, uint64, shape (n - in_a_row + 1,).

    Args:
        elements: unsigned, shape (n,).
        in_a_row: the elements of a cell.
    """
    count = max(0, len(elements) - in_a_row + 1)
    hashes = elements[:count].astype(np.uint64) * SPREAD
    for after in range(1, in_a_row):
        hashes = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(FACTOR)
        hashes += elements[after : after + count].astype(np.uint64) * SPREAD
    if in_a_row > 1:
        hashes = (hashes ^ (hashes >> np.uint64(31))) * SPREAD
    return hashes >> np.uint64(32)


def elements_of(source: Source, place: TensorPlace) -> Bits:
    """Give the elements of an array, unsigned, shape (n,)."""
    data = source.read_at(place.offset, place.size_bytes)
    return np.frombuffer(data, dtype=place.kind.unsigned)


def origins_of_sample(
    base: Source, old: Iterable[TensorPlace], wanted: NDArray[np.uint64], in_a_row: int
) -> Numbers:
    """Give the offset in the base of each wanted cell that is there once, or -1; shape (n,).

    Args:
        base: the old image.
        old: its arrays.
        wanted: hashes of cells, shape (n,).
        in_a_row: the elements of a cell.
    """
    hashes, inverse = np.unique(wanted, return_inverse=True)
    if not len(hashes):
        return np.zeros(0, dtype=np.int64)
    mask = np.uint64((1 << _SEEN_BITS) - 1)
    seen = np.zeros(1 << _SEEN_BITS, dtype=np.bool_)
    seen[hashes & mask] = True
    offsets = np.full(len(hashes), -1, dtype=np.int64)
    counts = np.zeros(len(hashes), dtype=np.int64)
    for theirs, first, width in _hashed(base, old, in_a_row):
        likely = np.flatnonzero(seen[theirs & mask])
        number = np.minimum(np.searchsorted(hashes, theirs[likely]), len(hashes) - 1)
        is_found = hashes[number] == theirs[likely]
        offsets[number[is_found]] = first + likely[is_found] * width
        counts += np.bincount(number[is_found], minlength=len(hashes))
    offsets[counts != 1] = -1
    result: Numbers = offsets[inverse.ravel()]
    return result


def _hashed(
    base: Source, old: Iterable[TensorPlace], in_a_row: int
) -> Iterator[tuple[NDArray[np.uint64], int, int]]:
    """Hashes of cells of the base, the offset of the first, and how far they are apart."""
    for place in old:
        width = place.kind.size_bytes(1)
        for first in range(0, place.count - in_a_row + 1, _STEP):
            count = min(_STEP + in_a_row - 1, place.count - first)
            offset = place.offset + first * width
            data = np.frombuffer(base.read_at(offset, count * width), place.kind.unsigned)
            yield cell_hashes(data, in_a_row), offset, width


class CellIndex:
    """The cells of some arrays of the base; those that are there more than once are left out.

    Args:
        base: the old image.
        old: its arrays, of at most `CELLS_MAX` elements, within 4 GiB.
        in_a_row: the elements of a cell.
    """

    def __init__(self, base: Source, old: list[TensorPlace], in_a_row: int) -> None:
        self._in_a_row = in_a_row
        self._start = min(place.offset for place in old)
        keys = np.empty(sum(place.count for place in old), dtype=np.uint64)
        end = 0
        for hashes, first, width in _hashed(base, old, in_a_row):
            offsets = np.arange(len(hashes), dtype=np.uint64) * np.uint64(width)
            offsets += np.uint64(first - self._start)
            keys[end : end + len(hashes)] = hashes << np.uint64(32) | offsets
            end += len(hashes)
        keys = keys[:end]
        keys.sort()
        self._keys = keys

    def origins(self, elements: Bits) -> Numbers:
        """Give the offset in the base of the cell that begins at each element, or -1; shape (n,).

        Args:
            elements: unsigned, shape (n,).
        """
        found = np.full(len(elements), -1, dtype=np.int64)
        for first in range(0, len(elements), _STEP):
            part = elements[first : first + _STEP + self._in_a_row - 1]
            wanted = cell_hashes(part, self._in_a_row)[:_STEP]
            found[first : first + len(wanted)] = self._lookup(wanted)
        return found

    def _lookup(self, wanted: NDArray[np.uint64]) -> Numbers:
        # Sorted, they are found several times as fast: the table is walked once.
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        last = len(self._keys) - 1
        origins = np.full(len(wanted), -1, dtype=np.int64)
        if last < 0:
            return origins
        place = np.searchsorted(self._keys, ordered << np.uint64(32))
        found, after = (self._keys[np.minimum(place + more, last)] for more in (0, 1))
        is_found = (place <= last) & (found >> np.uint64(32) == ordered)
        is_found &= (place >= last) | (after >> np.uint64(32) != ordered)
        offsets = (found & np.uint64(0xFFFFFFFF)).astype(np.int64) + self._start
        origins[order] = np.where(is_found, offsets, -1)
        return origins
