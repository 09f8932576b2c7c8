"""Logs what keeps a `HotModel` from following `current`; not at every look, for it may last."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from slotcast_schemas.errors import ModelFailed

_log = logging.getLogger(__name__)

COMPLAIN_EVERY_S: Final = 60.0
"""The seconds within which a step that fails again is not logged again."""


class Complaints:
    """What is logged of one model's failed steps.

    Args:
        current: the link that is followed.
    """

    def __init__(self, current: Path) -> None:
        self._current = current
        self._next_at_s = 0.0

    def say(self, known: ModelFailed | None = None) -> None:
        """Log why a step failed: the error given, or the exception that is being handled."""
        now_s = time.monotonic()
        if now_s < self._next_at_s:
            return
        self._next_at_s = now_s + COMPLAIN_EVERY_S
        if known is not None:
            _log.error("following %s: %s; trying on", self._current, known)
        else:
            _log.exception("following %s: this step failed; trying on", self._current)
