"""A process that ends on purpose takes its reports along, also where nobody calls `close`.

What an interpreter runs at its end tells that from a death: a signal that kills, or `os._exit`,
runs nothing. A program that ends by an exception which nobody caught does not end on purpose
either: an answer of the new release may have caused it.
"""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from types import FrameType
from typing import Protocol


class Leaving(Protocol):
    """Something that has said that it is here."""

    def leave(self) -> None:
        """Take that back."""


_here: weakref.WeakSet[Leaving] = weakref.WeakSet()
_child: list[FrameType] = []
"""The frame in which multiprocessing runs this process, if it is such a child and nothing else
tells how it ended (see `_child_frame`)."""


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
        _child[:] = _child_frame()


def _leave_all() -> None:
    if not _is_ended_by_error():
        for one in list(_here):
            one.leave()


def _is_ended_by_error() -> bool:
    """Whether an exception ends this process, other than the ways to end it on purpose."""
    last = getattr(sys, "last_value", None) or sys.exception()
    if last is None and _child:
        return _child[0].f_locals.get("exitcode") not in {None, 0}
    return last is not None and not isinstance(last, SystemExit | KeyboardInterrupt)


def _child_frame() -> list[FrameType]:
    """Give the frame that runs a child of multiprocessing's function; empty in other processes.

    Since Python 3.13 such a child has forgotten its exception when it runs its finalizers, and
    this frame's `exitcode` alone knows of it: 1 after an exception.
    """
    process = sys.modules.get("multiprocessing.process")
    run = getattr(getattr(process, "BaseProcess", None), "_bootstrap", None)
    main = threading.main_thread().ident or 0
    frame = sys._current_frames().get(main)  # noqa: SLF001 - documented, though named so
    while frame is not None:
        if frame.f_code is getattr(run, "__code__", None):
            return [frame]
        frame = frame.f_back
    return []
