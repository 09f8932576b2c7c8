"""How many chunks may be under way: enough to fill the link, few enough to lose little.

The measure is how long a request takes from the asking to its last chunk: the time in queues, and
on the link. Where that is short, the link could bring more than is under way, so more is asked for.
Where it is long, chunks wait in queues, in which a cut loses them and a cancel comes late: less is
asked for.
The upper bound keeps well below the 1,000 messages past which Mosquitto drops in silence.

Some brokers are slow to take a subscription (NATS JetStream: half a second to two seconds for
each filter, one after the other, docs/brokers.md). That time says nothing about the link, so it
is measured apart, taken out of what requests took, and makes the transfer ask with fewer filters.
"""

from __future__ import annotations

from typing import Final

import msgspec

from slotcast_schemas.limits import BLOCK_CHUNKS

FLOOR_CHUNKS: Final = 2
"""The fewest chunks that are under way at once, however slow the link."""
CEILING_CHUNKS: Final = 16 * BLOCK_CHUNKS
"""The most chunks of one model that are under way at once."""
QUEUE_CHUNKS: Final = 7 * CEILING_CHUNKS
"""The most chunks that all models of a connection have under way: Mosquitto drops past 1,000 that
wait."""
ASK_BLOCKS_MAX: Final = 8
"""The most blocks that are asked for in one SUBSCRIBE: as many filters as AWS IoT Core takes."""
FAST_S: Final = 0.75
"""The seconds within which a request is answered whole where the link has room for more."""
SLOW_S: Final = 6.0
"""The seconds past which a request waited in queues, so that less is to be under way."""
SLOW_STEP_S: Final = 0.1
"""The seconds for one more filter past which a broker counts as slow to take subscriptions;
Mosquitto needs less than 1 ms."""


class Credit(msgspec.Struct):
    """Chunks that may be under way at once.

    Attributes:
        chunks: the present credit.
        ceiling: a bound of the connection, such as what the broker's CONNACK allows.
        share: this credit's part of what a connection may have under way.
        step_s: what one more filter costs at this broker, beyond the round trip.
    """

    chunks: int = BLOCK_CHUNKS + BLOCK_CHUNKS // 2
    ceiling: int = CEILING_CHUNKS
    share: int = CEILING_CHUNKS
    step_s: float = 0.0
    _is_measured: bool = False
    _broker: str = ""

    @classmethod
    def shared_by(cls, models: int) -> Credit:
        """Give the credit of one of so many models on a connection."""
        share = max(BLOCK_CHUNKS, min(CEILING_CHUNKS, QUEUE_CHUNKS // models))
        return cls(ceiling=share, share=share)

    @property
    def is_slow_to_subscribe(self) -> bool:
        """Whether filters are dear at this broker."""
        return self.step_s > SLOW_STEP_S

    @property
    def step_chunks(self) -> int:
        """Say for how much room it is worth asking: with a wide credit, for many blocks at once.

        Half the credit stays under way meanwhile, so that the link does not run dry.
        """
        return min(ASK_BLOCKS_MAX * BLOCK_CHUNKS, self.chunks // 2)

    def slack_s(self, filters: int) -> float:
        """Say how much longer to wait for an answer, with so many filters to be taken first."""
        return 2 * self.step_s * filters

    def answered(self, filters: int, took_s: float) -> None:
        """Learn from a subscription that the broker took; the fastest says most."""
        step_s = max(0.0, took_s) / max(1, filters)
        self.step_s = min(self.step_s, step_s) if self._is_measured else step_s
        self._is_measured = True

    def connected(self, broker: str, ceiling: int) -> None:
        """Keep to what this connection allows; how fast another broker is, is to be seen.

        Of the same broker the fastest answer counts on: one that comes late on a new connection
        says more of the link, or of a pause of this machine.
        """
        self._is_measured = self._is_measured and broker == self._broker
        self._broker = broker
        self.ceiling = max(1, min(self.share, ceiling))
        self.chunks = min(self.chunks, self.ceiling)

    def began(self, took_s: float) -> bool:
        """Learn from the first quarter of a block; True where there is more to ask for at once.

        To wait for the whole would let a fast link run dry: the broker has sent all that it was
        asked for before the device has taken it and asks for more.
        """
        if took_s >= FAST_S / 4 or self.chunks >= self.ceiling:
            return False
        self.chunks = min(self.ceiling, self.chunks * 2)
        return True

    def completed(self, took_s: float) -> None:
        """Learn from a request that was answered whole."""
        if took_s < FAST_S:
            self.chunks = min(self.ceiling, self.chunks * 2)
        elif took_s > SLOW_S:
            self.chunks = max(min(FLOOR_CHUNKS, self.ceiling), self.chunks * 3 // 4)

    def timed_out(self) -> None:
        """Learn from a request of which nothing came in time."""
        self.chunks = max(min(FLOOR_CHUNKS, self.ceiling), self.chunks // 2)
