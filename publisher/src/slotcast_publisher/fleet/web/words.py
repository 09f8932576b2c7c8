"""Numbers, sizes and times in words, as every screen says them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from slotcast_publisher.fleet.figures.figure_words import (
    count_words,
    devices_words,
    of_words,
    ratio_words,
    share_words,
    three_digits,
)

__all__ = [
    "NONE",
    "NO_TIME",
    "Clock",
    "clock_of",
    "count_words",
    "devices_words",
    "of_words",
    "ratio_words",
    "seconds_words",
    "share_words",
    "size_words",
    "span_short",
    "span_words",
    "tick_words",
]

_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_ZONE_MAX_CHARS: Final = 64
NONE: Final = "–"
"""Stands where there is no figure."""
NO_TIME: Final = Markup("–")
"""Stands where there is no time."""


def size_words(size_bytes: float) -> str:
    """Give a size in the unit in which it is read best, three digits of it."""
    for unit_bytes, unit in _SIZES:
        if size_bytes >= unit_bytes:
            return f"{three_digits(size_bytes / unit_bytes)} {unit}"
    return f"{size_bytes:.0f} B"


def seconds_words(seconds: float) -> str:
    """Give a short time, such as a latency, in the unit in which it is read best."""
    if seconds >= 100:
        return span_words(seconds)
    for unit_s, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit_s:
            return f"{three_digits(seconds / unit_s)} {unit}"
    return "0 ms" if seconds <= 0 else f"{seconds * 1e6:.2g} µs"


def tick_words(seconds: float) -> str:
    """Give a round time as it stands at an axis."""
    for unit_s, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit_s * 0.999:
            return f"{seconds / unit_s:.4g} {unit}"
    return f"{seconds * 1e6:.4g} µs"


def span_words(seconds: float) -> str:
    """Give how long something lasted, in its two largest units where the second one matters."""
    whole = max(0, round(seconds))
    for (unit_s, unit), following in zip(_SPANS, (*_SPANS[1:], None), strict=True):
        if whole < unit_s:
            continue
        number, rest = divmod(whole, unit_s)
        if following is not None and number < 10 and unit != "min" and rest >= following[0]:
            return f"{number} {unit} {rest // following[0]} {following[1]}"
        return f"{number} {unit}"
    return "0 s"


@dataclass(frozen=True, slots=True)
class Clock:
    """The time at which a page is made, and the zone in which its reader lives.

    Attributes:
        now_s: seconds since 1970.
        zone: the reader's.
        zone_name: its name, as it is shown.
    """

    now_s: float
    zone: tzinfo = UTC
    zone_name: str = "UTC"

    def at(self, at_s: float | None) -> Markup:
        """Give a point in time: the exact one on hover, and in words that the day allows."""
        found = self._datetime(at_s)
        if found is None:
            return NO_TIME
        words = found.strftime("%H:%M") if self._is_today(found) else _day(found, self._now())
        return _time(found, words)

    def exact(self, at_s: float | None) -> Markup:
        """Give a point in time to the second; with its day, unless that is today."""
        found = self._datetime(at_s)
        if found is None:
            return NO_TIME
        return _time(found, self.as_of_words(at_s))

    def as_of(self, at_s: float | None) -> Markup:
        """Give the moment of what a part shows; the script keeps it true while nothing changes."""
        found = self._datetime(at_s)
        return NO_TIME if found is None else _time(found, self.as_of_words(at_s), kind="as-of")

    def as_of_words(self, at_s: float | None) -> str:
        """Give the same as plain words."""
        found = self._datetime(at_s)
        if found is None:
            return NONE
        day = "" if self._is_today(found) else f"{_day(found, self._now())} "
        return f"{day}{found:%H:%M:%S}"

    def ago(self, at_s: float | None) -> Markup:
        """Give how long ago something was; the script keeps it true while the page is open."""
        found = self._datetime(at_s)
        if found is None or at_s is None:
            return Markup("never")
        return _time(found, span_short(self.now_s - at_s), at_s=int(at_s))

    @property
    def offset_words(self) -> str:
        """Give by how much the zone is ahead of UTC."""
        offset = self._now().utcoffset() or timedelta()
        minutes = round(offset.total_seconds() / 60)
        if not minutes:
            return "UTC"
        hours, rest = divmod(abs(minutes), 60)
        return f"UTC{'+' if minutes > 0 else '−'}{hours}{f':{rest:02}' if rest else ''}"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, self.zone)

    def _is_today(self, found: datetime) -> bool:
        return found.date() == self._now().date()

    def _datetime(self, at_s: float | None) -> datetime | None:
        """Read a time; one of a device's clock may be none at all."""
        if not at_s:
            return None
        try:
            return datetime.fromtimestamp(at_s, self.zone)
        except (ValueError, OverflowError, OSError):
            return None


def clock_of(zone: str | None, now_s: float) -> Clock:
    """Give the clock of a reader; of UTC where the zone is none that is known.

    Args:
        zone: as the reader's browser names it, such as `Europe/Berlin`.
        now_s: seconds since 1970.
    """
    if not zone or len(zone) > _ZONE_MAX_CHARS:
        return Clock(now_s)
    try:
        return Clock(now_s, ZoneInfo(zone), zone)
    except (OSError, ValueError, KeyError):  # `ZoneInfoNotFoundError` is a KeyError
        return Clock(now_s)


def span_short(seconds: float) -> str:
    """Give how long something lasted in its largest unit."""
    whole = max(0, round(seconds))
    for unit_s, unit in _SPANS:
        if whole >= unit_s:
            return f"{whole // unit_s} {unit}"
    return "0 s"


def _day(found: datetime, now: datetime) -> str:
    day = f"{found.day} {found:%b}"
    return day if found.year == now.year else f"{day} {found.year}"


def _time(found: datetime, words: str, at_s: int | None = None, kind: str = "") -> Markup:
    exact = found.isoformat(timespec="seconds")
    full = f"{found.day} {found:%b %Y, %H:%M:%S}"
    mark = f' class="{kind}"' if kind else ""
    mark = mark if at_s is None else f' class="ago" data-at="{at_s}"'
    text = f'<time datetime="{exact}" title="{full}"{mark}>{escape(words)}</time>'
    return Markup(text)  # noqa: S704 - all of it is ours
