"""Sections of weights made to hurt: flipped bits, cut ends, lying numbers, bombs.

A device may only ever see a `RefusedRelease`, never more bytes than were signed, and never much
memory. Wrong bytes are found by each section's CRC before the digest of the whole is.
"""

from __future__ import annotations

import random
import tracemalloc
import zlib
from functools import cache

import numpy as np
import pytest
import zstandard

from slotcast_publisher.delta.weights import WeightsPiece
from slotcast_schemas.codecs.delta.bounded_fields import FieldWriter
from slotcast_schemas.codecs.delta.elements import FLOAT32, INT4, INT8
from slotcast_schemas.codecs.delta.headers import SectionHeader
from slotcast_schemas.codecs.delta.weights import WeightsStream
from slotcast_schemas.codecs.delta.weights_format import (
    CODED,
    RAW,
    OtherBytes,
    Palette,
    Plane,
    Planes,
    Steps,
    WeightsDescription,
    WeightsSegment,
    pack_weights_description,
)
from slotcast_schemas.codecs.full import decode_full
from slotcast_schemas.codecs.full_weights import FRAME_HEADER_SIZE, pack_frame_header
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import PayloadCorrupt, RefusedRelease
from tests.soak.fuzz_weights import SIZE_BYTES, one_input, seeds
from tests.support.weights import frame_of, quantised, section_of, trained

MEMORY_MAX_BYTES = 16_000_000
TABLE = np.ones((1, 256), dtype=np.bool_)


def back(payload: bytes, size_bytes: int) -> bytes:
    out = bytearray()

    def sink(data: bytes | memoryview) -> None:
        out.extend(data)
        assert len(out) <= size_bytes

    decode_full(
        MemorySource(payload), image_size_bytes=size_bytes, sink=sink, compression="weights"
    )
    return bytes(out)


