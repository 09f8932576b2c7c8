"""The agent's log: lines for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

Format = Literal["text", "json"]
"""How a line of the log is written."""
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""How a line of text is laid out (`logging.Formatter`)."""
FACTS: Final = "facts"
"""The name of what a line has beside its words: `extra={FACTS: {...}}`."""


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, and the facts of the line."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        when = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FACTS, {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def set_up_log(level: str, kind: Format) -> None:
    """Have everything logged to standard error from now on.

    Args:
        level: a name of the logging module, in lower case.
        kind: for whom the lines are.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if kind == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
