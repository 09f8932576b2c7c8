"""What the log says of a model: that it was switched, committed or rolled back, with the figures.

It compares one status with the one before, so it says the same whatever led there, and once. Each
line has its facts beside its words, for logs that programs read (`reporting.log_format`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from slotcast_device.reporting.words import duration, figures, size
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slotcast_schemas.messages.status import ModelStatus, Progress, SlotStatus


class Line(msgspec.Struct, frozen=True):
    """One line of the log.

    Attributes:
        event: a stable word: `active`, `switched`, `committed` or `rolled_back`.
        text: the same and its figures, for people.
        facts: for programs; keys are stable.
    """

    event: str
    level: int
    text: str
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


class ChangeLog:
    """Follows the statuses of one model."""

    def __init__(self) -> None:
        self._before: ModelStatus | None = None
        self._progress: Progress | None = None
        self._switched_s: float | None = None

    def look(self, status: ModelStatus, mono_s: float) -> list[Line]:
        """Give what is new in a status.

        Args:
            status: as it is now.
            mono_s: the time, by a clock that does not jump.
        """
        before, self._before = self._before, status
        if status.progress is not None:
            self._progress = status.progress
        if before is None:
            return [_describe_start(status)]
        return list(self._find_changes(before, status, mono_s))

    def _find_changes(self, before: ModelStatus, now: ModelStatus, mono_s: float) -> Iterator[Line]:
        is_new_end = (before.state, _sequence_of(before)) != (now.state, _sequence_of(now))
        if is_new_end and now.state is State.ROLLED_BACK:
            yield self._describe_roll_back(now, mono_s)
        elif now.active is not None and _differs(before.active, now.active):
            yield self._describe_switch(before, now)
            self._switched_s = mono_s
        if is_new_end and now.state is State.COMMITTED:
            yield self._describe_commit(now, mono_s)

    def _describe_switch(self, before: ModelStatus, now: ModelStatus) -> Line:
        old = before.active
        facts = _gather_facts(now) | {"from_version": old.version if old else None}
        found = [figures(now.evidence.checks)] if now.evidence else []
        received, self._progress = self._progress, None
        if received is not None:
            facts["transfer"] = _gather_transfer_facts(received)
            found.insert(0, _describe_received(received))
        text = f"switched to {_name_slot(now.active)}" + (f" from {old.version}" if old else "")
        told = "; ".join(filter(None, found))
        return Line("switched", logging.INFO, f"{text}: {told}" if told else text, facts)

    def _describe_commit(self, now: ModelStatus, mono_s: float) -> Line:
        text = f"committed {_name_slot(now.active)}{self._describe_time_served(mono_s)}"
        found = figures(now.evidence.checks if now.evidence else ())
        facts = _gather_facts(now) | self._gather_trial_facts(mono_s)
        return Line("committed", logging.INFO, f"{text}: {found}" if found else text, facts)

    def _describe_roll_back(self, now: ModelStatus, mono_s: float) -> Line:
        version = now.target.version if now.target else "?"
        text = f"rolled back {version}{self._describe_time_served(mono_s)} ({now.reason})"
        if now.detail:
            text += f": {now.detail}"
        text += (
            f"; {_name_slot(now.active)} serves again" if now.active else "; no release is active"
        )
        facts = _gather_facts(now) | self._gather_trial_facts(mono_s)
        return Line("rolled_back", logging.WARNING, text, facts)

    def _describe_time_served(self, mono_s: float) -> str:
        """Say how long it served; nothing where the agent was started meanwhile."""
        since = self._switched_s
        return "" if since is None else f" after {duration(mono_s - since)}"

    def _gather_trial_facts(self, mono_s: float) -> dict[str, Any]:
        since = self._switched_s
        return {} if since is None else {"served_s": round(mono_s - since, 3)}


def _describe_start(status: ModelStatus) -> Line:
    text = "no release yet" if status.active is None else f"{_name_slot(status.active)} is active"
    return Line(
        "active", logging.INFO, f"{text}; {status.state} ({status.reason})", _gather_facts(status)
    )


def _sequence_of(status: ModelStatus) -> int:
    return 0 if status.target is None else status.target.sequence


def _differs(before: SlotStatus | None, now: SlotStatus) -> bool:
    return before is None or (before.slot, before.sequence) != (now.slot, now.sequence)


def _name_slot(slot: SlotStatus | None) -> str:
    return "?" if slot is None else f"{slot.version} (sequence {slot.sequence}, slot {slot.slot})"


def _describe_received(progress: Progress) -> str:
    saved = f", {size(progress.saved_bytes)} saved" if progress.saved_bytes else ""
    return f"{size(progress.received_bytes)} received ({progress.codec}{saved})"


def _gather_transfer_facts(progress: Progress) -> dict[str, Any]:
    return {
        "codec": progress.codec,
        "size_bytes": progress.size_bytes,
        "received_bytes": progress.received_bytes,
        "reused_bytes": progress.reused_bytes,
        "saved_bytes": progress.saved_bytes,
    }


def _gather_facts(status: ModelStatus) -> dict[str, Any]:
    target, active = status.target, status.active
    return {
        "version": target.version if target else None,
        "sequence": target.sequence if target else None,
        "deployment": target.deployment if target else None,
        "state": str(status.state),
        "reason": status.reason,
        "detail": status.detail,
        "active_version": active.version if active else None,
        "active_slot": active.slot if active else None,
        "checks": {
            check.name: {
                "passed": check.passed,
                "value": check.value,
                "limit": check.limit,
                "before": check.reference,
            }
            for check in (status.evidence.checks if status.evidence else ())
        },
    }
