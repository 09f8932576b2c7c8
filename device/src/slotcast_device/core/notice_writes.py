"""How often what notices change is written down and said. Pure.

Whoever can write to a notice's topic, such as the broker itself, can have a device refuse notices
as fast as it reads them. The first few are written and said at once, as ever; past them, what
changed in memory waits until it is time, and is then written once, as it is then. Nothing is lost
by that: after a crash the notice comes again, and is refused again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_device.core import actions as act
from slotcast_schemas.token_bucket import TokenBucket

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action
    from slotcast_device.core.events import Now

AT_ONCE_MAX: Final = 16
"""The notices in a row whose outcome is written and said at once."""
EVERY_S: Final = 60.0
"""The seconds after which the outcome of one more notice is written and said at once."""
_HELD = act.Save | act.PublishStatus | act.Log
"""What waits; anything else is part of an update, which goes on at its own pace."""


class NoticeWrites:
    """Lets the outcomes of notices through, or has them wait. No clock: times are arguments."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(AT_ONCE_MAX, 1 / EVERY_S)
        self._held = 0
        self._due_s: float | None = None

    @property
    def deadline_s(self) -> float | None:
        """When `due` is to be asked; None where nothing waits."""
        return self._due_s

    @property
    def is_holding(self) -> bool:
        """Whether something is known in memory that was not written."""
        return self._due_s is not None

    def pace(self, actions: list[Action], now: Now) -> list[Action]:
        """Let the outcome of a notice through, or keep it until it is time.

        Args:
            actions: what is to be done about the notice.
            now: the time.
        """
        if not actions or not all(isinstance(action, _HELD) for action in actions):
            return actions
        if not self._held and self._bucket.take(1, now.mono_s):
            return actions
        self._held += 1
        if self._due_s is None:
            self._due_s = now.mono_s + self._bucket.wait_s(1, now.mono_s)
        return []

    def due(self, now: Now) -> list[Action] | None:
        """Give what is to be said of what was kept; None while it is not time, or nothing was.

        The record is to be saved with it.
        """
        if self._due_s is None or now.mono_s < self._due_s:
            return None
        self._bucket.take(1, now.mono_s)
        text = f"{self._held} more notices were looked at and changed nothing that lasts"
        self.written()
        return [act.Log("warning", text)]

    def written(self) -> None:
        """All that was kept is on its way to the disk."""
        self._held, self._due_s = 0, None
