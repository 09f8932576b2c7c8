"""Where blocks of the base lie, by hash, and which runs of new bytes are there word for word.

Every tensor of the base is cut into blocks of the same number of bytes. A window of new bytes of
that size whose hash is a block's is compared, and grown in both directions as far as it is equal.
So each run of at least two blocks is found, wherever in the base it lies now: rows that were
appended, inserted, deleted or swapped, gates in another order, two tensors that became one.
The hash is a polynomial in the elements, which is computed for all windows at once by doubling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.hash_factors import FACTOR, SPREAD
from slotcast_schemas.codecs.delta.elements import Bits
from slotcast_schemas.codecs.source import Source

_BLOCK_BYTES: Final = 32
"""The bytes of a block, where the base is not too large for so many blocks."""

_BLOCKS_MAX: Final = 3 << 20
"""The most blocks that are held, 8 bytes each; a larger base has larger blocks."""

_NUMBER_BITS: Final = 22
"""The lowest bits of a key, which hold the block's number; the others are its hash's."""

_NUMBER: Final = np.uint64((1 << _NUMBER_BITS) - 1)

_SLAB_BYTES: Final = 1 << 20
"""The bytes that are read and hashed at once."""

_FILTER_BITS: Final = 24
"""The base-2 logarithm of the bits of a hash by which most windows are passed over at once."""

_BELOW: Final = np.uint64((1 << (64 - _FILTER_BITS)) - 1)
"""The bits of a hash below those."""


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of the target that lie in the base as they are."""

    offset: int
    base_offset: int
    size_bytes: int

    @property
    def end(self) -> int:
        """Where it ends in the target."""
        return self.offset + self.size_bytes


@dataclass(frozen=True, slots=True)
class Region:
    """A range of an image whose elements are of so many bytes each."""

    offset: int
    size_bytes: int
    width: int


