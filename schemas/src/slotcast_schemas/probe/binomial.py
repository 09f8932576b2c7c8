"""The binomial distribution, for any count: what chance alone would give."""

from __future__ import annotations

import math


def chance_of_at_least(hits: int, tries: int, chance: float) -> float:
    """The chance of at least so many hits in so many tries.

    Args:
        hits: from 0 to `tries`.
        tries: any number; terms are taken by their logarithms, so none is too large.
        chance: of each hit, in [0, 1].
    """
    if hits <= 0 or chance >= 1:
        return 1.0
    if chance <= 0:
        return 0.0
    # The shorter tail: its terms are few and small, so that nothing is lost in their sum.
    if hits > tries * chance:
        return min(1.0, math.fsum(_term(k, tries, chance) for k in range(hits, tries + 1)))
    return max(0.0, 1.0 - math.fsum(_term(k, tries, chance) for k in range(hits)))


def _term(hits: int, tries: int, chance: float) -> float:
    ways = math.lgamma(tries + 1) - math.lgamma(hits + 1) - math.lgamma(tries - hits + 1)
    return math.exp(ways + hits * math.log(chance) + (tries - hits) * math.log1p(-chance))
