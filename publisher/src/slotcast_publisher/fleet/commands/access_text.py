"""How commands name who runs them, and times of users and tokens for people."""

from __future__ import annotations

from datetime import UTC, datetime

from slotcast_publisher.fleet.access.audit import Actor
from slotcast_publisher.fleet.steering.requests import this_person


def this_actor() -> Actor:
    """Name whoever runs this command, for the audit log."""
    return Actor(this_person(), "command")


def time_words(at_s: int | None, never: str) -> str:
    """Give a time on this machine's clock.

    Args:
        at_s: seconds since 1970; None for never.
        never: what is said then.
    """
    if at_s is None:
        return never
    return f"{datetime.fromtimestamp(at_s, UTC).astimezone():%Y-%m-%d %H:%M}"
