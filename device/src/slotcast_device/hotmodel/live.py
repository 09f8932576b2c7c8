"""One loaded session and who is using it. The lock is the model's; see `model`."""

from __future__ import annotations

import threading
from typing import Any

from slotcast_device.hotmodel.recorder import Recorder
from slotcast_device.hotmodel.source import Opened


class Live:
    """A session that serves, the calls in it, and its figures.

    Args:
        session: onnxruntime's `InferenceSession`.
        opened: the release that it was loaded from.
        load_s: how long loading and warming took.
    """

    __slots__ = ("drained", "in_flight", "is_retired", "load_s", "opened", "recorder", "session")

    def __init__(self, session: Any, opened: Opened, load_s: float) -> None:
        self.session: Any = session
        self.opened = opened
        self.load_s = load_s
        self.recorder = Recorder()
        self.in_flight = 0
        self.is_retired = False
        self.drained = threading.Event()

    def retire(self) -> None:
        """No new calls; `drained` is set when the last one has left. Called under the lock."""
        self.is_retired = True
        if self.in_flight == 0:
            self.drained.set()

    def leave(self) -> None:
        """One call has ended. Called under the lock."""
        self.in_flight -= 1
        if self.is_retired and self.in_flight == 0:
            self.drained.set()
