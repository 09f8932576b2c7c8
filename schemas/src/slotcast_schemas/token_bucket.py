"""A budget by time: so much at once, and more as time passes. No clock: times are arguments."""

from __future__ import annotations


class TokenBucket:
    """Tokens that are spent, and come back at a steady rate up to a bound.

    Args:
        capacity: how many there are at the beginning, and at most.
        per_s: how many come back in a second.

    Attributes:
        capacity: as given.
    """

    __slots__ = ("_at_s", "_left", "_per_s", "capacity")

    def __init__(self, capacity: float, per_s: float) -> None:
        self.capacity = capacity
        self._per_s = per_s
        self._left = capacity
        self._at_s: float | None = None

    def left(self, now_s: float) -> float:
        """Give how many there are; fewer than none where more was spent."""
        if self._at_s is not None and now_s > self._at_s:
            self.give((now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return self._left

    def spend(self, amount: float, now_s: float) -> None:
        """Take tokens, also such as there are none of: what came cannot be unmade."""
        self._left = self.left(now_s) - amount

    def take(self, amount: float, now_s: float) -> bool:
        """Take tokens if there are so many; false, and none taken, if not."""
        if self.left(now_s) < amount:
            return False
        self._left -= amount
        return True

    def give(self, amount: float) -> None:
        """Give tokens back, up to the bound."""
        self._left = min(self.capacity, self._left + amount)

    def wait_s(self, amount: float, now_s: float) -> float:
        """Give the seconds until there are so many."""
        return max(0.0, amount - self.left(now_s)) / self._per_s

    def due_s(self, amount: float) -> float:
        """Give when there will be so many, or were: as of the time that was given last."""
        return (self._at_s or 0.0) + max(0.0, amount - self._left) / self._per_s
