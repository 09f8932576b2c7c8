"""Whether a message is newer than what is known of a device, by its counter. Pure.

A status with a higher counter counts, any other changes nothing: so messages may be lost, late or
doubled (docs/wire.md, 6). Metrics are sums over windows of time that are added up, so of them each
counts once, in any order, as far back as `LATE_MAX` messages.

A counter that cannot be is not believed, for it would silence the device for good.
"""

from __future__ import annotations

from typing import Final

from slotcast_publisher.fleet.intake.messages import Drop

COUNTS_PER_S_MAX: Final = 1_000_000
"""The fastest that a device is believed to count: by the microseconds of its clock."""

CLOCK_COUNTS_PER_S: Final = 1_000
"""How fast a device of ours counts whose disk fails: by the milliseconds of its clock."""

_ROOM_S: Final = 86_400.0
"""The seconds of counting that may go beyond what the clocks say: clocks are set, and they
drift."""

LATE_MAX: Final = 63
"""The number of messages that metrics may come late by: the bits of a mask that a database holds as
a signed integer."""

_MASK: Final = (1 << LATE_MAX) - 1
"""The bits that say which of the last counters came."""


def is_possible(counter: int, known: int, elapsed_s: float, device_time_s: int) -> bool:
    """Say whether a device can have counted this far.

    Args:
        counter: of the message.
        known: the highest that was seen, below `counter`.
        elapsed_s: since something was heard of the device, by the clock of this machine.
        device_time_s: what the message says that the time is.
    """
    if counter - known <= COUNTS_PER_S_MAX * (max(elapsed_s, 0.0) + _ROOM_S):
        return True
    return is_counted_by_clock(counter, device_time_s)


def is_counted_by_clock(counter: int, device_time_s: int) -> bool:
    """Say whether a counter is as one of a device of ours whose disk failed.

    Args:
        counter: of the message.
        device_time_s: what the message says that the time is.
    """
    return abs(counter - device_time_s * CLOCK_COUNTS_PER_S) <= _ROOM_S * CLOCK_COUNTS_PER_S


def take_number(counter: int, known: int | None, seen: int) -> tuple[int, int] | Drop:
    """Take the counter of a message that may come late, but counts once.

    Args:
        counter: of the message.
        known: the highest that was seen; None before the first.
        seen: bit i is set where `known - 1 - i` was seen.

    Returns:
        The highest now and the bits that go with it, or why the message changes nothing.
    """
    if known is None:
        return counter, 0
    if counter > known:
        shift = min(counter - known, LATE_MAX + 1)
        return counter, ((seen << shift) | (1 << (shift - 1))) & _MASK
    place = known - counter - 1
    if place >= LATE_MAX:
        return Drop.OLDER_COUNTER
    if place < 0 or seen >> place & 1:
        return Drop.REPEATED
    return known, seen | 1 << place
