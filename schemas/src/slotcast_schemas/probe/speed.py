"""Is the candidate too slow beside the active model? A test, with its confidence. Pure.

A round gives what a run of each model took at best. The ratios of the rounds are compared with the
limit by the sign test: half of all ratios lie below their median, so too few or too many below the
limit cannot be chance. Nothing is assumed of how times are distributed. Why so: docs/adr/0050.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Final, Literal, Self

import msgspec

from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe.binomial import chance_of_at_least

NOISE_S: Final = 200e-6
"""A run may take this much longer than the active model's whatever the ratio."""

ROUNDS_MIN: Final = 10
ROUNDS_MAX: Final = 64
"""The rounds after which a candidate can be judged, and after which it is in any case."""

FINE_RISK: Final = 1e-3
"""Chance that a candidate at the limit is taken for fast enough: ten rounds of ten."""
SLOW_RISK: Final = 1e-4
"""Chance that a candidate at the limit is taken for too slow; it is looked at for longer."""
FEW_ROUNDS: Final = 3
"""Where the time is over before ten rounds, as many as this must agree."""

TAIL: Final = 0.95
"""Of a candidate's runs, what `max_latency_p95_s` is a limit for."""

Round = tuple[float, float]
"""What a run took, in seconds: the candidate's, and the active model's."""

Outcome = Literal["fine", "slow", "open"]


class Speed(msgspec.Struct, frozen=True):
    """What the rounds say.

    Attributes:
        outcome: `open` means: not decided, more rounds may.
        active_s: what a run of the active model took, the median of the rounds.
        ratio: how many times as long the candidate's took, the median of the rounds.
        low, high: the median of ever more rounds would lie between these.
        confidence: how surely.
        rounds: how many there were.
    """

    outcome: Outcome
    active_s: float
    ratio: float
    low: float
    high: float
    confidence: float
    rounds: int

    def text(self) -> str:
        """For the evidence: the ratio with its interval."""
        sure = f"{100 * self.confidence:.2f}".rstrip("0").rstrip(".")
        return (
            f"{self.ratio:.2f} x the active model, {sure} % sure of {self.low:.2f} to"
            f" {self.high:.2f}, {self.rounds} rounds"
        )


class Seen(msgspec.Struct, frozen=True):
    """What some rounds gave.

    Attributes:
        count: rounds that counted.
        rounds: candidate beside active model; empty where there is no active one.
        times_s: every run of the candidate that counted.
        active_times_s: of the active model.
    """

    count: int
    rounds: list[Round]
    times_s: list[float]
    active_times_s: list[float]

    @classmethod
    def of(cls, held: Sequence[Sequence[Sequence[float]]]) -> Self:
        """Put rounds together.

        Args:
            held: by round, by model (the candidate first), the runs that count; a round in which
                a model has none does not count.
        """
        whole = [turns for turns in held if all(turns)]
        pairs = [(min(turns[0]), min(turns[1])) for turns in whole if len(turns) > 1]
        mine, theirs = (
            [time_s for turns in held for turn in turns[at : at + 1] for time_s in turn]
            for at in (0, 1)
        )
        return cls(len(whole), pairs, mine, theirs)

    def is_decided(self, probe: Probe) -> bool:
        """Whether more rounds would not change what the limits make of it."""
        ratio, most_s = probe.max_latency_ratio, probe.max_latency_p95_s
        if self.rounds and ratio is not None:
            is_open = judge_rounds(self.rounds[:ROUNDS_MAX], ratio).outcome == "open"
            if is_open:
                return False
        if most_s is None or is_surely_above(self.times_s, most_s, TAIL):
            return True
        return quantile_s(self.times_s, TAIL) <= most_s


def quantile_s(times_s: Sequence[float], share: float) -> float:
    """The time that `share` of the runs do not exceed; of at least one run."""
    return sorted(times_s)[math.ceil(share * len(times_s)) - 1]


def judge_rounds(rounds: Sequence[Round], limit: float, *, is_over: bool = False) -> Speed:
    """Compare candidate and active model.

    Args:
        rounds: at least one.
        limit: the ratio from which on the candidate is too slow.
        is_over: there will be no more rounds; a few that agree must do, if there are no more.
    """
    ratios = sorted(_ratio(*times) for times in rounds)
    fine_low, fine_high = _interval(ratios, FINE_RISK)
    slow_low, slow_high = _interval(ratios, SLOW_RISK)
    outcome: Outcome = "open"
    low, high, risk = slow_low, slow_high, SLOW_RISK
    if fine_high < limit:
        outcome, low, high, risk = "fine", fine_low, fine_high, FINE_RISK
    elif slow_low > limit:
        outcome = "slow"
    elif is_over and FEW_ROUNDS <= len(ratios) < ROUNDS_MIN:
        low, high, risk = ratios[0], ratios[-1], 0.5 ** len(ratios)
        outcome = "fine" if high < limit else "slow" if low > limit else "open"
    return Speed(
        outcome=outcome,
        active_s=_median(sorted(theirs for _, theirs in rounds)),
        ratio=_median(ratios),
        low=low,
        high=high,
        confidence=1 - risk,
        rounds=len(ratios),
    )


def is_surely_above(times_s: Sequence[float], limit_s: float, share: float) -> bool:
    """Whether more than `1 - share` of all runs take longer than the limit: no chance could do it.

    Args:
        times_s: of some runs.
        limit_s: what `share` of all runs shall not exceed.
        share: such as 0.95.
    """
    above = sum(time_s > limit_s for time_s in times_s)
    return chance_of_at_least(above, len(times_s), 1 - share) <= SLOW_RISK


def _ratio(candidate_s: float, active_s: float) -> float:
    """Times of which the difference is noise count as alike."""
    ratio = candidate_s / max(active_s, 1e-9)
    return min(ratio, 1.0) if candidate_s - active_s <= NOISE_S else ratio


def _interval(ratios: Sequence[float], risk: float) -> tuple[float, float]:
    """Bounds of the median, each missed with this chance at most; infinite while too few."""
    outside = _outside(len(ratios), risk)
    if not outside:
        return 0.0, math.inf
    return ratios[outside - 1], ratios[len(ratios) - outside]


@cache
def _outside(count: int, risk: float) -> int:
    """How many of the lowest, and of the highest, may be left out at this risk."""
    outside = 0
    while outside < count // 2 and chance_of_at_least(count - outside, count, 0.5) <= risk:
        outside += 1
    return outside


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
