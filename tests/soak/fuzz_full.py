"""Any bytes as a full payload give exactly the signed size, or `PayloadCorrupt` and no more."""

from __future__ import annotations

import zstandard

from slotcast_schemas.codecs.full import decode_full
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import PayloadCorrupt

SIZE_BYTES = 300_000


def seeds() -> list[bytes]:
    """Give a frame that runs, one that repeats, and one cut into two."""
    image = bytes(SIZE_BYTES // 2) + b"slotcast" * (SIZE_BYTES // 16)
    pack = zstandard.ZstdCompressor().compress
    return [pack(image), pack(bytes(SIZE_BYTES)), pack(image[:1000]) + pack(image[1000:])]


def one_input(data: bytes) -> None:
    """Decode."""
    got = 0

    def sink(part: bytes | memoryview) -> None:
        nonlocal got
        got += len(part)
        assert got <= SIZE_BYTES

    try:
        decode_full(MemorySource(data), image_size_bytes=SIZE_BYTES, sink=sink, compression="zstd")
    except PayloadCorrupt:
        return
    assert got == SIZE_BYTES
