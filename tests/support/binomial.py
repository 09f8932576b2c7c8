"""The binomial distribution by whole numbers: slow, and plainly right."""

from __future__ import annotations

import math


def exact_chance_of_at_least(hits: int, of: int, share: float) -> float:
    """Give the chance of so many hits or more in so many independent tries.

    Args:
        hits: the least number of hits.
        of: the number of tries.
        share: the chance of a hit in one try.
    """
    ways = range(hits, of + 1)
    return math.fsum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in ways)
