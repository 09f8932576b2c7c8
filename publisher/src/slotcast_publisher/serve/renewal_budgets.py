"""Decides how many renewals of a device are answered in a day. No I/O; the clock is an argument.

A device that hears no answer asks again after an hour, and one that starts anew asks again at once.
Each answer costs a look at certificates and a lock that `certificates` waits for; twenty a second,
for one device alone, would be most of what a small machine has.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal

from slotcast_publisher.serve.day_budget import DayBudget, remember

DAY_ANSWERS: Final = 48
"""The most answers of one device in a day: twice what one needs that hears none of them."""

Answering = Literal["answer", "spent", "spent, and said"]
"""Whether a device is answered; whether it was said already that its budget is spent."""


class RenewalBudgets:
    """The budgets of devices at one broker, whose rules vouch for their names."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, DayBudget] = OrderedDict()

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
        budget = remember(self._devices, device, lambda: DayBudget(DAY_ANSWERS))
        budget.fill(now_s)
        if budget.tokens.take(1, now_s):
            return "answer"
        was_said, budget.is_said = budget.is_said, True
        return "spent, and said" if was_said else "spent"
