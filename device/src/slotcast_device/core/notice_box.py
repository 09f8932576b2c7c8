"""Which notice is to be looked at next. Pure: notices are bytes here, nobody reads them.

The last notice is the truth, so at most one waits; one that came before it is dropped. Beside the
one that waits and the one that was looked at last, two are kept for an event to come: one for the
end of the update under way, one for a clock that is set.
"""

from __future__ import annotations

import hashlib


class NoticeBox:
    """Holds notices until they can be looked at."""

    def __init__(self) -> None:
        self._arrived = 0
        self._waiting: bytes | None = None
        self._seen: bytes | None = None
        self._for_the_end: bytes | None = None
        self._expired: bytes | None = None

    # --- what the core asks -------------------------------------------------------------------

    @property
    def arrived_count(self) -> int:
        """How many notices came, repeats included."""
        return self._arrived

    @property
    def is_empty(self) -> bool:
        """Whether no notice waits to be looked at."""
        return self._waiting is None

    @property
    def is_holding(self) -> bool:
        """Whether a notice is kept for the end of the update under way."""
        return self._for_the_end is not None

    @property
    def seen_sha256(self) -> bytes:
        """The digest of the notice that was looked at last; empty if there is none."""
        return b"" if self._seen is None else hashlib.sha256(self._seen).digest()

    # --- arriving and taking ------------------------------------------------------------------

    def arrived(self, data: bytes, *, is_busy: bool) -> bool:
        """Take a notice in; false for the one that is being worked on, sent again.

        Args:
            data: the notice.
            is_busy: whether the notice that was looked at last is being worked on.
        """
        self._arrived += 1
        if is_busy and data == self._seen:
            return False
        self._waiting = data
        return True

    def take(self) -> bytes | None:
        """Give the notice to look at now; None if none waits."""
        if self._waiting is None:
            return None
        self._seen, self._waiting = self._waiting, None
        return self._seen

    # --- looking at one again -----------------------------------------------------------------

    def again(self) -> None:
        """Have the last notice looked at again, unless a newer one waits."""
        self._waiting = self._waiting or self._seen

    def put_back(self, data: bytes) -> None:
        """Undo `take`: the look at it was overtaken by something else."""
        if data == self._seen and self._waiting is None:
            self._waiting, self._seen = data, None

    def forget_seen(self) -> None:
        """Have the last notice looked at anew should it come again."""
        self._seen = None

    # --- kept for later -----------------------------------------------------------------------

    def hold_for_end(self) -> None:
        """Keep the last notice until the update under way has ended."""
        self._for_the_end = self._seen

    def update_ended(self) -> None:
        """Have the notice that was kept for this looked at, unless a newer one waits."""
        self._waiting = self._waiting or self._for_the_end
        self._for_the_end = None

    def hold_expired(self) -> None:
        """Keep the last notice: it is good, should the clock be wrong."""
        self._expired = self._seen

    def drop_expired(self) -> None:
        """A notice is good by this clock: an older one is not needed any more."""
        self._expired = None

    def clock_was_set(self) -> bool:
        """Have the notice that was expired looked at, unless a newer one waits; false if none."""
        if self._expired is None:
            return False
        self._waiting, self._expired = self._waiting or self._expired, None
        return True
