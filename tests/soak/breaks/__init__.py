"""Breaks device, publisher and broker files on purpose, one line at a time."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.attacks import ATTACK_BREAKS
from tests.soak.breaks.device import DEVICE_BREAKS
from tests.soak.breaks.one_break import ROOT, Break
from tests.soak.breaks.rollouts import ROLLOUT_BREAKS

__all__ = ["BREAKS", "ROOT", "Break"]

BREAKS: Final = (*DEVICE_BREAKS, *ATTACK_BREAKS, *ROLLOUT_BREAKS)
