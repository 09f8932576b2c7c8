"""What a release says to people: what it changes, what those who run older ones should know, and
until when it is supported (as the Cyber Resilience Act, (EU) 2024/2847, Annex I, asks of updates).

It is signed with the release, and devices do nothing by it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import ADVISORY_MAX_CHARS, CHANGES

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATE_FORM: Final = "expected a date such as 2028-11-30"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a release says to people; all of it may be left out.

    Attributes:
        advisory: what those who run older releases should know.
        changes: words of `CHANGES`, each once, in their order.
        supported_until: the last second of its support, in seconds since 1970; 0 if not said.
    """

    advisory: str = ""
    changes: tuple[str, ...] = ()
    supported_until: int = 0

    def fields(self) -> dict[str, Any]:
        """Give what was said, and nothing of what was not."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value}


def make_statement(
    advisory: str, changes: tuple[str, ...] = (), supported_until: str | None = None
) -> Statement:
    """Read what somebody wants said.

    Args:
        advisory: a text of a few lines.
        changes: words of `CHANGES`.
        supported_until: the last day of its support, by UTC, such as `2028-11-30`.

    Raises:
        UsageError: a text too long or with control characters, an unknown word, no date.
    """
    text = advisory.strip()
    if len(text) > ADVISORY_MAX_CHARS:
        raise UsageError(
            f"--advisory: expected at most {ADVISORY_MAX_CHARS:,} characters, got {len(text):,}"
        )
    odd = next((char for char in text if not char.isprintable() and char != "\n"), None)
    if odd is not None:
        raise UsageError(
            f"--advisory: expected text and line ends, got {odd!r}, which nobody can see"
        )
    unknown = next((word for word in changes if word not in CHANGES), None)
    if unknown is not None:
        raise UsageError(f"changes: expected one of {', '.join(CHANGES)}, got {unknown!r:.80}")
    return Statement(
        advisory=text,
        changes=tuple(word for word in CHANGES if word in changes),
        supported_until=0 if supported_until is None else _end_of(supported_until),
    )


def check_support(statement: Statement, now_s: float) -> None:
    """Refuse to begin a release whose support is over.

    Raises:
        UsageError: it has ended before `now_s`, in seconds since 1970.
    """
    if 0 < statement.supported_until < now_s:
        day = datetime.fromtimestamp(statement.supported_until, UTC).date()
        raise UsageError(f"--supported-until: {_DATE_FORM} that has not gone by, got {day}")


def _end_of(day: str) -> int:
    """Give the last second of a day, by UTC."""
    text = day.strip()
    try:
        if not _DATE.fullmatch(text):
            raise ValueError(text)
        begins = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        ends = begins + timedelta(days=1, seconds=-1)
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"--supported-until: {_DATE_FORM}, got {day!r:.80}") from exc
    return int(ends.timestamp())
