"""Tells what was made before a fork that it lives in another process now.

A fork copies memory and one thread. What the other threads held or did is lost in the child: locks
that stay locked, a follower that follows no more, sessions whose pools have no threads.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something with threads or locks of its own."""

    def forked(self) -> None:
        """Begin anew, in the child, before anything else runs there."""


_told: weakref.WeakSet[Forked] = weakref.WeakSet()


def tell(made: Forked) -> None:
    """Have it told in each child that is forked while it is in use."""
    _told.add(made)


def _tell_all() -> None:
    for made in list(_told):
        made.forked()


os.register_at_fork(after_in_child=_tell_all)
