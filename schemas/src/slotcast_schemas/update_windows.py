"""Update windows: the times of the week in which updates may begin. Pure.

Owners write them for a device, and publishers for a rollout.
A window is `[DAYS ]HH:MM-HH:MM` in local time; DAYS are names or ranges such as
`Mon-Fri` or `Sat,Sun`, every day if left out. One that ends before it begins runs past midnight
and belongs to the day on which it begins. No windows at all means always.
A device's are asked by `slotcast_device.owner.owner`, a rollout's by
`slotcast_publisher.fleet.rollout.group_progress`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from slotcast_schemas.errors import UsageError

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
"""The names of the days in a window's text, in the order of the week."""
DAY_MINUTES: Final = 24 * 60
"""The minutes of a day."""
WEEK_MINUTES: Final = 7 * DAY_MINUTES
"""The minutes of a week."""
_WINDOW: Final = re.compile(
    r"(?:(?P<days>[A-Za-z,-]+) )?(?P<h1>\d\d):(?P<m1>\d\d)-(?P<h2>\d\d):(?P<m2>\d\d)"
)
"""How the text of a window looks: perhaps days, then from and until when."""


class UpdateWindow(msgspec.Struct, frozen=True):
    """Minutes of the week, Monday 00:00 first: opens at `start`, open for `length` minutes."""

    start: int
    length: int

    def minutes_until_open(self, minute: int) -> int:
        """Give how long until it opens; 0 while it is open."""
        since = (minute - self.start) % WEEK_MINUTES
        return 0 if since < self.length else WEEK_MINUTES - since


def parse_windows(texts: Sequence[str]) -> tuple[UpdateWindow, ...]:
    """Read windows from the configuration.

    Raises:
        UsageError: a text that is no window; it says what is expected.
    """
    return tuple(window for text in texts for window in _parse(text))


def _parse(text: str) -> list[UpdateWindow]:
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise _wrong(text)
    start = _minute(match["h1"], match["m1"], text)
    end = _minute(match["h2"], match["m2"], text)
    length = (end - start) % DAY_MINUTES or DAY_MINUTES
    return [UpdateWindow(day * DAY_MINUTES + start, length) for day in _days(match["days"], text)]


def _minute(hour: str, minute: str, text: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > DAY_MINUTES:
        raise _wrong(text)
    return value


def _days(text: str | None, window: str) -> list[int]:
    if text is None:
        return list(range(7))
    found: list[int] = []
    for part in text.split(","):
        names = [name.capitalize() for name in part.split("-")]
        if not 1 <= len(names) <= 2 or any(name not in DAYS for name in names):
            raise _wrong(window)
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        found += [(first + i) % 7 for i in range((last - first) % 7 + 1)]
    return sorted(set(found))


def _wrong(text: str) -> UsageError:
    return UsageError(
        f"update window: expected such as '02:00-04:30' or 'Sat,Sun 00:00-24:00', got {text!r}"
    )


def wait_s(windows: Sequence[UpdateWindow], now: datetime) -> float:
    """Give the seconds until a window is open; 0 if one is, or if there are none.

    Args:
        windows: of the configuration.
        now: the device's local time.
    """
    minutes = minutes_until_open(windows, now.weekday() * DAY_MINUTES + now.hour * 60 + now.minute)
    return 0.0 if minutes == 0 else minutes * 60.0 - now.second


def minutes_until_open(windows: Sequence[UpdateWindow], minute: int) -> int:
    """Give the minutes until a window is open; 0 if one is, or if there are none.

    Args:
        windows: as they were read.
        minute: of the week, Monday 00:00 first.
    """
    return min((window.minutes_until_open(minute) for window in windows), default=0)
