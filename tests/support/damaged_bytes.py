"""Valid bytes with a few of them changed: they get deeper into a reader than random ones."""

from __future__ import annotations

import random


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Change a few bytes: flip bits, insert, remove, repeat or overwrite a stretch."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(data) + 1), rng.randint(1, 8)
        match rng.randrange(5):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at:at] = rng.randbytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case _:
                data[at : at + size] = rng.randbytes(size)
    return bytes(data)
