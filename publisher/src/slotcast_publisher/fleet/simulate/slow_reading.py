"""When a slow link may be read again: once what was read would have come over it."""

from __future__ import annotations


class SlowReading:
    """Holds the reading of one device back to a rate, over all of its connections.

    Args:
        bytes_per_s: the rate.
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._counted_bytes = 0
        self.due_s = 0.0

    def begin_connection(self) -> None:
        """A new connection counts its bytes from 0; what the last one owes stays owed."""
        self._counted_bytes = 0

    def count(self, received_bytes: int, now_s: float) -> None:
        """Take note of what was read.

        Args:
            received_bytes: of the connection so far.
            now_s: a time before it was read, on the monotonic clock.
        """
        came_bytes = received_bytes - self._counted_bytes
        if came_bytes > 0:
            self._counted_bytes = received_bytes
            self.due_s = max(self.due_s, now_s) + came_bytes / self._bytes_per_s

    def is_due(self, now_s: float) -> bool:
        """Whether it may be read at this time on the monotonic clock."""
        return now_s >= self.due_s
