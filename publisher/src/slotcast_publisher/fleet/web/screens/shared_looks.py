"""What many viewers look at, made once: an answer counts for a second, and longer if it is dear.

Who asks while an answer is being made gets the one before, if it is there and not too old, so that
a slow look at a large fleet makes nobody wait but the very first. When who watches a screen is
shown the next one, `watched_screens` says.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

FRESH_S: Final = 1.0
"""The seconds for which an answer counts."""
COST_TIMES: Final = 10.0
"""An answer that took a second to make counts for so many: a tenth of a processor."""
STALE_MAX_S: Final = 300.0
"""The oldest answer that is given while a new one is being made."""
KEYS_MAX: Final = 256
"""The number of different answers that are kept."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Entry(Generic[V]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: V | None = None
    has_value: bool = False
    made_s: float = 0.0
    fresh_until_s: float = 0.0


class Shared(Generic[K, V]):
    """Answers by their keys; any thread may ask.

    Args:
        make: makes the answer to a key; what it raises is raised to who asked.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        make: Callable[[K], V],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()

    def get(self, key: K) -> V:
        """Give the answer to a key."""
        entry = self._entry(key)
        now_s = self._clock()
        if entry.has_value and now_s < entry.fresh_until_s:
            return self._value(entry)
        is_usable = entry.has_value and now_s - entry.made_s < STALE_MAX_S
        if not entry.lock.acquire(blocking=not is_usable):
            return self._value(entry)  # somebody is making it; what there is will do
        try:
            if not (entry.has_value and self._clock() < entry.fresh_until_s):
                self._renew(key, entry)
            return self._value(entry)
        finally:
            entry.lock.release()

    def forget(self) -> None:
        """Have everything made anew: somebody changed something, and wants to see it."""
        with self._lock:
            for entry in self._entries.values():
                entry.fresh_until_s = 0.0
                entry.has_value = False

    def _entry(self, key: K) -> _Entry[V]:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry()
                while len(self._entries) > KEYS_MAX:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(key)
            return entry

    def _renew(self, key: K, entry: _Entry[V]) -> None:
        began_s = self._clock()
        value = self._make(key)
        ended_s = self._clock()
        entry.value, entry.made_s = value, ended_s
        entry.fresh_until_s = ended_s + max(FRESH_S, COST_TIMES * (ended_s - began_s))
        entry.has_value = True

    @staticmethod
    def _value(entry: _Entry[V]) -> V:
        value = entry.value
        assert value is not None or entry.has_value  # noqa: S101 - by construction
        return value  # type: ignore[return-value]
