"""Any bytes as a payload of weights give exactly the signed size, or a `RefusedRelease`."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np

from slotcast_schemas.codecs.full import decode_full
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import RefusedRelease

ROWS, COLUMNS = 24, 24
SIZE_BYTES = 4 * ROWS * COLUMNS


@functools.cache
def seeds() -> list[bytes]:
    """Give a frame of each form: planes, a palette, steps, other bytes; and two frames."""
    from slotcast_publisher.delta.weights import WeightsPiece
    from slotcast_schemas.codecs.delta.elements import FLOAT32
    from tests.support.weights import frame_of, quantised, trained

    weights = trained(ROWS, COLUMNS)
    sparse = np.where(np.abs(weights) > np.median(np.abs(weights)), weights, np.float32(0))
    images = [weights, sparse, quantised(weights, 7, weights.size), quantised(weights, 127, 24)]
    piece = WeightsPiece(SIZE_BYTES, FLOAT32, COLUMNS)
    frames = [frame_of(image.astype(np.float32).tobytes(), piece) for image in images]
    halves = [0, 1000, SIZE_BYTES]
    two = b"".join(
        frame_of(weights.tobytes()[a:b], WeightsPiece(b - a, FLOAT32)) for a, b in pairwise(halves)
    )
    return [*frames, frame_of(bytes(SIZE_BYTES), WeightsPiece(SIZE_BYTES)), two]


def one_input(data: bytes) -> None:
    """Decode."""
    got = 0

    def sink(part: bytes | memoryview) -> None:
        nonlocal got
        got += len(part)
        assert got <= SIZE_BYTES

    source = MemorySource(data)
    try:
        decode_full(source, image_size_bytes=SIZE_BYTES, sink=sink, compression="weights")
    except RefusedRelease:
        return
    assert got == SIZE_BYTES
