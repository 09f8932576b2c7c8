"""A patch of bytes that are like the old ones in the same place, without any search.

Numbers with something between them, such as the coefficients of a linear model in ONNX with a tag
before each, have no eight bytes in common with the old ones once they were trained, and so are not
searched for. Yet of each number the tag and the exponent stayed, and where they lie is known.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from slotcast_publisher.delta.exact_copies import Step

_EQUAL_SHARE: Final = 0.25
"""The share of bytes that must be equal in place; of noise one in 256 is."""


def find_in_place(data: bytes, old: bytes) -> tuple[list[Step], bytes, bytes] | None:
    """Give the steps, the differences and the bytes to insert; None where too little is alike.

    Args:
        data: what is to be made.
        old: the bytes that are like it, from the start or up to the end.
    """
    size_bytes = min(len(data), len(old))
    if not size_bytes:
        return None
    ends = (slice(size_bytes), slice(-size_bytes, None))
    parts = [(_array(data[end]), _array(old[end])) for end in ends]
    shares = [float((new == before).mean()) for new, before in parts]
    if max(shares) < _EQUAL_SHARE:
        return None
    is_at_end = shares[1] > shares[0]
    new, before = parts[is_at_end]
    left = len(data) - size_bytes
    if not is_at_end:
        return [(size_bytes, left, 0)], (new - before).tobytes(), data[size_bytes:]
    steps = [(0, left, len(old) - size_bytes), (size_bytes, 0, 0)]
    return steps, (new - before).tobytes(), data[:left]


def _array(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(data, dtype=np.uint8)
