"""Times as people type them: so long ago, or at that time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from slotcast_schemas.errors import UsageError

TIME_FORM: Final = "a time span such as 90s, 15m, 2h or 3d, or a time such as 2026-11-26T08:00"
"""What is expected, in words."""
_SPAN: Final = re.compile(r"(\d{1,9})\s*(s|min|m|h|d)", re.ASCII)
_UNIT_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def read_time(text: str, name: str) -> Callable[[float], int]:
    """Read a time span, or a time (of UTC, unless it says more).

    Args:
        text: as it was typed.
        name: of the option or parameter, for an error.

    Returns:
        What gives the time, in seconds since 1970, when it is told what time it is.

    Raises:
        UsageError: it is neither.
    """
    span = _SPAN.fullmatch(text.strip())
    if span is not None:
        span_s = int(span[1]) * _UNIT_S[span[2]]
        return lambda now_s: int(now_s) - span_s
    try:
        at = datetime.fromisoformat(text.strip())
        at_s = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"{name}: expected {TIME_FORM}, got {text!r:.80}") from exc
    return lambda _now_s: at_s
