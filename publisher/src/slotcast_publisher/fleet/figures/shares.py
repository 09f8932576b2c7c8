"""Shares of so many, and how sure they are.

What is shown is Wilson's score interval (E. B. Wilson, 1927): it stays within 0 and 1 and is
honest for samples of a dozen. Near 0 and for few hits its lower end is too bold (Brown, Cai,
DasGupta, Interval Estimation for a Binomial Proportion, 2001): 1 of 3 would be "surely" above
0.05. So a verdict asks the exact binomial tail as well; docs/adr/0100 has the reasons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from slotcast_schemas.probe.binomial import chance_of_at_least

_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class ShareBounds:
    """Where a true value lies, by what was seen of it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """As a share; 0 of none is 0."""
        return self.hits / self.of if self.of else 0.0

    def bounds(self, confidence: float) -> ShareBounds:
        """Give Wilson's interval."""
        return wilson(self.hits, self.of, confidence)

    def __str__(self) -> str:
        return f"{self.hits} of {self.of}"


def tail(confidence: float) -> float:
    """Give the chance that is left at either end of a two-sided interval."""
    return (1.0 - confidence) / 2.0


def wilson(hits: float, of: float, confidence: float) -> ShareBounds:
    """Give Wilson's score interval of a share.

    Args:
        hits: how many; parts of one are allowed.
        of: of how many; of none, nothing is known: 0 to 1.
        confidence: of the interval, two-sided, above 0 and below 1.
    """
    if of <= 0:
        return ShareBounds(0.0, 1.0)
    z = _NORMAL.inv_cdf(1.0 - tail(confidence))
    share = hits / of
    center = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    low = 0.0 if hits <= 0 else max(0.0, (center - half) / scale)
    high = 1.0 if hits >= of else min(1.0, (center + half) / scale)
    return ShareBounds(low, high)


def is_surely_above(share: Share, limit: float, confidence: float) -> bool:
    """Say whether the true share is above a limit, by Wilson's bound and by the exact tail.

    Args:
        share: what was seen.
        limit: as a share.
        confidence: of a two-sided interval; a wrong yes comes with half of the rest.
    """
    if share.of == 0 or share.value <= limit:
        return False
    if share.bounds(confidence).low <= limit:
        return False
    return chance_of_at_least(share.hits, share.of, limit) <= tail(confidence)


def difference(new: Share, old: Share, confidence: float) -> ShareBounds:
    """Give by how much one share is above another, independent one: Newcombe's score interval.

    R. G. Newcombe, Interval estimation for the difference between independent proportions, 1998,
    method 10: each share's own Wilson bounds, put together.

    Args:
        new: the share that may be larger.
        old: the share that it is held against.
        confidence: of the interval, two-sided.
    """
    mine, other = new.bounds(confidence), old.bounds(confidence)
    gap = new.value - old.value
    below = math.hypot(new.value - mine.low, other.high - old.value)
    above = math.hypot(mine.high - new.value, old.value - other.low)
    return ShareBounds(max(-1.0, gap - below), min(1.0, gap + above))


def chance_of_parting(hits: int, inside: int, all_hits: int, everyone: int) -> float:
    """Give the chance that a part drawn blindly holds at least so many hits (hypergeometric).

    Args:
        hits: in the part.
        inside: how many the part has.
        all_hits: in all.
        everyone: how many there are in all.
    """
    most = min(inside, all_hits)
    ways = _log_ways(everyone, inside)
    terms = (
        math.exp(_log_ways(all_hits, k) + _log_ways(everyone - all_hits, inside - k) - ways)
        for k in range(max(hits, inside - (everyone - all_hits), 0), most + 1)
    )
    return min(1.0, math.fsum(terms))


def _log_ways(of: int, chosen: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)
