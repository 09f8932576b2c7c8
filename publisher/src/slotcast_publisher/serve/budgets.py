"""Decides how many bytes may be sent again for whom in a day. No I/O; the clock is an argument.

Each device has a budget for each payload that it asks for, which begins full and fills up evenly
within a day: an honest device needs a payload once, and now and then a part of it a second time.
Who asks on the topics of before, where names are only claimed, draws on one budget for each
payload, which all of them have in common: so a new name brings nobody a new budget.

    Budgets.take       before a piece is put in line: its bytes are taken, or it is refused
    Budgets.give_back  where it was not sent, or others who waited for it pay their part

How large a budget is stands in `serve_settings`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import msgspec

from slotcast_publisher.serve.day_budget import DayBudget, remember
from slotcast_publisher.serve_settings import ServeSettings
from slotcast_schemas.messages.offer import Payload

DEVICE_PAYLOADS_MAX: Final = 32
"""The most payloads of which one device has used a part of its budget at one time: as many as it
can have models."""

_TO_SAY_MAX: Final = 100
"""The most spent budgets that wait to be said."""


class Asker(msgspec.Struct, frozen=True, gc=False):
    """Who asks.

    Attributes:
        device: the device's name.
        is_proven: whether the broker's access rules vouch for the name, which is that of the topic;
            else it is only what the message claims.
    """

    device: str
    is_proven: bool


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget that was found too small for what was asked; `device` is empty for the common one.

    Attributes:
        device: whose.
        payload: of which payload, by its digest.
        day_bytes: how large it is when it is full.
    """

    device: str
    payload: bytes
    day_bytes: int


@dataclass(slots=True)
class Budgets:
    """The budgets at one broker.

    Args:
        settings: how large they are.
    """

    settings: ServeSettings = field(default_factory=ServeSettings)
    to_say: list[Spent] = field(default_factory=list)
    """Budgets that were spent since this list was last emptied; who reads it empties it."""

    _devices: OrderedDict[str, dict[bytes, DayBudget]] = field(default_factory=OrderedDict)
    _common: dict[bytes, DayBudget] = field(default_factory=dict)

    @property
    def devices(self) -> int:
        """How many devices are remembered."""
        return len(self._devices)

    def take(self, asker: Asker, payload: Payload, size_bytes: int, now_s: float) -> bool:
        """Take bytes from a budget; False, and nothing is taken, where it has not so many.

        Args:
            asker: who asks.
            payload: what it asks a piece of.
            size_bytes: of the piece.
            now_s: the clock, in seconds.
        """
        budget = self._budget(asker, payload, now_s)
        if budget is not None and budget.tokens.take(size_bytes, now_s):
            return True
        self._note_spent(asker, payload, budget)
        return False

    def give_back(self, asker: Asker, payload: bytes, size_bytes: float) -> None:
        """Give back bytes that were taken, and not used for this asker.

        Args:
            asker: from whom they were taken.
            payload: of which payload, by its digest.
            size_bytes: how many.
        """
        of_asker = self._devices.get(asker.device, {}) if asker.is_proven else self._common
        budget = of_asker.get(payload)
        if budget is not None:
            budget.tokens.give(size_bytes)

    def forget_payloads(self, offered: Collection[bytes]) -> None:
        """Let go of budgets for payloads that are not offered any more."""
        for budgets in [self._common, *self._devices.values()]:
            for payload in [known for known in budgets if known not in offered]:
                del budgets[payload]
        for device in [name for name, budgets in self._devices.items() if not budgets]:
            del self._devices[device]

    def _budget(self, asker: Asker, payload: Payload, now_s: float) -> DayBudget | None:
        """Give the budget, filled; None where this device draws on too many payloads."""
        of_asker = remember(self._devices, asker.device, dict) if asker.is_proven else self._common
        budget = of_asker.get(payload.sha256)
        if budget is None:
            if asker.is_proven and not _make_room(of_asker, now_s):
                return None
            budget = of_asker[payload.sha256] = DayBudget(self._full_bytes(asker, payload))
        budget.fill(now_s)
        return budget

    def _full_bytes(self, asker: Asker, payload: Payload) -> float:
        known = self.settings
        times = known.device_day_payloads if asker.is_proven else known.claimed_day_payloads
        return max(times * payload.size_bytes, known.day_min_bytes)

    def _note_spent(self, asker: Asker, payload: Payload, budget: DayBudget | None) -> None:
        if budget is not None:
            if budget.is_said:
                return
            budget.is_said = True
        if len(self.to_say) < _TO_SAY_MAX:
            device = asker.device if asker.is_proven else ""
            full = self._full_bytes(asker, payload)
            spent = Spent(device, payload.sha256, int(full))
            if spent not in self.to_say:
                self.to_say.append(spent)


def _make_room(budgets: dict[bytes, DayBudget], now_s: float) -> bool:
    """Forget a budget of which nothing is used, where a device has as many as it may."""
    if len(budgets) < DEVICE_PAYLOADS_MAX:
        return True
    for payload, budget in budgets.items():
        if budget.tokens.left(now_s) >= budget.tokens.capacity:
            del budgets[payload]
            return True
    return False
