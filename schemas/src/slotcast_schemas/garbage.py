"""How often Python looks for cycles of objects that nothing else keeps."""

from __future__ import annotations

import gc
from typing import Final

_AT_START: Final = 20_000
"""The number of new objects, less those that ended, after which Python looks: its own 700 is
reached hundreds of times while a command starts."""


def look_for_garbage_seldom() -> None:
    """Have Python look seldom: for a process that has yet to import what it needs.

    What is imported stays, and would be looked through each time anew (docs/adr/0194).
    """
    gc.set_threshold(_AT_START)


def keep_what_is_there() -> None:
    """Have Python look no more through what is there by now: it stays, or the process ends."""
    gc.freeze()
