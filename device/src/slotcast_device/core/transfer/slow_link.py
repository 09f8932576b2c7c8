"""Whether a transfer is too slow to be left alone. No I/O; the clock is an argument.

It is looked at window by window, so that one slow chunk or one short cut says nothing. What is
too slow is the owner's word: `policy.slow_bytes_per_s` over `timing.slow_window_s`.
"""

from __future__ import annotations

import msgspec


class SlowLimit(msgspec.Struct, frozen=True):
    """The floor: fewer verified bytes than this in a window are reported; 0 is never."""

    bytes_per_s: float = 0.0
    window_s: float = 120.0


class SlowLinkMeter(msgspec.Struct):
    """Measures a transfer against the limit.

    Attributes:
        deadline_s: when `judge` will have something to say, or None.
    """

    limit: SlowLimit
    deadline_s: float | None = None
    _before: int = 0

    def begin(self, now_s: float, verified_bytes: int) -> None:
        """A window begins: a connection is there, and chunks are asked for."""
        if self.limit.bytes_per_s > 0:
            self.deadline_s = now_s + self.limit.window_s
            self._before = verified_bytes

    def stop(self) -> None:
        """There is nothing to measure now."""
        self.deadline_s = None

    def judge(self, now_s: float, verified_bytes: int) -> float | None:
        """Give the rate in bytes per second if a window is over, and begin the next."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return None
        elapsed_s = now_s - (self.deadline_s - self.limit.window_s)
        rate = (verified_bytes - self._before) / elapsed_s
        self.begin(now_s, verified_bytes)
        return rate
