"""Decides how many renewals of a device are answered in a day. No I/O; the clock is an argument.

A device that hears no answer asks again after an hour, and one that starts anew asks again at once.
Each answer costs a look at certificates and a lock that `certificates` waits for; twenty a second,
for one device alone, would be most of what a small machine has.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal

from slotcast_schemas.token_bucket import TokenBucket

DAY_S: Final = 86_400.0
"""The seconds in which an empty budget becomes full again."""
DAY_ANSWERS: Final = 48
"""The most answers of one device in a day: twice what one needs that hears none of them."""
DEVICES_MAX: Final = 20_000
"""The most devices that are remembered; the one that asked longest ago is forgotten first."""
_SAID_AGAIN_AT: Final = 0.5
"""A spent budget is said again only after so much of it was there again."""

Answering = Literal["answer", "spent", "spent, and said"]
"""Whether a device is answered; whether it was said already that its budget is spent."""


@dataclass(slots=True)
class _Budget:
    answers: TokenBucket
    is_said: bool = False


class RenewalBudgets:
    """The budgets of devices at one broker, whose rules vouch for their names."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, _Budget] = OrderedDict()

    @property
    def devices(self) -> int:
        """How many devices are remembered."""
        return len(self._devices)

    def take(self, device: str, now_s: float) -> Answering:
        """Take an answer from a device's budget, where there is one.

        Args:
            device: who asks.
            now_s: the clock, in seconds.
        """
        budget = self._of_device(device)
        if budget.answers.left(now_s) >= DAY_ANSWERS * _SAID_AGAIN_AT:
            budget.is_said = False
        if budget.answers.take(1, now_s):
            return "answer"
        was_said, budget.is_said = budget.is_said, True
        return "spent, and said" if was_said else "spent"

    def _of_device(self, device: str) -> _Budget:
        """Give a device's budget; that of the one that asked last is remembered longest."""
        found = self._devices.pop(device, None)
        while len(self._devices) >= DEVICES_MAX:
            self._devices.popitem(last=False)
        if found is None:
            found = _Budget(TokenBucket(DAY_ANSWERS, DAY_ANSWERS / DAY_S))
        self._devices[device] = found
        return found
