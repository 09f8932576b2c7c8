"""How a transfer does, said of it while it goes on: nothing comes, it comes too slowly, how fast.

Nothing here ends a transfer: what does not come is asked for again, and people read why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_device.core import actions as act
from slotcast_device.core.transfer.slow_link import SlowLinkMeter
from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action
    from slotcast_device.core.events import Now
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.transfer.broker_limits import Allowance
    from slotcast_device.core.transfer.slow_link import SlowLimit
    from slotcast_device.core.transfer.transfer import Transfer

ASKED_AGAIN: Final = "it is asked for again and again"
"""How a text for people ends that says why nothing comes."""


class TransferWatch:
    """Says how the transfer under way does.

    Args:
        record: what says it.
        allowance: what the present broker allows.
        slow: what is reported as too slow.

    Attributes:
        rate_bytes_per_s: of verified bytes, between the last two reports.
        is_in_trouble: whether nothing comes, and the reason says why.
    """

    def __init__(self, record: UpdateRecord, allowance: Allowance, slow: SlowLimit) -> None:
        self._record = record
        self._allowance = allowance
        self._pace = SlowLinkMeter(slow)
        self.is_in_trouble = False
        self._mark: tuple[float, int] | None = None  # when the rate was taken last, and its bytes
        self.rate_bytes_per_s = 0

    @property
    def deadline_s(self) -> float | None:
        """When `note_pace` is due."""
        return self._pace.deadline_s

    def begin(self) -> None:
        """A transfer begins: nothing is known of it."""
        self.is_in_trouble, self._mark = False, None
        self.rate_bytes_per_s = 0

    def stop(self) -> None:
        """Stop measuring: there is no connection, or nothing is asked for any more."""
        self._pace.stop()

    # --- what does not come -------------------------------------------------------------------

    def broker_refused(self, text: str) -> list[Action]:
        """Say that the broker does not let this device have what it asks for."""
        return self._say_trouble(Reason.BROKER_REFUSED, f"{text}; {ASKED_AGAIN}")

    def note_stall(self, fetch: Transfer) -> list[Action]:
        """Say so if nothing comes, and why."""
        reason, detail = self._explain_silence(fetch)
        is_sure = fetch.is_silent if reason == Reason.PACKET_LIMIT else fetch.is_stalled
        return self._say_trouble(reason, detail) if is_sure and not self.is_in_trouble else []

    def _explain_silence(self, fetch: Transfer) -> tuple[str, str]:
        """Give reason and detail for an update of which nothing comes."""
        limits, needed = self._allowance.limits, fetch.packet_bytes
        if limits.packet_max_bytes < needed:
            return Reason.PACKET_LIMIT, (
                f"the broker takes packets of at most {limits.packet_max_bytes} bytes, this payload"
                f" needs {needed}: raise the broker's limit, or release with a smaller"
                " chunk_size_bytes"
            )
        if not limits.retained:
            return Reason.STALLED, (
                "this broker keeps no retained messages, and nobody answers wants;"
                " `slotcast serve` must run for it"
            )
        hint = ""
        if fetch.has_only_short_chunks:
            hint = f"; no message of {needed} bytes ever came: perhaps the broker's packet limit"
        return Reason.STALLED, (
            "what was asked for does not come, neither kept by the broker nor for a want: publish"
            f" it to this broker, or run `slotcast serve`{hint}; {ASKED_AGAIN}"
        )

    def _say_trouble(self, reason: str, detail: str) -> list[Action]:
        """Say why nothing comes, durably, so that the device itself can say it too."""
        if self._record.phase is not State.DOWNLOADING or self._record.reason == reason:
            return []
        self.is_in_trouble = True
        self._record.note(reason, detail[:DETAIL_MAX_CHARS])
        return [act.Log("warning", f"{reason}: {detail}"), *self._record.save()]

    def something_came(self) -> list[Action]:
        """Say that it goes on, if it did not."""
        if not self.is_in_trouble:
            return []
        self.is_in_trouble = False
        if self._record.phase is not State.DOWNLOADING:
            return []
        self._record.note(Reason.DOWNLOADING, "")
        return [act.Log("info", "what was asked for comes now"), *self._record.save()]

    # --- what comes too slowly ----------------------------------------------------------------

    def measure_pace(self, fetch: Transfer, now: Now) -> None:
        """Begin to measure: there is a connection, and something is asked for."""
        self._pace.begin(now.mono_s, fetch.counters.verified_bytes)

    def note_pace(self, fetch: Transfer, now: Now) -> list[Action]:
        """Say that the transfer is too slow, and when it no longer is."""
        rate = self._pace.judge(now.mono_s, fetch.counters.verified_bytes)
        if rate is None:
            return []
        limit = self._pace.limit
        if rate >= limit.bytes_per_s:
            if self._record.reason != Reason.SLOW:
                return []
            self._record.note(Reason.DOWNLOADING, "")
            return [act.PublishStatus()]
        if self._record.reason != Reason.DOWNLOADING:  # stalled says more
            return []
        detail = (
            f"{rate:.0f} verified bytes a second over {limit.window_s:g} s, expected at least"
            f" {limit.bytes_per_s:g}; it goes on, look at the link and the broker"
        )
        self._record.note(Reason.SLOW, detail)
        return [act.Log("warning", f"slow: {detail}"), act.PublishStatus()]

    def measure_rate(self, fetch: Transfer, now: Now) -> None:
        """Take the rate since this was called last, for the progress that is reported."""
        done = fetch.counters.verified_bytes
        if self._mark is not None:
            then_s, before = self._mark
            rate = max(0.0, (done - before) / max(now.mono_s - then_s, 1e-6))
            self.rate_bytes_per_s = int(rate)
        self._mark = (now.mono_s, done)
