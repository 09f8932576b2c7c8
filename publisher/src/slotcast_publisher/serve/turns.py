"""Whose turn it is: fair queueing of those who wait for pieces. No I/O.

Of all who have something in line, the next turn goes to the one who was sent the fewest bytes
(start-time fair queueing: who comes anew begins at the least that anybody in line has, so that
nobody saves up turns). A piece that several wait for counts for each of them, whoever's turn it
was: who shares is served sooner, and nobody is kept waiting by how much somebody else asks for.

Source of the method: Goyal, Vin, Cheng, "Start-time Fair Queueing", SIGCOMM 1996.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)
What = TypeVar("What")


@dataclass(slots=True)
class _Line(Generic[What]):
    """What one waits for, in the order in which it was asked for, and what it was sent already."""

    served_bytes: float
    waiting: deque[What] = field(default_factory=deque)


class Turns(Generic[Who, What]):
    """The lines of all who wait.

    What was sent in another's turn, or is not wanted any more, may stay in a line: `take` passes
    over it.
    """

    def __init__(self) -> None:
        self._lines: dict[Who, _Line[What]] = {}
        self._order: list[tuple[float, int, Who]] = []
        self._number = itertools.count()
        self._least_bytes = 0.0

    def join(self, who: Who, what: What) -> None:
        """Put something at the end of somebody's line."""
        line = self._lines.get(who)
        if line is None:
            line = self._lines[who] = _Line(self._least_bytes)
            heapq.heappush(self._order, (line.served_bytes, next(self._number), who))
        line.waiting.append(what)

    def take(self, is_wanted: Callable[[What], bool]) -> What | None:
        """Give what is sent next, or None where nobody waits for anything that is still wanted."""
        while self._order:
            served_bytes, number, who = self._order[0]
            line = self._lines[who]
            if line.served_bytes != served_bytes:  # was sent something in another's turn
                heapq.heapreplace(self._order, (line.served_bytes, number, who))
                continue
            while line.waiting and not is_wanted(line.waiting[0]):
                line.waiting.popleft()
            if line.waiting:
                self._least_bytes = served_bytes
                return line.waiting.popleft()
            heapq.heappop(self._order)
            del self._lines[who]
        return None

    def charge(self, who: Who, size_bytes: float) -> None:
        """Note that somebody was sent so much."""
        line = self._lines.get(who)
        if line is not None:
            line.served_bytes += size_bytes
