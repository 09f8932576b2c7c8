"""Whether a device can have answered so many requests as it says, by the time that passed. Pure.

Sums over a fleet add up what devices say of themselves, and a device that lies, with a key of its
own, says what it likes. What no device can have done is not added. So no device can say so much
that the figures of all others no longer count in the sum.
"""

from __future__ import annotations

from typing import Final

from slotcast_schemas.messages import Metrics
from slotcast_schemas.messages.metrics import Summary

REQUESTS_PER_S_MAX: Final = 100_000
"""More requests than all models of a device answer in a second: the shortest latency that is told
apart is 50 us."""
BACKLOG_S: Final = 40 * 86_400.0
"""The seconds for which a device may have been offline, or be new here, with figures."""


def requests_said(metrics: Metrics) -> int:
    """Give how many requests a message speaks of, at the most that it says anywhere."""
    return sum(map(_said, metrics.summaries))


def _said(summary: Summary) -> int:
    latency = 0 if summary.latency is None else sum(summary.latency.counts)
    return max(summary.requests, summary.errors, summary.nonfinite, summary.invalid, latency)


def spend(said: int, spent: float, elapsed_s: float) -> float | None:
    """Take requests from what a device can have answered; None where that is less.

    Args:
        said: how many it says.
        spent: what it has said before, less what it may have answered since.
        elapsed_s: since it said that.

    Returns:
        What is spent now, as the next `spent`.
    """
    left = max(0.0, spent - max(0.0, elapsed_s) * REQUESTS_PER_S_MAX)
    return left + said if left + said <= BACKLOG_S * REQUESTS_PER_S_MAX else None
