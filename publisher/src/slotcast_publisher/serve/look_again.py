"""When a listener looks again at what a broker keeps, since some of it was dropped. No I/O.

What a device said last is retained, so a status that nobody had room for is not lost: a new plain
subscription brings it once more, with all others. That is as much again as came at first, so it is
not done at once, and less and less often where it keeps failing.
"""

from __future__ import annotations

import random
from typing import Final

from slotcast_schemas.backoff import Backoff

WAITS_S: Final = (30.0, 1800.0)
"""The bounds in seconds of the first wait before another look, and of every one."""


class LookTimes:
    """Decides when to look.

    Args:
        rng: jitter; seeded in tests.
        waits_s: the bounds of the first wait, and of every one.
    """

    def __init__(self, rng: random.Random, waits_s: tuple[float, float] = WAITS_S) -> None:
        self._waits = Backoff(rng, *waits_s)
        self._quiet_s = 2 * waits_s[1]
        self._lost = 0
        self._lost_s = 0.0
        self._due_s: float | None = None

    def began(self, lost: int) -> None:
        """Take note of a look that any new connection takes.

        Args:
            lost: how many messages that a broker keeps were dropped so far.
        """
        self._lost, self._due_s = lost, None

    def is_due(self, lost: int, now_s: float, *, is_looking: bool) -> bool:
        """Say whether to look again; True once.

        Args:
            lost: how many messages that a broker keeps were dropped so far.
            now_s: the clock, in seconds.
            is_looking: a look is under way, and another one would bring the same twice.
        """
        if lost != self._lost:
            if now_s - self._lost_s > self._quiet_s:
                self._waits.reset()
            self._lost, self._lost_s = lost, now_s
            if self._due_s is None:
                self._due_s = now_s + self._waits.next_s()
        if self._due_s is None or now_s < self._due_s or is_looking:
            return False
        self._due_s = None
        return True
