"""Messages that a broker dropped on their way to us, told from the packet identifiers. No I/O.

A broker numbers what it sends to one connection at QoS 1, and drops some of it where the reader is
slow: Mosquitto what is above `max_queued_messages` packets, without a word. MQTT lets it choose any
identifier that is not in use (MQTT 5, 2.2.1). Those that count by one leave a gap for each message
they dropped; of one that takes a number again before it has counted to the end nothing is said.
"""

from __future__ import annotations

from typing import Final

_LAST_ID: Final = 65_535
"""The highest packet identifier; 1 follows."""


class PacketIds:
    """Those of one connection, in the order in which they came.

    Attributes:
        highest_gap: the most identifiers that may be left out between two messages; more is taken
            for another way of numbering.
    """

    highest_gap: Final = _LAST_ID // 2

    def __init__(self) -> None:
        self._last: int | None = None
        self._left_out = 0
        self._counts_by_one = True

    @property
    def missing(self) -> int:
        """How many messages were numbered and never came; 0 where the broker does not count."""
        return self._left_out if self._counts_by_one else 0

    def saw(self, packet_id: int) -> None:
        """Take note of the next message's identifier."""
        if self._last is not None:
            step = (packet_id - self._last) % _LAST_ID
            if 0 < step <= self.highest_gap:
                self._left_out += step - 1
            else:
                self._counts_by_one = False
        self._last = packet_id
