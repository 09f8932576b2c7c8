"""Breaks device, publisher and broker files on purpose, one line at a time."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.device import DEVICE_BREAKS
from tests.soak.breaks.device_attacks import DEVICE_ATTACKS
from tests.soak.breaks.one_break import ROOT, Break
from tests.soak.breaks.publisher_attacks import PUBLISHER_ATTACKS
from tests.soak.breaks.recipient_attacks import RECIPIENT_ATTACKS
from tests.soak.breaks.resource_attacks import RESOURCE_ATTACKS
from tests.soak.breaks.rollouts import ROLLOUT_BREAKS
from tests.soak.breaks.supply_attacks import SUPPLY_ATTACKS

__all__ = ["ATTACK_BREAKS", "BREAKS", "ROOT", "Break"]

ATTACK_BREAKS: Final = (
    *DEVICE_ATTACKS,
    *PUBLISHER_ATTACKS,
    *RECIPIENT_ATTACKS,
    *RESOURCE_ATTACKS,
    *SUPPLY_ATTACKS,
)
BREAKS: Final = (*DEVICE_BREAKS, *ATTACK_BREAKS, *ROLLOUT_BREAKS)
