"""Holds this machine's clock against what was signed before: a wrong date must not be signed.

Signed dates decide what devices believe. A clock that was set back signs what devices refuse as
expired; one that is decades ahead signs dates that devices keep as a lower bound of time, and by
which everything signed later looks old. So signing asks here first (docs/trust.md).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from slotcast_publisher.errors import ClockWrong

EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""The earliest day that a right clock can say: before it this software did not exist. A clock
without a battery starts at 1970, 2000 or so."""

LATEST: Final = datetime(2046, 1, 1, tzinfo=UTC)
"""The latest day that is believed: nobody runs this release for twenty years, and a root counts for
ten (`root_days`)."""

BACK_MAX: Final = timedelta(days=1)
"""How far two machines' clocks, or a wrong time zone, may differ; within it the later time is
signed."""

AHEAD_MAX: Final = timedelta(days=5 * 365)
"""The longest that a repository rests: no longer than its release roles count by default
(`release_days`)."""

_ADVICE: Final = (
    "nothing was signed. Set this machine's clock; if it is right, say so with"
    " `slotcast refresh REPO --clock-is-right`"
)


def signing_time(now: datetime, last: datetime | None, *, is_right: bool = False) -> datetime:
    """Give the time to sign with: now, or the last signature's if the clock is a little behind it.

    Args:
        now: what the clock says.
        last: when the repository's newest signature was made, if that is known.
        is_right: the owner says that the clock is right, whatever was signed before.

    Raises:
        ClockWrong: the clock is off by decades, or contradicts the last signature.
    """
    if not EARLIEST <= now <= LATEST:
        raise ClockWrong(
            f"this machine's clock says {_day(now)}; expected a day from {_day(EARLIEST)} to"
            f" {_day(LATEST)}. Nothing was signed; set the clock"
        )
    if last is None or is_right:
        return now
    if now < last - BACK_MAX:
        raise ClockWrong(
            f"this machine's clock says {_day(now)}, and this repository was signed on"
            f" {_day(last)} already: {_ADVICE}"
        )
    if now > last + AHEAD_MAX:
        raise ClockWrong(
            f"this machine's clock says {_day(now)}, and this repository was last signed on"
            f" {_day(last)}, more than {AHEAD_MAX.days // 365} years before: {_ADVICE}"
        )
    return max(now, last)


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d")
