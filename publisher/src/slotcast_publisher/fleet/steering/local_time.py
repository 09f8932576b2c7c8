"""The time in a plan's zone, which its windows are in."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime

from slotcast_schemas.errors import UsageError


def offset_s(time_zone: str, wall_s: float) -> int:
    """Give what a time zone is ahead of UTC at a time, summer time included.

    Args:
        time_zone: such as `Europe/Berlin`.
        wall_s: seconds since 1970.

    Raises:
        UsageError: this machine does not know the zone.
    """
    try:
        zone = zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise UsageError(
            f"time_zone: expected a name such as Europe/Berlin or UTC that this machine knows (its"
            f" package tzdata), got {time_zone!r}"
        ) from exc
    ahead = datetime.fromtimestamp(wall_s, UTC).astimezone(zone).utcoffset()
    return 0 if ahead is None else int(ahead.total_seconds())
