"""How often Python looks for garbage in an agent."""

from __future__ import annotations

import gc
from typing import Final

from slotcast_schemas.garbage import keep_what_is_there

_OBJECTS: Final = 4_000
"""The number of new objects, less those that ended, after which Python looks for cycles of objects
that nothing else keeps. Python's own 700 is reached every twenty chunks."""


def look_for_garbage_less_often() -> None:
    """Have Python look a sixth as often for cycles of objects that nothing else keeps.

    What is there by now, modules above all, stays as long as the agent, and is not looked through.

    Objects that a chunk needs end with it and make no cycle. To look for one every twenty chunks
    would take a twentieth of a transfer's processor time (docs/adr/0194).
    """
    keep_what_is_there()
    gc.set_threshold(_OBJECTS)
