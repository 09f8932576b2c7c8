"""Answers that many viewers share: made once, by one of them, and given to all for a moment."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

SHARED_S: Final = 1.0
"""The seconds for which an answer is given again."""
ANSWERS_MAX: Final = 256
"""The most answers that are kept: questions come from outside, and may be any number."""
T = TypeVar("T")


@dataclass(slots=True)
class _Answer:
    """One answer, and who makes it."""

    making: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    made_s: float | None = None


class SharedAnswers:
    """Keeps answers for a moment; may be used by several threads.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()

    def get(self, question: Hashable, make: Callable[[], T], for_s: float = SHARED_S) -> T:
        """Give the answer to a question; who asks while it is made waits for it.

        Args:
            question: what tells it from others.
            make: makes the answer; what it raises is raised to whoever makes it.
            for_s: the seconds for which it is given again.
        """
        with self._lock:
            answer = self._answers.setdefault(question, _Answer())
            self._answers.move_to_end(question)
            while len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
        with answer.making:
            if answer.made_s is None or not 0 <= self._clock() - answer.made_s < for_s:
                answer.value = make()
                answer.made_s = self._clock()
            value: T = answer.value
            return value
