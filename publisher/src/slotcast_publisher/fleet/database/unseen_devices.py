"""After how long a device that is offline counts as not seen, wherever it is counted or listed.

What a rollout waits for has a time of its own, `unseen_s` of its plan; so has the alarm.
"""

from __future__ import annotations

from typing import Final

UNSEEN_S: Final = 7 * 86_400
"""The seconds since a device was heard of."""


def unseen_since_s(now_s: float) -> int:
    """Give the time, in seconds since 1970, before which it was heard of last."""
    return int(now_s) - UNSEEN_S


def presence_word(*, is_online: bool, seen_s: float, now_s: float) -> str:
    """Say whether a device is there.

    Args:
        is_online: whether its broker holds a connection of it.
        seen_s: when it was heard of last, in seconds since 1970.
        now_s: seconds since 1970.
    """
    if is_online:
        return "online"
    return "not seen" if now_s - seen_s >= UNSEEN_S else "offline"
