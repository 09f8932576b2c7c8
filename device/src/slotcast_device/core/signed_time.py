"""What time it is, for a device whose clock may be wrong. Pure.

A clock that is not kept while the device is off begins far in the past; by it, nothing that was
ever signed has expired. So time is the later of two: the device's clock, and the time at which the
newest notice was signed, which goes on running while the agent does. The first is believed where
it is ahead: nobody here can know better, and a notice that was refused for that is looked at again
as soon as the clock moves.

A publisher's clock may be wrong too. So a signed time does not bind for good: a notice that is
newer by its signed versions, which nobody without the keys can make, says anew when that was; and
one that says it was signed after its own end says nothing about time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from slotcast_schemas.errors import Expired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slotcast_device.core.actions import Action
    from slotcast_device.core.events import Now
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.state import ModelState
    from slotcast_schemas.verify import Trusted

SLACK_S: Final = 300
"""The most seconds by which two clocks that are both right differ."""
JUMP_S: Final = 5.0
"""The seconds by which the clock must move against the one that does not jump to count as set."""
BUILT_S: Final = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""A time before this software was written, in seconds since 1970: a clock that is behind it is
wrong."""
NEVER_AGAIN_S: Final = 366 * 86400.0
"""The longest wait in seconds, a year; waits are bounded so that sums of them stay sane."""


class ClockWatch:
    """Notices that somebody set the clock: a person, NTP, or a machine that slept."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def moved(self, now: Now) -> bool:
        """Whether the clock was set since the last time that this said so."""
        offset_s = now.wall_s - now.mono_s
        if self._offset_s is None:
            self._offset_s = offset_s
        if abs(offset_s - self._offset_s) < JUMP_S:
            return False
        self._offset_s = offset_s
        return True


class SignedTime:
    """The time by which one model's notices are judged.

    Args:
        record: the model's.
        elsewhere_s: gives the latest time that is known to have come from notices of other models.

    Attributes:
        is_stale: the last good notice is past its end, and no other has come.
    """

    def __init__(
        self, record: UpdateRecord, elsewhere_s: Callable[[Now], int] = lambda _: 0
    ) -> None:
        self._record = record
        self._elsewhere_s = elsewhere_s
        self._since_s = 0.0  # when the signed time was learned, on the clock that does not jump
        self._look_s: float | None = None
        self.is_stale = False

    # --- what time it is ----------------------------------------------------------------------

    def now_s(self, now: Now) -> int:
        """Give the time, as far as it can be known; seconds since 1970."""
        return self._choose_later_s(self._record.state.signed_time, now)

    def own_s(self, now: Now) -> int:
        """Give the time by this model's notices alone; 0 where none said it."""
        return self._run_on(self._record.state.signed_time, now)

    def _choose_later_s(self, signed_s: int, now: Now) -> int:
        return max(now.wall_s, self._run_on(signed_s, now), self._elsewhere_s(now))

    def _run_on(self, signed_s: int, now: Now) -> int:
        if signed_s and signed_s == self._record.state.signed_time:
            return signed_s + int(max(0.0, now.mono_s - self._since_s))
        return signed_s

    def day(self, now: Now) -> int:
        """Give today, in days since 1970-01-01 UTC."""
        return self.now_s(now) // 86400

    # --- notices ------------------------------------------------------------------------------

    def check(self, trusted: Trusted, now: Now) -> None:
        """Hold a verified notice against the time.

        Raises:
            Expired: it is past its end.
        """
        ends_s, time_s = trusted.expires_s, self._choose_later_s(self._read_signed_s(trusted), now)
        if not ends_s or time_s < ends_s:
            return
        what = f"its signatures ended at {moment(ends_s)}"
        if now.wall_s >= ends_s:
            raise Expired(
                f"{what}, and this device's clock says {moment(now.wall_s)}; the publisher must"
                " refresh it, or the clock must be set"
            )
        raise Expired(
            f"{what}, and a notice that came before was signed at {moment(time_s)}; the publisher"
            f" must refresh it (this device's clock is behind: {moment(now.wall_s)})"
        )

    def learn(self, trusted: Trusted, now: Now) -> bool:
        """Take what a good notice says about time; true if that is new."""
        before = self._record.state
        signed_s = self._read_signed_s(trusted)
        self._record.note_signed(signed_s, trusted.expires_s, trusted.notice_sha256)
        if self._record.state.signed_time != before.signed_time:
            self._since_s = now.mono_s
        self.look(now)
        return self._record.state != before

    def _read_signed_s(self, trusted: Trusted) -> int:
        """Give the signed time, should this notice be believed."""
        known_s, issued_s = self._record.state.signed_time, trusted.offer.issued
        if trusted.expires_s and issued_s >= trusted.expires_s:
            issued_s = 0
        return issued_s if trusted.is_newer else max(known_s, issued_s)

    # --- when the last notice ends ------------------------------------------------------------

    @property
    def deadline_s(self) -> float | None:
        """When `look` is due, on the monotonic clock."""
        return self._look_s

    def recovered(self, now: Now) -> list[Action]:
        """The record was read."""
        self._since_s = now.mono_s
        return self.look(now)

    def tick(self, now: Now) -> list[Action]:
        """Look, if that is due."""
        return self.look(now) if self._look_s is not None and self._look_s <= now.mono_s else []

    def look(self, now: Now) -> list[Action]:
        """See whether the last good notice is past its end; say so once."""
        ends_s, was_stale = self._record.state.notice_expires, self.is_stale
        left_s = ends_s - self.now_s(now)
        self.is_stale = bool(ends_s) and left_s <= 0
        self._look_s = None
        if ends_s and not self.is_stale:
            self._look_s = now.mono_s + min(float(left_s), NEVER_AGAIN_S)
        if self.is_stale == was_stale:
            return []
        from slotcast_device.core import actions as act  # `status` shares this, and starts fast

        if not self.is_stale:
            return [act.PublishStatus()]
        text = f"stale: the last notice's signatures ended at {moment(ends_s)}; the publisher"
        return [
            act.Log("warning", f"{text} must refresh it (`slotcast refresh`)"),
            act.PublishStatus(),
        ]


def clock_word(
    wall_s: float, states: Iterable[ModelState], root_expires_s: float | None = None
) -> str:
    """Judge a device's clock by what it saw signed.

    Args:
        wall_s: what the clock says, in seconds since 1970.
        states: the records of the device's models.
        root_expires_s: when the pinned root ends; None where that cannot be read.

    Returns:
        `behind`: earlier than a time that it saw signed, or than this software.
        `ahead`: past the end of the root that everything hangs on, while no notice says otherwise;
        if that clock is right, the device must be provisioned again.
        `ok`: neither, which does not say that it is right.
    """
    known = list(states)
    if wall_s < max([BUILT_S, *(state.signed_time for state in known)]) - SLACK_S:
        return "behind"
    if root_expires_s is None:
        return "ok"
    last_s = max([root_expires_s, *(state.notice_expires for state in known)])
    return "ahead" if wall_s >= last_s else "ok"


def notice_word(state: ModelState, wall_s: float) -> str:
    """Judge the last good notice: `none`, `valid` or `stale`."""
    if not state.notice_expires:
        return "none"
    return "stale" if max(wall_s, state.signed_time) >= state.notice_expires else "valid"


def moment(time_s: int) -> str:
    """Write a time for people; one that no calendar has stays a number."""
    try:
        return datetime.fromtimestamp(time_s, UTC).isoformat(sep=" ", timespec="minutes")
    except (OverflowError, ValueError, OSError):
        return f"{time_s} s after 1970"
