"""Samples tell whether a slow way is worth its time: in vain on noise, not on what repeats."""

from __future__ import annotations

import lzma

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_publisher.delta.other import pack
from slotcast_publisher.delta.worth_trying import compress_xz, likely_packers
from slotcast_schemas.codecs.delta.packed import PACK_BZ2, PACK_XZ, PACK_ZSTD, XZ_FILTERS


def noise(size_bytes: int, seed: int = 1) -> NDArray[np.int8]:
    """Bytes as int8 weights are: of a bell's shape, and nowhere the same."""
    drawn = np.random.default_rng(seed).standard_normal(size_bytes) * 20
    return drawn.clip(-127, 127).astype(np.int8)


def test_noise_is_packed_by_the_quick_packer_alone() -> None:
    data = noise(4_000_000).tobytes()
    assert likely_packers(data) == {PACK_ZSTD}


@pytest.mark.parametrize("distance_bytes", [100_000, 3_500_000])
def test_noise_that_is_there_twice_is_sent_once(distance_bytes: int) -> None:
    weights = noise(4_000_000)
    alone = pack(weights.tobytes())[1]
    weights[distance_bytes : distance_bytes + 100_000] = weights[:100_000]
    assert len(pack(weights.tobytes())[1]) < len(alone) - 70_000


def test_text_is_given_to_the_slow_packers() -> None:
    words = [f"{number * 7919 % 10_007:x}" for number in range(3000)]
    rng = np.random.default_rng(1)
    data = " ".join(words[at] for at in rng.integers(0, 3000, 200_000)).encode()
    assert likely_packers(data) & {PACK_XZ, PACK_BZ2}


def test_neighbours_that_are_alike_are_worth_a_slow_packer() -> None:
    """Values that drift repeat nothing, but a context of the byte before makes them smaller."""
    steps = noise(1_500_000).astype(np.int64) // 20
    data = (np.cumsum(steps) % 256).astype(np.uint8).tobytes()
    assert likely_packers(data) != {PACK_ZSTD}


@pytest.mark.parametrize("size_bytes", [0, 1, 4095, 4096, 4097, 70_000])
def test_a_small_dictionary_finds_what_the_whole_one_does(size_bytes: int) -> None:
    half = noise(-(-size_bytes // 2)).tobytes()
    data = (half + half)[:size_bytes]
    packed = compress_xz(data)
    assert lzma.decompress(packed, format=lzma.FORMAT_RAW, filters=XZ_FILTERS) == data
    whole = lzma.compress(data, format=lzma.FORMAT_RAW, filters=XZ_FILTERS)
    assert len(packed) == len(whole)
