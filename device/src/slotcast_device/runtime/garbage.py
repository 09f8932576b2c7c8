"""How often Python looks for garbage in an agent."""

from __future__ import annotations

import gc
from typing import Final

_OBJECTS: Final = 4_000
"""How many objects that may be in a cycle come to be, beyond those that end, before Python looks
for cycles among them. Its own 700 is reached every twenty chunks."""


def look_for_garbage_less_often() -> None:
    """Have Python look a sixth as often for what only its cycles keep.

    What a chunk needs ends with it, and makes no cycle: to look for one each twenty chunks takes a
    twentieth of the processor time of a transfer (docs/adr/0194).
    """
    gc.set_threshold(_OBJECTS)
