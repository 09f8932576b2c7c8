"""How long to wait before the next try: exponential, capped, with full jitter.

Full jitter (a uniform draw below the exponential bound) spreads a fleet that lost its broker at
one moment better than equal steps do (AWS Architecture Blog, "Exponential Backoff And Jitter").
"""

from __future__ import annotations

import random

import msgspec


class Backoff(msgspec.Struct):
    """Draws waits; `reset` after something worked.

    Attributes:
        first_s: bound of the first wait.
        cap_s: bound that the waits never pass.
    """

    rng: random.Random
    first_s: float = 0.5
    cap_s: float = 60.0
    failures: int = 0

    @property
    def bound_s(self) -> float:
        """What the next wait will not pass."""
        return min(self.cap_s, self.first_s * 2.0 ** min(self.failures, 30))

    def next_s(self) -> float:
        """Give the next wait, and count one more failure."""
        bound = self.bound_s
        self.failures += 1
        return self.rng.uniform(bound * 0.1, bound)

    def reset(self) -> None:
        """Begin again with short waits."""
        self.failures = 0
