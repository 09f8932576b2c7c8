"""Whether the new release fails a larger share than the old one, or whether that is chance.

Both shares are of samples, of 30 requests perhaps, and a trial is looked at again and again: a
share that is above its limit by a little chance would roll good releases back. So a share counts
against a release only where it is above its limit *and* differs from the old release's by more
than chance. Chance is how likely the figures of both are if both have the same true share
(Chernoff's bound on both tails; the larger the samples, the less is forgiven). Without an old
release it is how likely so many failures are if the true share is the one that is allowed (the
binomial tail). Pure.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

SURE: Final = -math.log(1 / 100_000)
"""The doubt at which the release fails at any look: a trial has hundreds, a fleet thousands of
trials. At one in a thousand, two in a thousand good releases of applications that fail 5 % were
rolled back (docs/reliability.md)."""
SURE_AT_LAST: Final = -math.log(1 / 1000)
"""The doubt at which it fails at its deadline, which is one look."""
SUSPECT: Final = -math.log(1 / 20)
"""The doubt, one in twenty, with which no trial passes: it goes on until the figures are clear."""
ENOUGH: Final = 1000
"""The number of requests of the old release of which none failed that makes one failure of the new
one too many, where none is allowed. Where 5 % fail, 100 requests pass without a failure once in 170
times."""
_STEPS: Final = 60
"""The number of times that the search for the likeliest common share leaves out a third of its
range: 3e-11 of it is left then."""
_ROUNDING: Final = 1e-12
"""What sums of shares may be off by, as floats."""


class Share(msgspec.Struct, frozen=True):
    """So many of so many failed."""

    failed: int
    of: int

    @property
    def value(self) -> float:
        """The share; 0 of none is 0."""
        return self.failed / self.of if self.of else 0.0


def doubt(new: Share, old: Share, allowed: float) -> float:
    """Give how much speaks against the new release: minus the log of how likely its figures are.

    Args:
        new: of the release on trial.
        old: of the one before; 0 of 0 where there is none.
        allowed: by how much the new share may be above the old one.
    """
    if new.value <= old.value + allowed + _ROUNDING:
        return 0.0
    if not allowed and not old.failed and (not old.of or old.of >= ENOUGH):
        return math.inf
    if old.of:
        cost = _find_cost_of_one_share(new, old)
    else:  # compared with what is allowed; above that no trial passes
        cost = max(_weigh_tail(new, allowed), 2 * SUSPECT)
    return cost if new.failed > 1 else min(cost, 2 * SUSPECT)


def _weigh_tail(seen: Share, true: float) -> float:
    """Give minus the log of the chance of so many failures or more, where more than `true` failed.

    The chance is bounded from above by a geometric series: its first term, and the ratio of its
    first two (Feller, An Introduction to Probability Theory I, VI.3). For shares this small the
    bound is close.
    """
    passed = seen.of - seen.failed
    ways = math.lgamma(seen.of + 1) - math.lgamma(seen.failed + 1) - math.lgamma(passed + 1)
    first = ways + seen.failed * math.log(true) + passed * math.log1p(-true)
    ratio = passed * true / ((seen.failed + 1) * (1 - true))
    return math.log1p(-ratio) - first


def _find_cost_of_one_share(new: Share, old: Share) -> float:
    """Give what the likeliest common share costs; the cost is convex between the two seen."""
    low, high = old.value, new.value
    for _ in range(_STEPS):
        third = (high - low) / 3
        left, right = low + third, high - third
        if _weigh_against(old, left) + _weigh_against(new, left) < _weigh_against(
            old, right
        ) + _weigh_against(new, right):
            high = right
        else:
            low = left
    return _weigh_against(old, high) + _weigh_against(new, high)


def _weigh_against(seen: Share, share: float) -> float:
    """Give how much what was seen speaks against a true share: many times the relative entropy."""
    return seen.of * (_weigh_part(seen.value, share) + _weigh_part(1 - seen.value, 1 - share))


def _weigh_part(seen: float, true: float) -> float:
    if seen <= 0:
        return 0.0
    return math.inf if true <= 0 else seen * math.log(seen / true)
