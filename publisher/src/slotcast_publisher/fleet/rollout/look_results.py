"""What a look at a rollout comes to: what the shell has to do, and what it may tell people.

A decision is made anew at each look while it is true, and carried out again it changes nothing: an
offer that is signed already is not asked for, a question has one key however often it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from slotcast_publisher.fleet.rollout.judge import LimitReading
from slotcast_publisher.fleet.rollout.offers import WantedOffer
from slotcast_publisher.fleet.rollout.plan import Gate
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.tally import GroupTally


@dataclass(frozen=True, slots=True)
class SignOffer:
    """Sign this offer with the online key, and announce it. The record must be durable before."""

    offer: WantedOffer


@dataclass(frozen=True, slots=True)
class PrepareDeltas:
    """Make deltas to this release from what devices run, the most common first.

    Attributes:
        bases: sequences, and how many devices run each.
    """

    version: str
    bases: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class AskGate:
    """Ask a command or a URL, unless this question was asked less than `gate.again_s` ago.

    Attributes:
        question: its key, to be given back with the answer.
    """

    question: str
    group: str
    kind: str
    gate: Gate


Decision = SignOffer | PrepareDeltas | AskGate
"""What the shell has to do."""


@dataclass(frozen=True, slots=True)
class LogNote:
    """A line for the rollout's log: what was decided, and why, in figures.

    Attributes:
        group: that it is about; empty for the rollout.
        word: for programs, such as `opened`, `soaking`, `passed`, `paused`.
    """

    word: str
    group: str
    text: str


@dataclass(frozen=True, slots=True)
class LookOutcome:
    """The outcome of one look.

    Attributes:
        record: to be made durable before a decision is carried out.
        decisions: in their order.
        notes: what has changed, for the log.
        readings: each limit, for people to see.
        tallies: each group, counted, in the plan's order.
        waits_for: what the rollout waits for, in words; empty only where it has ended.
    """

    record: RolloutRecord
    decisions: tuple[Decision, ...]
    notes: tuple[LogNote, ...]
    readings: tuple[LimitReading, ...]
    tallies: tuple[GroupTally, ...]
    waits_for: tuple[str, ...]
