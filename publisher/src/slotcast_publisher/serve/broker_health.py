"""How each broker stands with `serve`: what it answered last, and what went wrong last.

Whoever talks to a broker says so; whoever looks after the fleet asks. From any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

RECENT_S: Final = 60.0
"""The seconds for which a broker counts as in trouble after a failure, even if it answered since:
one that takes the connection and refuses the first message does so again and again."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a broker; both texts are empty where nothing is.

    Attributes:
        reason: the word for it, such as `broker_refused` or `link_down`.
        detail: the words for it, some of which are the broker's own.
    """

    broker: str
    reason: str = ""
    detail: str = ""


@dataclass(slots=True)
class _Known:
    trouble: Trouble
    failed_s: float = 0.0
    is_up: bool = False


class BrokerHealth:
    """Remembers it.

    Args:
        now: a clock in seconds that is never set.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def answered(self, broker: str) -> None:
        """Take note that a broker took a connection and what was asked of it."""
        with self._lock:
            known = self._known.setdefault(broker, _Known(Trouble(broker), -RECENT_S))
            known.is_up = True

    def failed(self, broker: str, reason: str, detail: str) -> None:
        """Take note that a broker refused something, or cannot be reached.

        Args:
            broker: its name.
            reason: the word for what is wrong.
            detail: the words for it.
        """
        with self._lock:
            self._known[broker] = _Known(Trouble(broker, reason, detail), self._now())

    def look(self) -> list[Trouble]:
        """Say how each broker stands that was heard of."""
        with self._lock:
            now_s = self._now()
            return [self._trouble(name, known, now_s) for name, known in self._known.items()]

    @staticmethod
    def _trouble(name: str, known: _Known, now_s: float) -> Trouble:
        is_well = known.is_up and now_s - known.failed_s > RECENT_S
        return Trouble(name) if is_well else known.trouble
