"""The log of `serve`: lines for people on a terminal, one JSON object a line for programs.

An event is a word with fields; structlog makes the line of it, by a chain of steps that stand in
`_STEPS`. Two promises are ours:

- *Text of devices is data.* In text it is made printable and put in quotes, so that it can neither
  begin a line, nor move the terminal, nor look like another field; in JSON it is escaped to ASCII.
- *Nobody waits for a reader.* Whoever logs puts a line into a bounded queue, and a thread of its
  own writes it. A reader that stalls costs lines, which are counted and said (`log_dropped`); one
  that went away, or a disk that is full, costs all lines and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import re
import select
import threading
import time
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol, Self

import structlog
from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter

from slotcast_schemas.printable import printable
from slotcast_schemas.redact import hide_passwords

FIRST_FIELDS: Final = ("broker", "device", "model", "rollout")
"""What a line is about, in the order in which it says so; a line has those that it knows."""

_LEVELS: Final = {
    "error": "error",
    "deaf": "warning",
    "deaf_to_devices": "warning",
    "disconnected": "warning",
    "keeps_nothing": "warning",
    "log_dropped": "warning",
    "look_cut": "warning",
    "newer_notice": "warning",
    "no_wildcards": "warning",
    "over_budget": "warning",
    "renewals_over_budget": "warning",
    "replaced_false": "warning",
}
"""How urgent an event is; `info` where it is not listed and no `level` is given."""

_WAITING_MAX: Final = 2_000
"""The most lines that wait to be written."""

_TEXT_MAX_CHARS: Final = 2_000
"""The most characters of one text in a line."""

_TRACE_MAX_CHARS: Final = 1_500
"""The most characters of an error's trace, which has to fit into a line with all else."""

_LISTED_MAX: Final = 20
"""The most items of a list that a line for people shows."""

_DEPTH_MAX: Final = 4
"""How many lists and tables within each other are shown."""

_CLOSE_S: Final = 2.0
"""The seconds that a reader has to take the last lines in, while it takes none."""

_CLOSE_MAX_S: Final = 30.0
"""The seconds that the last lines have in all, where reading is slow, or the machine busy."""

_TICK_S: Final = 0.05
"""Between two looks whether the last lines are written, in seconds."""

_BARE: Final = re.compile(r"[^\s\"'=]+")
"""A value of which nobody can think that it is two."""