@pytest.mark.parametrize("number", range(6))
def test_flipped_bits_and_cut_ends_are_refused_or_harmless(number: int) -> None:
    payload = seeds()[number]
    one_input(payload)
    image = back(payload, SIZE_BYTES)
    rng = random.Random(number)
    bits = rng.sample(range(8 * len(payload)), 120)
    wrong = [bytes([*payload[: b // 8], payload[b // 8] ^ 1 << b % 8]) for b in bits]
    spoilt = [head + payload[len(head) :] for head in wrong]
    cut = [payload[: rng.randrange(len(payload))] for _ in range(40)]
    for each in (*spoilt, *cut):
        try:
            assert back(each, SIZE_BYTES) == image
        except RefusedRelease:
            continue


def section(
    segments: list[WeightsSegment],
    *,
    words: bytes = b"",
    plain: bytes = b"",
    other: bytes = b"",
    description: bytes | None = None,
    size_bytes: int | None = None,
    tables: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = TABLE,
) -> bytes:
    """A frame of one section with these parts, whether they make sense or not."""
    made = WeightsDescription(segments, 0, tables)
    raw = pack_weights_description(made) if description is None else description
    packed = zstandard.ZstdCompressor().compress(raw)
    size = sum(each.size_bytes for each in segments) if size_bytes is None else size_bytes
    header = SectionHeader(
        size, len(raw), len(packed), len(other), len(words), len(plain), 0, 14, zlib.crc32(b"")
    )
    return pack_frame_header(size) + header.pack() + packed + other + words + plain


def raw_description(*numbers: int) -> bytes:
    """A description of numbers alone: no table, one segment."""
    writer = FieldWriter()
    for number in (0, 1, *numbers):
        writer.uint(number)
    return bytes(writer.data)


RAW4 = (Plane(RAW),) * 4
LIES: dict[str, bytes] = {
    "a plane that is coded by no table": section(
        [Planes(8, FLOAT32, (Plane(CODED, 0, 1), *RAW4[1:]))], words=bytes(8)
    ),
    "a mode that there is not": section([Planes(8, FLOAT32, (Plane(9), *RAW4[1:]))]),
    "a head that waits for itself": section([Planes(8, FLOAT32, (Plane(3), *RAW4[1:]))]),
    "half an element": section([Planes(7, FLOAT32, RAW4)]),
    "elements of 4 bits": section([Planes(4, INT4, (Plane(RAW),))]),
    "steps of integers": section([Steps(4, INT8, 0, 4, False, np.ones(1, dtype=np.float32))]),
    "a palette without a value": section([Palette(8, FLOAT32, 0, np.zeros(0, dtype=np.uint32))]),
    "a palette by a table that is not there": section(
        [Palette(8, FLOAT32, 0, np.ones(2, dtype=np.uint32))], tables=TABLE[:0]
    ),
    "a table without a byte": section([OtherBytes(1)], other=b"x", tables=~TABLE),
    "coded bytes without words": section(
        [Palette(8, FLOAT32, 0, np.ones(2, dtype=np.uint32))], tables=TABLE
    ),
    "too few words for the lanes": section(
        [Palette(8, FLOAT32, 0, np.ones(2, dtype=np.uint32))], words=b"ab"
    ),
    "half a word": section([Palette(8, FLOAT32, 0, np.ones(2, dtype=np.uint32))], words=b"abcde"),
    "an index beyond the palette": section(
        [Palette(400, FLOAT32, 0, np.ones(2, dtype=np.uint32))], words=bytes(range(1, 255))
    ),
    "too few plain bytes": section([Planes(8, FLOAT32, RAW4)], plain=bytes(7)),
    "too many plain bytes": section([Planes(8, FLOAT32, RAW4)], plain=bytes(9)),
    "other bytes that are not there": section([OtherBytes(9)], other=b"x"),
    "segments that do not cover": section([OtherBytes(9)], other=bytes(9), size_bytes=10),
    "more tables than there may be": section([], description=b"\x41", size_bytes=4),
    "more segments than there may be": section([], description=b"\x00\xff\xff\x7f", size_bytes=4),
    "a packer that there is not": section([], description=raw_description(0, 4, 4), size_bytes=4),
    "no description": section([], description=b"", size_bytes=4),
    "another CRC": section([Planes(8, FLOAT32, RAW4)], plain=bytes(range(8))),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(lie: str) -> None:
    payload = LIES[lie]
    size_bytes = int.from_bytes(payload[16:FRAME_HEADER_SIZE], "little")
    with pytest.raises(PayloadCorrupt):
        back(payload, max(size_bytes, 1))


def test_one_section_in_a_delta_ends_with_its_stream() -> None:
    data = trained(32, 32).tobytes()
    good = section_of(data)
    with pytest.raises(PayloadCorrupt, match="used up"):
        WeightsStream(MemorySource(good), 0, len(good), len(data)).finish()
    stream = WeightsStream(MemorySource(good), 0, len(good), len(data))
    assert stream.read(1000) + stream.read(len(data) - 1000) == data
    stream.finish()
    with pytest.raises(PayloadCorrupt, match="its end"):
        stream.read(1)
    for packed, size in ((len(good), len(data) - 1), (len(good) - 1, len(data))):
        with pytest.raises(PayloadCorrupt):
            WeightsStream(MemorySource(good), 0, packed, size)
    with pytest.raises(PayloadCorrupt):
        WeightsStream(MemorySource(good + b"x"), 0, len(good) + 1, len(data))


@cache
def large() -> tuple[bytes, bytes]:
    """The largest sections: coded planes, steps with a scale for few, and text that shrinks."""
    weights = trained(2048, 1024)
    parts = (
        (weights.tobytes(), WeightsPiece(weights.nbytes, FLOAT32, 1024)),
        (quantised(weights, 7, 32).tobytes(), WeightsPiece(weights.nbytes, FLOAT32, 1024)),
        (bytes(8_000_000), WeightsPiece(8_000_000)),
    )
    payload = b"".join(frame_of(data, piece) for data, piece in parts)
    return payload, b"".join(data for data, _ in parts)


def test_memory_is_bounded_by_a_strip_whatever_the_payload_makes() -> None:
    payload, image = large()
    source = MemorySource(payload)
    made = 0

    def sink(data: bytes | memoryview) -> None:
        nonlocal made
        made += len(data)

    tracemalloc.start()
    try:
        decode_full(source, image_size_bytes=len(image), sink=sink, compression="weights")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made == len(image)
    assert peak_bytes < MEMORY_MAX_BYTES


def test_a_bomb_gives_no_more_than_was_signed() -> None:
    payload, image = large()
    with pytest.raises(PayloadCorrupt):
        back(payload, len(image) // 3)
