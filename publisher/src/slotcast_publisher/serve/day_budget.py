"""What one device, or many together, may have in a day, and whose part is remembered. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from slotcast_schemas.token_bucket import TokenBucket

DAY_S: Final = 86_400.0
"""The seconds in which an empty budget becomes full again."""

DEVICES_MAX: Final = 20_000
"""The most devices that are remembered; the one that asked longest ago is forgotten first."""

_SAID_AGAIN_AT: Final = 0.5
"""The share of a spent budget that must be there again before it is said anew that it is spent."""

_Kept = TypeVar("_Kept")


class DayBudget:
    """A budget that begins full and fills up evenly within a day.

    Args:
        full: how much it is when it is full.

    Attributes:
        tokens: what is left of it.
        is_said: whether it was said that it is spent.
    """

    __slots__ = ("is_said", "tokens")

    def __init__(self, full: float) -> None:
        self.tokens = TokenBucket(full, full / DAY_S)
        self.is_said = False

    def fill(self, now_s: float) -> None:
        """Add what time has brought; call before each use, for what is to be said anew."""
        if self.tokens.left(now_s) >= self.tokens.capacity * _SAID_AGAIN_AT:
            self.is_said = False


def remember(devices: OrderedDict[str, _Kept], device: str, make: Callable[[], _Kept]) -> _Kept:
    """Give what is kept of a device; that of the one that asked last is kept longest.

    Args:
        devices: what is kept, by device.
        device: who asks.
        make: makes what is kept of one that is not known.
    """
    found = devices.pop(device, None)
    while len(devices) >= DEVICES_MAX:
        devices.popitem(last=False)
    devices[device] = kept = make() if found is None else found
    return kept