class BlockIndex:
    """The blocks of a base image's regions.

    Args:
        base: the image.
        regions: where to cut blocks; elements of other widths are never compared.
    """

    def __init__(self, base: Source, regions: Iterable[Region]) -> None:
        self._base = base
        regions = list(regions)
        total = sum(region.size_bytes for region in regions)
        self._block_bytes = _BLOCK_BYTES
        while total // self._block_bytes > _BLOCKS_MAX:
            self._block_bytes *= 2
        self._tables = {
            width: self._table([region for region in regions if region.width == width])
            for width in sorted({region.width for region in regions})
        }

    def _table(self, regions: list[Region]) -> _Table:
        counts = [region.size_bytes // self._block_bytes for region in regions]
        keys = np.empty(sum(counts), dtype=np.uint64)
        done = 0
        for hashes in self._hashes(regions):
            numbers = np.arange(done, done + len(hashes), dtype=np.uint64)
            keys[done : done + len(hashes)] = (hashes & ~_NUMBER) | numbers
            done += len(hashes)
        offsets = np.array([region.offset for region in regions], dtype=np.int64)
        first = np.cumsum([0, *counts[:-1]], dtype=np.int64)
        return _Table.of(keys, first, offsets, self._block_bytes)

    def _hashes(self, regions: list[Region]) -> Iterator[NDArray[np.uint64]]:
        """Give the hashes of all blocks of some regions, in order, some thousands at once."""
        step = max(1, _SLAB_BYTES // self._block_bytes) * self._block_bytes
        for region in regions:
            whole = region.size_bytes // self._block_bytes * self._block_bytes
            for start in range(region.offset, region.offset + whole, step):
                size = min(step, region.offset + whole - start)
                elements = _elements(self._base.read_at(start, size), region.width)
                yield block_hashes(elements, self._block_bytes // region.width)

    def runs(self, target: Source, region: Region) -> list[Run]:
        """Find the runs of a region of the target that lie in the base, in order, apart.

        Args:
            target: the new image.
            region: where to look.
        """
        table = self._tables.get(region.width)
        found: list[Run] = []
        if table is None or not len(table.keys):
            return found
        end = region.offset
        for hits, places in self._hits(target, region, table):
            # A hit inside the last run is passed over in one step, not one by one.
            position = int(np.searchsorted(hits, end))
            while position < len(hits):
                run = self._grown(target, int(hits[position]), int(places[position]), end, region)
                if run is None:
                    position += 1
                    continue
                found.append(run)
                end = run.end
                position = int(np.searchsorted(hits, end))
        return found

    def _hits(
        self, target: Source, region: Region, table: _Table
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Where windows begin that have a block's hash, in the target and in the base."""
        window = self._block_bytes // region.width
        for start in range(0, region.size_bytes, _SLAB_BYTES):
            size = min(_SLAB_BYTES + self._block_bytes, region.size_bytes - start)
            size = size // region.width * region.width
            if size < self._block_bytes:
                return
            elements = _elements(target.read_at(region.offset + start, size), region.width)
            positions, places = table.find(window_hashes(elements, window))
            inside = positions * region.width < _SLAB_BYTES
            hits = region.offset + start + positions[inside] * region.width
            yield hits, places[inside]

    def _grown(
        self, target: Source, offset: int, base_offset: int, least: int, region: Region
    ) -> Run | None:
        """The run around a hit, not before `least`; None where only the hash is equal."""
        most = min(region.offset + region.size_bytes - offset, self._base.size_bytes - base_offset)
        forward = _equal_bytes(target, offset, self._base, base_offset, most)
        if forward < self._block_bytes:
            return None
        room = min(offset - least, base_offset, self._block_bytes)
        before = target.read_at(offset - room, room), self._base.read_at(base_offset - room, room)
        back = _equal_tail(*before)
        # Whole elements alone: a tensor is never cut inside one.
        back -= back % region.width
        size_bytes = back + forward
        size_bytes -= size_bytes % region.width
        return Run(offset - back, base_offset - back, size_bytes)


@dataclass(frozen=True, slots=True)
class _Table:
    """Hashes of blocks, sorted, where each lies, and the highest bits of all of them.

    Attributes:
        keys: of each block its hash, in the lowest bits of which is its number; uint64, shape (n,).
            One sort in place is all that a large base takes beside them.
        first: the number of each region's first block; int64, shape (regions,).
        offsets: where each region begins in the base; int64, shape (regions,).
        block_bytes: the size of a block.
        seen: a bit for each value of the highest bits, set where a block has it; uint8, shape
            (2**21,).
    """

    keys: NDArray[np.uint64]
    first: NDArray[np.int64]
    offsets: NDArray[np.int64]
    block_bytes: int
    seen: NDArray[np.uint8]

    @classmethod
    def of(
        cls,
        keys: NDArray[np.uint64],
        first: NDArray[np.int64],
        offsets: NDArray[np.int64],
        block_bytes: int,
    ) -> _Table:
        """Sort the keys, which are taken over."""
        keys.sort()
        return cls(keys, first, offsets, block_bytes, _seen(keys))

    def find(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give which of these hashes are a block's, and where the first such block lies."""
        bits = hashes >> np.uint64(64 - _FILTER_BITS)
        octets = self.seen[bits >> np.uint64(3)]
        likely = np.flatnonzero(octets >> (bits & np.uint64(7)).astype(np.uint8) & np.uint8(1))
        wanted = hashes[likely] & ~_NUMBER
        index = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        is_found = self.keys[index] & ~_NUMBER == wanted
        numbers = (self.keys[index[is_found]] & _NUMBER).astype(np.int64)
        region = np.searchsorted(self.first, numbers, side="right") - 1
        places = self.offsets[region] + self.block_bytes * (numbers - self.first[region])
        return likely[is_found], places


def _seen(keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Note the highest bits of sorted keys, a bit for each value, a part of them at a time."""
    shift = np.uint64(64 - _FILTER_BITS)
    parts, most = [], 1 << _FILTER_BITS
    for low in range(0, most, _SLAB_BYTES):
        begin = np.searchsorted(keys, np.uint64(low) << shift)
        end = np.searchsorted(keys, np.uint64(low + _SLAB_BYTES - 1) << shift | _BELOW, "right")
        part = np.zeros(_SLAB_BYTES, dtype=np.bool_)
        part[(keys[begin:end] >> shift) - np.uint64(low)] = True
        parts.append(np.packbits(part, bitorder="little"))
    return np.concatenate(parts)


def block_hashes(elements: Bits, window: int) -> NDArray[np.uint64]:
    """Hash block after block of elements, unsigned, shape (n,); uint64, shape (n // window,)."""
    powers = np.array([pow(FACTOR, window - 1 - i, 1 << 64) for i in range(window)], np.uint64)
    blocks = _spread(elements).reshape(-1, window)
    return _mixed((blocks * powers).sum(axis=1, dtype=np.uint64))


def window_hashes(elements: Bits, window: int) -> NDArray[np.uint64]:
    """Hash the windows that begin at each element, unsigned, shape (n,).

    A window is a power of two; uint64, shape (n - window + 1,), of equal blocks the same as
    `block_hashes` gives.
    """
    hashes, half = _spread(elements), 1
    while half < window:
        factor = np.uint64(pow(FACTOR, half, 1 << 64))
        hashes = hashes[:-half] * factor + hashes[half:]
        half *= 2
    return _mixed(hashes)


def _spread(elements: Bits) -> NDArray[np.uint64]:
    return elements.astype(np.uint64) * SPREAD


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = (hashes ^ (hashes >> np.uint64(32))) * SPREAD
    return mixed ^ (mixed >> np.uint64(29))


def _elements(data: bytes, width: int) -> Bits:
    elements: Bits = np.frombuffer(data, dtype=np.dtype(f"<u{width}"))
    return elements


def _equal_bytes(one: Source, at: int, other: Source, other_at: int, most: int) -> int:
    """How many bytes are equal from there on; read in pieces that grow."""
    done, step = 0, 512
    while done < most:
        size = min(step, most - done)
        ours, theirs = one.read_at(at + done, size), other.read_at(other_at + done, size)
        if ours != theirs:
            differs = np.frombuffer(ours, np.uint8) != np.frombuffer(theirs, np.uint8)
            return done + int(np.argmax(differs))
        done += size
        step = min(2 * step, _SLAB_BYTES)
    return done


def _equal_tail(ours: bytes, theirs: bytes) -> int:
    differs = np.frombuffer(ours, np.uint8)[::-1] != np.frombuffer(theirs, np.uint8)[::-1]
    return int(np.argmax(differs)) if differs.any() else len(ours)
