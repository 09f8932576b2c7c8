"""How many messages may wait to be looked at: of all, and of each sender.

Messages come in one thread and are looked at in another. What comes faster than it is looked at has
to be dropped, and must not be dropped because of somebody else: who sends many finds its own room
full, while there is still room for the others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ARRIVED_MAX: Final = 2_000
"""The most messages that may wait to be looked at; what comes past that is dropped and counted."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A part of the room, for one sender or for those that cannot be told apart.

    Attributes:
        name: of the sender.
        messages_max: the most messages of it that may wait.
        message_max_bytes: what is kept of one message; one byte more of a larger one, so that its
            reader sees that it is too large.
    """

    name: str
    messages_max: int
    message_max_bytes: int


LaneOf = Callable[[str], Lane | None]
"""Says by a topic which lane a message is in; None for the room that all have in common."""


class ArrivedRoom:
    """The room of one connection; from any thread.

    Args:
        lane_of: tells senders apart by topics; they are not told apart unless given.
        messages_max: the most messages that may wait, of all.
    """

    def __init__(self, lane_of: LaneOf | None = None, messages_max: int = ARRIVED_MAX) -> None:
        self._lane_of = lane_of
        self._messages_max = messages_max
        self._lock = threading.Lock()
        self._of_lane: Counter[str] = Counter()
        self._waiting = 0

    def enter(self, topic: str, data: bytes) -> bytes | None:
        """Take a message in: gives what is kept of it, or None where there is no room."""
        lane = self._lane(topic)
        with self._lock:
            if self._waiting >= self._messages_max:
                return None
            if lane is not None:
                if self._of_lane[lane.name] >= lane.messages_max:
                    return None
                self._of_lane[lane.name] += 1
                data = data[: lane.message_max_bytes + 1]
            self._waiting += 1
        return data

    def leave(self, topic: str) -> None:
        """A message is being looked at now."""
        lane = self._lane(topic)
        with self._lock:
            self._waiting -= 1
            if lane is not None:
                self._of_lane[lane.name] -= 1
                if self._of_lane[lane.name] <= 0:
                    del self._of_lane[lane.name]

    def _lane(self, topic: str) -> Lane | None:
        return None if self._lane_of is None else self._lane_of(topic)
