"""Compact deltas made to hurt: flipped bits, cut ends, wrong bases, lying numbers, bombs.

As with the long form (`test_delta_hostile`), a device may only see `PayloadCorrupt`, `WrongBase` or
`Incompatible`, never more bytes than were signed, and never much memory.
"""

from __future__ import annotations

import hashlib
import lzma
import random
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from slotcast_schemas.codecs.delta.bounded_fields import FieldWriter
from slotcast_schemas.codecs.delta.compact import (
    COMPACT,
    HEAD_SIZE,
    Script,
    pack_compact,
    pack_script,
    read_compact,
)
from slotcast_schemas.codecs.delta.decoder import decode_delta
from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.delta.gather import Gather
from slotcast_schemas.codecs.delta.script_packers import (
    PACK_DEFLATE,
    PACK_DICTIONARY,
    PACK_LZMA,
    PACK_NONE,
    SCRIPT_MAX,
    pack_with_dictionary,
)
from slotcast_schemas.codecs.delta.segments import (
    SEGMENTS_MAX,
    Copy,
    Other,
    Rebase,
    Segment,
    TensorSegment,
    Transposition,
)
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import Incompatible, PayloadCorrupt, RefusedRelease, WrongBase
from tests.support.deltas import apply_delta

ASSETS = Path(__file__).parents[1] / "assets" / "delta"
PAYLOAD, BASE, IMAGE = (
    (ASSETS / f"compact.{name}").read_bytes() for name in ("delta", "base", "image")
)
SHA256 = hashlib.sha256(BASE).digest()
MEMORY_MAX_BYTES = 32_000_000
LZMA = [{"id": lzma.FILTER_LZMA1, "preset": 9, "dict_size": SCRIPT_MAX, "lc": 0, "lp": 0, "pb": 0}]


def decode(payload: bytes, size_bytes: int = len(IMAGE), sha256: bytes = SHA256) -> bytes:
    return apply_delta(payload, BASE, size_bytes, sha256)


def is_refused(payload: bytes) -> bool:
    """Whether a payload was refused; if it was not, it must give the very image."""
    try:
        assert decode(payload) == IMAGE
    except RefusedRelease:
        return True
    return False


def unpacked(payload: bytes = PAYLOAD) -> bytes:
    """The same delta with its script as it is, where flipped bits meet numbers."""
    script = read_compact(
        MemorySource(payload),
        MemorySource(BASE),
        base_sha256=SHA256,
        image_size_bytes=len(IMAGE),
    )
    return bytes([COMPACT]) + payload[1:HEAD_SIZE] + pack_script(script)


