"""How fast this processor makes an image of a small payload: measured on a piece of the very work.

A device chooses between the easy payload and the small one by its link and by this. A table of
processors would be wrong for the next one; a few hundredths of a second of work are not.
"""

from __future__ import annotations

import functools
import random
import time
from typing import Final

import numpy as np

from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.delta.rans import WordReader
from slotcast_schemas.codecs.delta.tables import ByteTables, TableDecoder
from slotcast_schemas.codecs.delta.weights import STRIP_ELEMENTS, turned_right

_SYMBOLS: Final = 32
"""The exponents that occur in a trained tensor, about."""

_LANES: Final = 1024
_STRIPS: Final = 4
_SEED: Final = 12
"""The coder's lanes, as payloads have them; the strips that are decoded; the seed of their
bytes."""


@functools.cache
def undo_bytes_per_s() -> float:
    """Measure, once in a process, how many bytes of float32 weights are decoded in a second.

    Processor time counts, so that what else runs now does not pass for a slow machine.
    """
    # Python's own generator: numpy's is 5 MB of modules that nothing else of a device needs.
    noise = random.Random(_SEED).randbytes(4 * STRIP_ELEMENTS)  # noqa: S311 - no secret
    used = np.zeros((1, 256), dtype=np.bool_)
    used[0, :_SYMBOLS] = True
    # A symbol takes about five bits of this noise, and it has 32 bits for each: enough for all
    # strips.
    words = WordReader(lambda offset, size: noise[offset : offset + size], 0, len(noise))
    began_s = time.thread_time()
    decoder = TableDecoder(ByteTables(used, 14), _LANES, words)
    for strip in range(_STRIPS):
        planes = np.frombuffer(noise, dtype=np.uint8, count=4 * STRIP_ELEMENTS).reshape(-1, 4)
        together = planes.copy()
        together[:, 3] = decoder.decode(0, STRIP_ELEMENTS)
        for place in range(3):
            together[:, place] = planes[:, (place + strip) % 3]
        turned_right(FLOAT32, together.reshape(-1).view("<u4")).tobytes()
    spent_s = max(time.thread_time() - began_s, 1e-6)
    return 4 * STRIP_ELEMENTS * _STRIPS / spent_s
