"""Log-linear buckets of latency, as HdrHistogram has them: 16 for each doubling.

128 ns to 69 s in 416 buckets, each at most 6 % wide, found by shifting, without a search.
Also translates other histograms into these, and these into the coarser ones that are sent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from slotcast_schemas import limits
from slotcast_schemas.messages.metrics import Latency

_UNIT_SHIFT: Final = 7
"""Latencies are counted in units of 2 to this power of nanoseconds, 128 ns."""
_SUB_BITS: Final = 4
"""Each doubling has 2 to this power of buckets, 16, so that a bucket is at most 6 % wide."""
_SHIFT_MAX: Final = 24
"""The number of doublings past the first 32 buckets: 2^24 times 32 units of 128 ns are 69 s."""
BUCKETS: Final = (_SHIFT_MAX << _SUB_BITS) + (2 << _SUB_BITS)
"""The number of buckets; the last one counts what is longer than all bounds."""

WIRE_BOUNDS_S: Final = tuple(50e-6 * 2 ** (i / 3) for i in range(64))
"""The bounds, in seconds, of the histogram that is sent: a third of a doubling each, 50 us to 105
s."""


SECONDS_MAX: Final = 1e9
"""The most seconds that a message holds; applications may report more, all together."""


def bucket_of(latency_ns: int) -> int:
    """Give the bucket that counts this latency; the last one counts all that is longer."""
    units = latency_ns >> _UNIT_SHIFT
    shift = units.bit_length() - (_SUB_BITS + 1)
    if shift <= 0:
        return units
    if shift > _SHIFT_MAX:
        return BUCKETS - 1
    return (shift << _SUB_BITS) + (units >> shift)


def _upper_bound_ns(bucket: int) -> int:
    """Give the first latency, in nanoseconds, that is too long for this bucket."""
    low = 2 << _SUB_BITS
    if bucket < low:
        return (bucket + 1) << _UNIT_SHIFT
    shift = (bucket >> _SUB_BITS) - 1
    mantissa = bucket - (shift << _SUB_BITS)
    return (mantissa + 1) << shift << _UNIT_SHIFT


BOUNDS_S: Final = tuple(_upper_bound_ns(bucket) / 1e9 for bucket in range(BUCKETS - 1))
"""The upper bound of each bucket but the last, in seconds."""


def rebucket(
    bounds_s: Sequence[float], counts: Sequence[int], into_s: Sequence[float]
) -> list[int]:
    """Translate counts into other bounds; a bucket goes whole to where its upper bound lies.

    Args:
        bounds_s: the upper bound of each bucket but the last, in seconds, rising.
        counts: one for each bucket, at most one more than there are bounds.
        into_s: the bounds of the result, likewise.

    Returns:
        One count for each of the new buckets: one more than there are bounds in `into_s`.
    """
    result = [0] * (len(into_s) + 1)
    for index, count in enumerate(counts):
        if count:
            is_last = index >= len(bounds_s)
            result[len(into_s) if is_last else bisect_left(into_s, bounds_s[index])] += count
    return result


def quantile_s(counts: Sequence[int], share: float, max_s: float) -> float | None:
    """Give the latency that a share of the requests do not exceed; None without requests.

    Between a bucket's bounds it is interpolated, and never above the longest latency that was seen.

    Args:
        counts: requests by bucket, of `BOUNDS_S`.
        share: from 0 to 1.
        max_s: the longest latency, in seconds; 0 where it is not known.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank = share * total
    for index, below in enumerate(accumulate(counts)):
        if below >= rank and counts[index]:
            if index >= len(BOUNDS_S):
                return max_s
            low_s = BOUNDS_S[index - 1] if index else 0.0
            part = (rank - (below - counts[index])) / counts[index]
            return min(low_s + (BOUNDS_S[index] - low_s) * part, max_s or BOUNDS_S[index])
    return max_s


def latency(counts: Sequence[int], sum_s: float, max_s: float) -> Latency | None:
    """Build what is sent of a histogram; None without requests.

    Args:
        counts: requests by bucket, of `BOUNDS_S`.
        sum_s: all latencies added up, in seconds.
        max_s: the longest of them, in seconds.
    """
    quantiles = [quantile_s(counts, share, max_s) for share in (0.5, 0.95, 0.99)]
    p50_s, p95_s, p99_s = quantiles
    if p50_s is None or p95_s is None or p99_s is None:
        return None
    coarse = rebucket(BOUNDS_S, counts, WIRE_BOUNDS_S)
    return Latency(
        p50_s=p50_s,
        p95_s=p95_s,
        p99_s=p99_s,
        max_s=max_s,
        sum_s=min(sum_s, SECONDS_MAX),
        bounds_s=WIRE_BOUNDS_S,
        counts=tuple(min(count, limits.SAFE_INTEGER_MAX) for count in coarse),
    )