def packed(packer: int, script: bytes) -> bytes:
    """A delta of any script."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = {
        PACK_NONE: script,
        PACK_DEFLATE: deflate.compress(script) + deflate.flush(),
        PACK_LZMA: lzma.compress(script, lzma.FORMAT_RAW, filters=LZMA),
        PACK_DICTIONARY: pack_with_dictionary(script, BASE),
    }[packer]
    return bytes([COMPACT | packer]) + PAYLOAD[1:HEAD_SIZE] + data


@pytest.mark.parametrize("packer", [PACK_NONE, PACK_DEFLATE, PACK_LZMA, PACK_DICTIONARY])
def test_every_flipped_bit_is_refused_or_means_nothing(packer: int) -> None:
    payload = packed(packer, unpacked()[HEAD_SIZE:])
    assert not is_refused(payload)
    accepted = []
    for bit in range(8 * len(payload)):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        if not is_refused(bytes(changed)):
            accepted.append(bit)
    # The last bits of a packed stream may mean nothing, and so may how an equal byte is reached.
    assert len(accepted) <= 8
    assert all(bit >= 8 * HEAD_SIZE for bit in accepted)


@pytest.mark.parametrize("packer", [PACK_NONE, PACK_DEFLATE, PACK_LZMA, PACK_DICTIONARY])
def test_every_cut_and_every_byte_too_many_is_refused(packer: int) -> None:
    payload = packed(packer, unpacked()[HEAD_SIZE:])
    for size_bytes in range(len(payload)):
        assert is_refused(payload[:size_bytes]), size_bytes
    assert is_refused(payload + b"\0")


def test_scripts_of_any_bytes_never_give_wrong_ones() -> None:
    rng = random.Random(6)
    script = bytearray(unpacked()[HEAD_SIZE:])
    for _ in range(2000):
        changed = script.copy()
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        is_refused(packed(PACK_NONE, bytes(changed)))


def test_a_wrong_base_is_refused_before_the_first_byte() -> None:
    given: list[Any] = []
    with pytest.raises(WrongBase, match="expected a delta from base 0000"):
        decode_delta(
            MemorySource(PAYLOAD),
            MemorySource(BASE),
            image_size_bytes=len(IMAGE),
            base_sha256=bytes(32),
            sink=given.append,
        )
    assert not given


@pytest.mark.parametrize("change", [-1, 1, 1 << 40])
def test_an_image_of_another_size_than_the_signed_one_is_refused(change: int) -> None:
    with pytest.raises(PayloadCorrupt):
        decode(PAYLOAD, len(IMAGE) + change)


@pytest.mark.parametrize("form", [COMPACT | 4, COMPACT | 5, 0xC0, 0xFF])
def test_a_form_that_came_later_is_named(form: int) -> None:
    with pytest.raises(Incompatible, match=f"got {form:#x}; update the device"):
        decode(bytes([form]) + PAYLOAD[1:])


def of_segments(*segments: Segment, given: bytes = b"") -> bytes:
    script = pack_script(Script([*segments, Other(1)], given + b"x", 0))
    return pack_compact(script, SHA256, 0)


def _tensor(**changes: Any) -> TensorSegment:
    return replace(TensorSegment(1024, 0, FLOAT32, is_exact=True), **changes)


def _gather(**changes: Any) -> Gather:
    backwards = np.arange(16, dtype=np.int32)[::-1].copy()
    gather = Gather(16, 16, 1, is_turned=False, rows=backwards, columns=backwards)
    return replace(gather, **changes)


SIZE = len(BASE)
LIES: dict[str, Segment] = {
    "a copy past the end": Copy(100, SIZE - 99),
    "a copy from before the start": Copy(100, -1),
    "a copy from beyond 64 bits": Copy(100, 1 << 66),
    "a tensor past the end": _tensor(base_offset=SIZE - 1023),
    "a tensor that is not exact": _tensor(is_exact=False),
    "a tensor with blocks": _tensor(block=256),
    "a tensor that is predicted": _tensor(predictor=Rebase(np.float32(1))),
    "a part of an element": _tensor(size_bytes=1022),
    "a matrix past the end": _tensor(transposed=Transposition(16, 1 << 20, 0)),
    "a gathered matrix past the end": _tensor(gather=_gather(), base_offset=SIZE - 1020),
    "a gathered row past the last": _tensor(gather=_gather(rows=np.full(16, 16, np.int32))),
    "holes without bytes": _tensor(gather=_gather(rows=np.full(16, -1, np.int32))),
}


@pytest.mark.parametrize("lie", LIES)
def test_numbers_that_lie_are_refused_before_the_first_byte(lie: str) -> None:
    with pytest.raises(PayloadCorrupt) as caught:
        decode(of_segments(LIES[lie]), LIES[lie].size_bytes + 1)
    assert "CRC" not in str(caught.value)


def test_honest_ones_get_as_far_as_the_crc() -> None:
    """So each lie above is refused for itself."""
    for honest in (Copy(100, 0), _tensor(), _tensor(gather=_gather())):
        with pytest.raises(PayloadCorrupt, match="CRC"):
            decode(of_segments(honest), honest.size_bytes + 1)


def test_other_bytes_too_few_and_too_many_are_refused() -> None:
    for given in (b"12", b"1234"):
        with pytest.raises(PayloadCorrupt, match="expected 4 other bytes, got"):
            decode(of_segments(Other(3), given=given), 4)


def _long_form_in_a_script(word: int) -> bytes:
    """A copy, or other bytes, said as the long form says them."""
    writer = FieldWriter()
    for number in (0, word, 10, 0):
        writer.uint(number)
    return packed(PACK_NONE, bytes(writer.data))


@pytest.mark.parametrize("word", [0, 1])
def test_there_is_one_way_to_say_a_copy(word: int) -> None:
    with pytest.raises(PayloadCorrupt, match="expected an exact tensor"):
        decode(_long_form_in_a_script(word), 10)


def _bomb(packer: int) -> bytes:
    return packed(packer, bytes(64 * SCRIPT_MAX))


def _frame(window_log: int) -> bytes:
    """A bomb of zstd, with a window of another size than its bytes."""
    compressor = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(
            window_log=window_log, write_content_size=False
        )
    )
    frame = compressor.compress(bytes(64 * SCRIPT_MAX))
    return bytes([COMPACT | PACK_DICTIONARY]) + PAYLOAD[1:HEAD_SIZE] + frame[5:]


BOMBS: dict[str, Callable[[], bytes]] = {
    "deflate": lambda: _bomb(PACK_DEFLATE),
    "LZMA": lambda: _bomb(PACK_LZMA),
    "zstd": lambda: _frame(20),
    "as it is": lambda: packed(PACK_NONE, bytes(SCRIPT_MAX)),
}


def test_a_window_that_takes_much_memory_is_refused() -> None:
    with pytest.raises(PayloadCorrupt, match="too much memory"):
        decode(_frame(24))


def test_one_segment_too_many_is_refused() -> None:
    segments = [Copy(1, 0)] * (SEGMENTS_MAX - 1)
    with pytest.raises(PayloadCorrupt, match="CRC"):
        decode(of_segments(*segments), SEGMENTS_MAX)
    with pytest.raises(PayloadCorrupt, match=f"at most {SEGMENTS_MAX} segments"):
        decode(of_segments(*segments, Copy(1, 0)), SEGMENTS_MAX + 1)


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_in_little_memory(bomb: str) -> None:
    payload = BOMBS[bomb]()
    tracemalloc.start()
    try:
        with pytest.raises(PayloadCorrupt, match="fewer than"):
            decode(payload, 1 << 40)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MAX_BYTES
    finally:
        tracemalloc.stop()
