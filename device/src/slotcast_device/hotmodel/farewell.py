"""A process that ends on purpose takes its reports along, also where nobody calls `close`.

What an interpreter runs at its end tells that from a death: a signal that kills, or `os._exit`,
runs nothing. Nor is a program that ends by an exception which nobody caught one that ends on
purpose: what the new release answered may be what it died of.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from typing import Protocol


class Leaving(Protocol):
    """Something that has said that it is here."""

    def leave(self) -> None:
        """Take that back."""


_here: weakref.WeakSet[Leaving] = weakref.WeakSet()


def expect(one: Leaving) -> None:
    """Have it leave when this process ends on purpose."""
    if not _here:
        _register()
    _here.add(one)


def _register() -> None:
    atexit.unregister(_leave_all)
    atexit.register(_leave_all)
    # A child of multiprocessing ends by os._exit, after its own finalizers.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _leave_all, exitpriority=0)


def _leave_all() -> None:
    if not _is_ended_by_error():
        for one in list(_here):
            one.leave()


def _is_ended_by_error() -> bool:
    """Whether an exception ends this process, other than the ways to end it on purpose."""
    last = getattr(sys, "last_value", None) or sys.exception()
    return last is not None and not isinstance(last, SystemExit | KeyboardInterrupt)
