"""How much of what nobody wants a broker may send before the device goes elsewhere. Pure.

Progress is whole packets that were wanted: a chunk or a part of a chunk map that was missing and
is the signed one, and one notice for each time that it was asked for. All other bytes are useless,
and spend a budget that time and progress fill again. What honest brokers send uselessly, and why
it stays far below, is reasoned in docs/adr/0135.
"""

from __future__ import annotations

from typing import Final

from slotcast_schemas import limits
from slotcast_schemas.token_bucket import TokenBucket

USELESS_MAX_BYTES: Final = 16 * limits.MIB
"""The useless bytes that a broker may send at once: all that is under way by the usual credit, in
the largest chunks, sent twice."""
USELESS_BYTES_PER_S: Final = 512
"""The useless bytes per second that it may send for ever, 44 MB a day; answers to pings are one."""
PROGRESS_FACTOR: Final = 2
"""The useless bytes that each wanted byte allows besides."""
PACKET_COST_BYTES: Final = 64
"""What a packet counts beside its bytes: small ones cost processor time, not bytes."""
NOTICE_COST_BYTES: Final = 16 * limits.KIB
"""What a notice counts that no subscription asked for: it is verified, and may be written down."""
FRESH_BYTES: Final = 1 * limits.MIB
"""What a broker may send at least when it is tried again."""


class BrokerBudget:
    """What one broker may still send; kept over its connections. No clock: times are arguments.

    Args:
        credit_max_chunks: chunks that may be under way at once.

    Attributes:
        received_bytes: all that came from it.
        useless_bytes: what of it nobody wanted.
    """

    def __init__(self, credit_max_chunks: int) -> None:
        capacity = max(USELESS_MAX_BYTES, credit_max_chunks * limits.CHUNK_MAX_BYTES)
        self._bucket = TokenBucket(capacity, USELESS_BYTES_PER_S)
        self.received_bytes = 0
        self.useless_bytes = 0

    def came(self, size_bytes: int, packets: int, now_s: float) -> None:
        """Bytes came, wanted or not; which they were is known when the packet is looked at.

        Args:
            size_bytes: how many.
            packets: how many packets ended with them.
            now_s: the time.
        """
        self.received_bytes += size_bytes
        self.useless_bytes += size_bytes
        self._bucket.spend(size_bytes + PACKET_COST_BYTES * packets, now_s)

    def wanted(self, size_bytes: int) -> None:
        """A packet that came was wanted: so much of it."""
        self.useless_bytes -= size_bytes
        self._bucket.give((1 + PROGRESS_FACTOR) * size_bytes + PACKET_COST_BYTES)

    def asked_notice_came(self, size_bytes: int) -> None:
        """A notice came that a subscription asked for: nothing gained, and nothing amiss."""
        self.useless_bytes -= size_bytes
        self._bucket.give(size_bytes + PACKET_COST_BYTES)

    def unasked_notice_came(self, now_s: float) -> None:
        """A notice came that is news, or a flood."""
        self._bucket.spend(NOTICE_COST_BYTES, now_s)

    def left_bytes(self, now_s: float) -> int:
        """Give how much more may come that nobody wants."""
        return max(0, int(self._bucket.left(now_s)))

    def is_spent(self, now_s: float) -> bool:
        """Whether it sent too much that nobody wants."""
        return self._bucket.left(now_s) < 0

    def tried_again(self, now_s: float) -> None:
        """The broker is given another chance after a wait."""
        missing = FRESH_BYTES - self._bucket.left(now_s)
        if missing > 0:
            self._bucket.give(missing)
