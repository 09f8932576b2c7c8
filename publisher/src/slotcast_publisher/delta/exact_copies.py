"""Data as copies of old bytes that are equal to the last one, and what lies between them.

A patch in the manner of bsdiff goes on in the old bytes as long as most of them fit. Where columns
were deleted from a matrix, that blurs where each copy ends, and steps that come again in each row
look like others each time. Copies that end at the first byte that differs come again just as they
were, so their steps pack to a few bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.block_index import window_hashes

Step = tuple[int, int, int]
"""Bytes to copy, bytes to insert, and how far to move on in the old bytes."""

STEPS_MAX: Final = 100_000
"""The most copies; each takes some microseconds, and data in so many is no matrix of few moves."""

_SLAB_BYTES: Final = 1 << 19
"""The bytes that are hashed at once."""

_FIRST_LOOKED_FOR: Final = 32
"""The windows that are looked for at once, where a copy has ended: most copies begin near by."""
_LOOKED_FOR_MAX: Final = 8192
"""The windows that are looked for at once, where none was found for long."""

_HASH_BITS: Final = np.uint64(32)
"""The bits by which a hash is moved up in a key, so that below it a position fits."""
_POSITIONS: Final = (1 << 32) - 1
"""The bits of a key that hold a position."""

_KIND_BITS: Final = 22
"""The highest bits of a hash, by which it is known that no window of the data has it."""


def find_copies(data: bytes, old: bytes, window: int) -> tuple[list[Step], bytes] | None:
    """Give the steps that make `data`, and the bytes to insert; None where they are too many.

    Args:
        data: what is to be made.
        old: the bytes to copy from.
        window: the least bytes of a copy, a power of two.
    """
    keys = sorted_windows(old, window, kinds_of_windows([data], window))
    steps: list[Step] = []
    inserted: list[bytes] = []
    end = old_end = 0  # of the last copy
    added = 0
    while True:
        found = next_copy(data, old, keys, end, old_end, window)
        start, old_start = found or (len(data), old_end)
        steps.append((added, start - end, old_start - old_end))
        inserted.append(data[end:start])
        if found is None:
            return steps, b"".join(inserted)
        if len(steps) >= STEPS_MAX:
            return None
        added = equal_bytes(data, start, old, old_start)
        end, old_end = start + added, old_start + added


def kinds_of_windows(pieces: Iterable[bytes], window: int) -> NDArray[np.bool_]:
    """Give by its highest bits which hashes windows of the data have; bool, shape (kinds,).

    Args:
        pieces: all that is to be made, or more.
        window: the least bytes of a copy, a power of two.
    """
    kinds = np.zeros(1 << _KIND_BITS, dtype=np.bool_)
    for data in pieces:
        for _, hashes in _hashed_slabs(data, window):
            kinds[_kinds(hashes)] = True
    return kinds


def _kinds(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return hashes >> (_HASH_BITS - np.uint64(_KIND_BITS))


def sorted_windows(old: bytes, window: int, kinds: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Give hash and position of each window that may be wanted, sorted; uint64, shape (n,).

    Both are in one number. Of old bytes that are hardly alike few are kept, and to sort all of them
    took longer than all else.

    Args:
        old: the bytes to copy from.
        window: the least bytes of a copy, a power of two.
        kinds: of the data's windows.
    """
    parts = [np.empty(0, dtype=np.uint64)]
    for start, hashes in _hashed_slabs(old, window):
        kept = np.flatnonzero(kinds[_kinds(hashes)])
        parts.append((hashes[kept] << _HASH_BITS) | (kept + start).astype(np.uint64))
    keys = np.concatenate(parts)
    keys.sort()
    return keys


def _hashed_slabs(data: bytes, window: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """Give where each slab begins, and the hashes of the windows that begin in it."""
    for start in range(0, len(data) - window + 1, _SLAB_BYTES):
        yield start, _hashes(data[start : start + _SLAB_BYTES + window - 1], window)


def _hashes(data: bytes, window: int) -> NDArray[np.uint64]:
    return window_hashes(np.frombuffer(data, dtype=np.uint8), window) >> _HASH_BITS


def next_copy(
    data: bytes, old: bytes, keys: NDArray[np.uint64], end: int, old_end: int, window: int
) -> tuple[int, int] | None:
    """Give where the next copy begins in the data, from `end` on, and in the old bytes.

    Of windows that are equal, the first one behind the last copy, or else the last of all.

    Args:
        data: what is to be made.
        old: the bytes to copy from.
        keys: the old bytes' `sorted_windows`.
        end: where the last copy ended in the data.
        old_end: where it ended in the old bytes.
        window: the least bytes of a copy.
    """
    start, count = end, _FIRST_LOOKED_FOR
    while start + window <= len(data):
        hashes = _hashes(data[start : start + count + window - 1], window) << _HASH_BITS
        candidates = _equal_windows(keys, hashes, old_end)
        for index in np.flatnonzero(candidates >= 0):
            at, old_at = start + int(index), int(candidates[index])
            if data[at : at + window] == old[old_at : old_at + window]:
                return at, old_at
        start, count = start + count, min(2 * count, _LOOKED_FOR_MAX)
    return None


def _equal_windows(
    keys: NDArray[np.uint64], hashes: NDArray[np.uint64], old_end: int
) -> NDArray[np.int64]:
    """Where in the old bytes a window of each hash lies, -1 for nowhere; int64, shape (n,)."""
    found = np.full(len(hashes), -1, dtype=np.int64)
    if not len(keys):
        return found
    behind = np.searchsorted(keys, hashes | np.uint64(old_end))
    for places in (np.maximum(behind - 1, 0), np.minimum(behind, len(keys) - 1)):
        is_equal = keys[places] >> _HASH_BITS == hashes >> _HASH_BITS
        positions = (keys[places] & np.uint64(_POSITIONS)).astype(np.int64)
        found[is_equal] = positions[is_equal]
    return found


def equal_bytes(data: bytes, start: int, old: bytes, old_start: int) -> int:
    """Give how many bytes are equal from both starts on.

    Args:
        data: bytes.
        start: where to begin in them.
        old: other bytes.
        old_start: where to begin in those.
    """
    most, size_bytes, done = min(len(data) - start, len(old) - old_start), 64, 0
    while done < most:
        size_bytes = min(size_bytes, most - done)
        ours = data[start + done : start + done + size_bytes]
        theirs = old[old_start + done : old_start + done + size_bytes]
        if ours != theirs:
            is_equal = np.frombuffer(ours, dtype=np.uint8) == np.frombuffer(theirs, dtype=np.uint8)
            return done + int(is_equal.argmin())
        done += size_bytes
        size_bytes *= 2
    return done
