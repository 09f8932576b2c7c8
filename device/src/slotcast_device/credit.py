"""How many chunks may be under way: enough to fill the link, few enough to lose little.

The measure is how long a request takes from the asking to its last chunk, which is queueing
plus transmission: short means that the link is faster than what is under way (ask for more), long
means that chunks wait in queues, where a cut loses them and a cancel comes late (ask for less).
The upper bound keeps well below the 1,000 messages past which Mosquitto drops in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slotcast_schemas.limits import BLOCK_CHUNKS

FLOOR_CHUNKS: Final = 2
CEILING_CHUNKS: Final = 16 * BLOCK_CHUNKS
FAST_S: Final = 0.75
SLOW_S: Final = 6.0


@dataclass(slots=True)
class Credit:
    """Chunks that may be under way at once.

    Attributes:
        chunks: the present credit.
        ceiling: a bound of the connection, such as what the broker's CONNACK allows.
    """

    chunks: int = BLOCK_CHUNKS + BLOCK_CHUNKS // 2
    ceiling: int = CEILING_CHUNKS

    def limit(self, ceiling: int) -> None:
        """Keep to what this connection allows."""
        self.ceiling = max(1, min(CEILING_CHUNKS, ceiling))
        self.chunks = min(self.chunks, self.ceiling)

    def completed(self, took_s: float) -> None:
        """Learn from a request that was answered whole."""
        if took_s < FAST_S:
            self.chunks = min(self.ceiling, self.chunks * 2)
        elif took_s > SLOW_S:
            self.chunks = max(min(FLOOR_CHUNKS, self.ceiling), self.chunks * 3 // 4)

    def timed_out(self) -> None:
        """Learn from a request of which nothing came in time."""
        self.chunks = max(min(FLOOR_CHUNKS, self.ceiling), self.chunks // 2)
