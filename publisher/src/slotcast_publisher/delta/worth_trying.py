"""Whether a search or a slow packer is worth its time, told by a sample.

Suffix sorting bytes that are nowhere in the base takes minutes and finds nothing, and the slowest
packers gain nothing on weights, which have no repetitions. A thousandth of the bytes tells both.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import zstandard

from slotcast_publisher.delta.block_index import block_hashes, window_hashes
from slotcast_schemas.codecs.delta.packed import (
    PACK_BZ2,
    PACK_XZ,
    PACK_ZSTD,
    XZ_FILTERS,
)
from slotcast_schemas.codecs.delta.segments import OTHER_MAX

_WINDOW_BYTES: Final = 8
"""The bytes of a window that is looked for: what is alike has some of them in common."""

_WINDOWS: Final = 4096
"""The number of windows that are looked for."""

_FOUND_SHARE: Final = 0.01
"""The share of windows found from which a search pays."""

_SLAB_BYTES: Final = 1 << 19
"""The bytes that are searched at once."""

_SEEN_MASK: Final = np.uint64((1 << 20) - 1)
"""The bits of a hash by which most windows are passed over at once."""

_SAMPLE_FROM_BYTES: Final = 256 * 1024
"""The least bytes of which a sample is packed first."""

_SAMPLE_BYTES: Final = 32 * 1024
"""The bytes of each of four pieces of a sample."""

_NEARLY_BEST: Final = 1.003
"""How much larger than the best a packer's sample may be, for all the bytes to be tried with it."""

_GAIN: Final = 1.002
"""How much smaller zstd's slowest level must make a sample than its fastest, to be taken."""

_CLEAR_GAIN: Final = 1.01
"""How much smaller another packer must make a sample of what does not repeat itself: a second for
each megabyte is too much for less."""


_XZ_DICT_MIN: Final = 4096
"""The least dictionary that LZMA2 has."""


def has_common_bytes(data: bytes, old: bytes) -> bool:
    """Say whether some of the windows of `data` are anywhere in `old`."""
    if len(data) < 4 * _WINDOW_BYTES or len(old) < _WINDOW_BYTES:
        return True
    wanted = _sampled_windows(data)
    return not len(wanted) or bool(_are_in(wanted, old).mean() >= _FOUND_SHARE)


def covered_share(stretches: Sequence[bytes], old: Iterable[bytes]) -> float:
    """Give the share of bytes that lie in runs of 8 that the old ones have, too.

    Args:
        stretches: some of the data, of the same number of bytes, at least 8.
        old: what is searched, a part at a time.
    """
    hashes = [
        window_hashes(np.frombuffer(stretch, dtype=np.uint8), _WINDOW_BYTES)
        for stretch in stretches
    ]
    wanted, places = np.unique(np.concatenate(hashes), return_inverse=True)
    is_found = np.zeros(len(wanted), dtype=np.bool_)
    for part in old:
        is_found |= _are_in(wanted, part)
    found = is_found[places].reshape(len(stretches), -1)
    covered = np.zeros((len(stretches), len(stretches[0])), dtype=np.bool_)
    for first in range(_WINDOW_BYTES):
        covered[:, first : first + found.shape[1]] |= found
    return float(covered.mean())


def _are_in(
    wanted: np.ndarray[tuple[int, ...], np.dtype[np.uint64]], old: bytes
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Say which windows are in `old`, by their hashes in order."""
    found = np.zeros(len(wanted), dtype=np.bool_)
    seen = np.zeros(int(_SEEN_MASK) + 1, dtype=np.bool_)
    seen[wanted & _SEEN_MASK] = True
    for start in range(0, len(old), _SLAB_BYTES):
        slab = old[start : start + _SLAB_BYTES + _WINDOW_BYTES - 1]
        if len(slab) >= _WINDOW_BYTES:
            hashes = window_hashes(np.frombuffer(slab, dtype=np.uint8), _WINDOW_BYTES)
            hashes = hashes[seen[hashes & _SEEN_MASK]]
            index = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
            found[index[wanted[index] == hashes]] = True
    return found


def _sampled_windows(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """Hashes of windows from all over the data, sorted; none of one repeated byte."""
    elements = np.frombuffer(data, dtype=np.uint8)
    last = len(elements) - _WINDOW_BYTES
    starts = np.unique(np.linspace(0, last, min(last + 1, _WINDOWS)).astype(np.int64))
    windows = elements[starts[:, None] + np.arange(_WINDOW_BYTES)]
    windows = windows[np.ptp(windows, axis=1) > 0]
    return np.unique(block_hashes(windows.ravel(), _WINDOW_BYTES))


def likely_packers(data: bytes) -> set[int]:
    """Give the packers that may make the data smallest, by what they make of a sample."""
    slow = {PACK_ZSTD, PACK_XZ, PACK_BZ2}
    if len(data) < _SAMPLE_FROM_BYTES:
        return slow
    starts = np.linspace(0, len(data) - _SAMPLE_BYTES, 4).astype(int)
    sample = b"".join(data[start : start + _SAMPLE_BYTES] for start in starts)
    sizes = {
        PACK_ZSTD: len(zstandard.ZstdCompressor(19).compress(sample)),
        PACK_XZ: len(compress_xz(sample)),
        PACK_BZ2: len(bz2.compress(sample, 9)),
    }
    best = min(sizes.values())
    if best * _CLEAR_GAIN > sizes[PACK_ZSTD] and not has_repetitions(data):
        return {PACK_ZSTD}
    return {packer for packer, size in sizes.items() if size <= best * _NEARLY_BEST}


def compress_xz(data: bytes) -> bytes:
    """Compress as a decoder's filters expect it, with memory for no more than there is to compress.

    To clear the tables of the whole dictionary takes longer than to compress a few hundred bytes.
    """
    dict_size = min(OTHER_MAX, max(_XZ_DICT_MIN, 1 << len(data).bit_length()))
    filters = [{**each, "dict_size": dict_size} for each in XZ_FILTERS]
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters)


def has_repetitions(data: bytes) -> bool:
    """Say whether zstd's slowest level makes a sample smaller than its fastest ones do."""
    if len(data) < _SAMPLE_FROM_BYTES:
        return True
    middle = len(data) // 2
    sample = data[middle - 2 * _SAMPLE_BYTES : middle + 2 * _SAMPLE_BYTES]
    slow, quick = (len(zstandard.ZstdCompressor(level).compress(sample)) for level in (19, 1))
    return slow * _GAIN < quick
