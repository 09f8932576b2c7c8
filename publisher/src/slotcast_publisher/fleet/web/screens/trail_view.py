"""How a device came to what it runs: each change, and the evidence of probes and trials. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from slotcast_publisher.fleet.database.listing import HistoryEntry
from slotcast_publisher.fleet.web.screens.failures_view import CheckRow, check_rows
from slotcast_publisher.fleet.web.screens.transfers_view import received_words
from slotcast_publisher.fleet.web.words import span_words
from slotcast_schemas.messages.status import Evidence
from slotcast_schemas.reasons import Actor, Reason

_REASONS: Final = {str(reason): reason for reason in Reason}
_BAD: Final = frozenset({"ROLLED_BACK", "FAILED", "REJECTED"})
_OF_TRIAL: Final = frozenset({"ROLLED_BACK", "COMMITTED", "IDLE"})
"""States whose evidence, where it is new, is that of a trial."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A probe or a trial.

    Attributes:
        title: what it was of, and how it ended.
        checks: those that failed first.
        is_open: whether a person wants to see it at once.
    """

    title: str
    checks: tuple[CheckRow, ...]
    is_open: bool


@dataclass(frozen=True, slots=True)
class Step:
    """An entry of the history.

    Attributes:
        at_s: when it was heard, in seconds since 1970.
        sentence: what happened.
        detail: what the device says; data.
        judged: the probe or the trial that it rests on; None without.
        is_bad: whether the release was not taken.
    """

    at_s: int
    state: str
    reason: str
    sentence: str
    detail: str
    judged: Judged | None
    is_bad: bool


def trail(changes: Sequence[HistoryEntry]) -> list[Step]:
    """Give the history of a model on a device, the newest first.

    Args:
        changes: likewise.
    """
    return [
        _step(change, older)
        for change, older in zip_longest(changes, changes[1:], fillvalue=None)
        if change is not None
    ]


def _step(change: HistoryEntry, older: HistoryEntry | None) -> Step:
    is_bad = change.state in _BAD
    return Step(
        at_s=change.at_s,
        state=change.state,
        reason=change.reason,
        sentence=" ".join(_sentences(change, older)),
        detail=change.detail,
        judged=_judged(change, older),
        is_bad=is_bad,
    )


def _sentences(change: HistoryEntry, older: HistoryEntry | None) -> Iterator[str]:
    meaning = meaning_of(change.reason)
    if meaning:
        yield meaning
    is_switch = older is not None and change.sequence != older.sequence
    if is_switch and change.version:
        yield f"{change.version} serves from now on."
    elif change.state in _BAD and change.version:
        yield f"{change.version} serves."
    if change.state == "DOWNLOADED" and change.progress is not None:
        yield received_words(change.progress)
    if older is not None and older.state == change.state == "TRIAL":
        return
    if older is not None and change.at_s > older.at_s:
        yield f"After {span_words(change.at_s - older.at_s)} of {older.state}."


def meaning_of(reason: str) -> str:
    """Say what a reason means; nothing for a word that we do not know."""
    known = _REASONS.get(reason)
    return "" if known is None else known.meaning


def actor_of(reason: str) -> str:
    """Say who must act on a reason; nothing where nobody must, or we do not know the word."""
    known = _REASONS.get(reason)
    return "" if known is None or known.actor is Actor.NOBODY else str(known.actor)


def _judged(change: HistoryEntry, older: HistoryEntry | None) -> Judged | None:
    evidence = change.evidence
    if evidence is None or not evidence.checks:
        return None
    if older is not None and older.evidence == evidence:
        return None  # it is shown where it was new
    return judged(evidence, change.state, change.target_version or change.version)


def judged(evidence: Evidence, state: str, version: str) -> Judged:
    """Say what a probe or a trial found.

    Args:
        evidence: what it found.
        state: of the device then.
        version: that it was of.
    """
    kind = "Trial" if state in _OF_TRIAL else "Probe"
    failed = sum(not check.passed for check in evidence.checks)
    count = len(evidence.checks)
    all_passed = f"all {count} checks passed" if count > 1 else "the check passed"
    ended = f"{failed} of {count} checks failed" if failed else all_passed
    return Judged(f"{kind} of {version}: {ended}", tuple(check_rows(evidence.checks)), failed > 0)
