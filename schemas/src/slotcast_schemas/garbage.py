"""How often Python looks for cycles of objects that nothing else keeps."""

from __future__ import annotations

import gc
import sys
from typing import Final, NoReturn

_AT_START: Final = 20_000
"""The number of new objects, less those that ended, after which Python looks: its own 700 is
reached hundreds of times while a command starts."""


def look_for_garbage_seldom() -> None:
    """Have Python look seldom: for a process that has yet to import what it needs.

    What is imported stays, and would be looked through each time anew (docs/adr/0194).
    """
    gc.set_threshold(_AT_START)


def keep_what_is_there() -> None:
    """Have Python look no more through what is there by now, and stays."""
    gc.freeze()


def end_process(code: int) -> NoReturn:
    """End this process with an exit code; Python would look through all that is left, twice."""
    keep_what_is_there()
    sys.exit(code)