_TIME_COLOR: Final = "\x1b[2m"
_KEY_COLOR: Final = "\x1b[36m"
_EVENT_COLOR: Final = "\x1b[1m"
_RESET: Final = "\x1b[0m"
_LEVEL_COLORS: Final = {"info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}


class Say(Protocol):
    """Takes one line of the log."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Log an event with its fields; `device`, `model` and `rollout` name what it is about."""


class Log:
    """A log that is written by a thread of its own; a context manager.

    Attributes:
        lost: the first error of writing to it; None while all went well.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        as_json: bool,
        colors: bool = False,
        encoding: str = "utf-8",
        close_s: float = _CLOSE_S,
    ) -> None:
        """Begin.

        Args:
            descriptor: of the open file that lines are written to; it is not closed.
            as_json: whether programs are to read it.
            colors: whether lines for people have colours.
            encoding: of lines for people; those for programs are ASCII.
            close_s: the seconds that a reader has to take the last lines in, while it takes none.
        """
        self.lost: OSError | None = None
        self._lines = _Lines(descriptor, encoding, close_s)
        last = _to_json if as_json else _people(colors=colors)
        self._logger: Any = structlog.wrap_logger(
            self._lines,
            processors=[*(_STEPS if as_json else (*_STEPS, _local_time)), last],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
        )

    def say(self, event: str, **fields: Any) -> None:
        """Log an event; never waits, from any thread."""
        level = fields.pop("level", None) or _LEVELS.get(event, "info")
        if self._lines.has_room() and (dropped := self._lines.take_dropped()):
            self._logger.msg("log_dropped", level=_LEVELS["log_dropped"], lines=dropped)
        self._logger.msg(event, level=level, **fields)

    def close(self) -> None:
        """Write what waits, as far as a reader takes it within a moment."""
        self._lines.close()
        self.lost = self._lines.lost

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class LibraryLines(logging.Handler):
    """Hands warnings of libraries to the log, where their texts are data like any other."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; what cannot be put into words is dropped."""
        with contextlib.suppress(TypeError, ValueError):
            level = "error" if record.levelno >= logging.ERROR else "warning"
            fields = {"library": record.name, "detail": record.getMessage()}
            trace = {"trace": _trace_of(record.exc_info[1])} if record.exc_info else {}
            self._say("library", level=level, **fields, **trace)


def _trace_of(exc: BaseException | None) -> str:
    """Say where an error came from: the end of its trace, which names the place and the error."""
    return "".join(traceback.format_exception(exc)).rstrip()[-_TRACE_MAX_CHARS:]


# --- the steps from an event to a line ------------------------------------------------------------


def _plain_fields(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Make every value a plain one, bounded, without passwords."""
    del logger, method
    return {key: _plain(value) for key, value in event.items()}


def _plain(value: object, depth: int = 0) -> object:
    match value:
        case bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return value.hex()
        case Mapping() | list() | tuple() | set() | frozenset() if depth >= _DEPTH_MAX:
            return "…"
        case Mapping():
            return {_text(key): _plain(item, depth + 1) for key, item in value.items()}
        case set() | frozenset():
            return sorted(_text(item) for item in value)
        case list() | tuple():
            return [_plain(item, depth + 1) for item in value]
        case _:
            return _text(value)


def _text(value: object) -> str:
    text = hide_passwords(str(value))
    left = len(text) - _TEXT_MAX_CHARS
    return f"{text[:_TEXT_MAX_CHARS]}… ({left} more characters)" if left > 0 else text


def _ordered(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put first when it was, what it is, and what it is about."""
    del logger, method
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    first = {"time": now, "level": event.pop("level"), "event": event.pop("event")}
    about = {name: event.pop(name) for name in FIRST_FIELDS if name in event}
    return {**first, **about, **event}


_STEPS: Final = (_plain_fields, _ordered)
"""What comes before a line is laid out for its reader."""


def _to_json(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    """Give one JSON object in ASCII: no character of it does anything on a terminal."""
    del logger, method
    return json.dumps(event).replace("\x7f", "\\u007f")  # the one that JSON leaves as it is


def _local_time(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Say the time as the clock on the wall does."""
    del logger, method
    event["time"] = f"{datetime.now(UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    return event


def _people(*, colors: bool) -> ConsoleRenderer:
    def color(code: str) -> str:
        return code if colors else ""

    def column(name: str, code: str, width: int = 0) -> Column:
        return Column(
            name,
            KeyValueColumnFormatter(
                key_style=None,
                value_style=color(code),
                reset_style=color(_RESET),
                value_repr=str,
                width=width,
            ),
        )

    def level(key: str, value: object) -> str:
        del key
        return f"{color(_LEVEL_COLORS.get(str(value), ''))}{value!s:<7}{color(_RESET)}"

    others = KeyValueColumnFormatter(
        key_style=color(_KEY_COLOR),
        value_style="",
        reset_style=color(_RESET),
        value_repr=_shown,
    )
    return ConsoleRenderer(
        columns=[
            column("time", _TIME_COLOR),
            Column("level", level),
            column("event", _EVENT_COLOR, width=12),
            Column("", others),
        ],
        sort_keys=False,
    )


def _shown(value: object) -> str:
    """Give a value for people, in quotes where it could be taken for more than one."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list():
            left = len(value) - _LISTED_MAX
            items = [_shown(item) for item in value[:_LISTED_MAX]]
            return ",".join([*items, f"… ({left} more)"] if left > 0 else items) or "none"
        case dict():
            return "{" + " ".join(f"{_shown(k)}:{_shown(v)}" for k, v in value.items()) + "}"
        case _:
            text = printable(str(value))
            return text if _BARE.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


# --- the thread that writes -----------------------------------------------------------------------


class _Lines:
    """Writes lines to a descriptor, by a thread of its own; structlog's logger of last resort."""

    def __init__(self, descriptor: int, encoding: str, close_s: float) -> None:
        self.lost: OSError | None = None
        self._descriptor = descriptor
        self._encoding = encoding
        self._close_s = close_s
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING_MAX)
        self._dropped = 0
        self._lock = threading.Lock()
        self._is_torn = False
        self._is_left = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def msg(self, line: str) -> None:
        """Take a line; one that finds no room is counted."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            with self._lock:
                self._dropped += 1

    def close(self) -> None:
        """End the thread; what a reader does not take in time is dropped.

        A thread that gets no processor is not a reader that stalls: it is waited for.
        """
        latest_s = time.monotonic() + _CLOSE_MAX_S
        stalled_s, is_told = 0.0, False
        while self._thread.is_alive():
            if is_told:
                self._thread.join(_TICK_S)
            else:
                is_told = self._tell_end()
            stalled_s = 0.0 if self._takes() else stalled_s + _TICK_S
            if stalled_s >= self._close_s or time.monotonic() > latest_s:
                self._is_left = True  # a reader that comes later gets nothing more
                return

    def _tell_end(self) -> bool:
        """Put the end behind all lines; False where there is no room yet."""
        try:
            self._waiting.put(None, timeout=_TICK_S)
        except queue.Full:
            return False
        return True

    def _takes(self) -> bool:
        """Say whether the reader, or the disk, would take a line now, or refuse it at once."""
        looked = select.poll()
        looked.register(self._descriptor, select.POLLOUT)
        return bool(looked.poll(0))

    def has_room(self) -> bool:
        """Say whether a line would be taken now."""
        return not self._waiting.full()

    def take_dropped(self) -> int:
        """Give how many lines found no room since this was asked last."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def _run(self) -> None:
        while not self._is_left and (line := self._waiting.get()) is not None:
            self._write(line)

    def _write(self, line: str) -> None:
        if isinstance(self.lost, BrokenPipeError):
            return  # whoever read it went away, for good
        start = "\n" if self._is_torn else ""
        left = memoryview(f"{start}{line}\n".encode(self._encoding, "backslashreplace"))
        whole = len(left)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as exc:
            self.lost = self.lost or exc
            self._is_torn = self._is_torn or len(left) < whole
        else:
            self._is_torn = False
