"""Text of others as a person may be shown it: it cannot start a line, move the cursor or turn.

Names, details and tags come from devices, and from whoever writes to a broker. On a terminal, or in
a line of a log, a newline begins a line of its own, ESC moves the cursor or colours what follows,
and marks of writing direction show text backwards (CVE-2021-42574). Each such character is shown
as its escape instead.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_MARKS_MAX: Final = 2
"""The most combining marks on one letter that are shown as they are; more of them reach into the
lines above and below."""


def printable(text: str, chars_max: int | None = None) -> str:
    r"""Give a text in which what cannot be seen, or moves what is seen, is shown as an escape.

    What stays is what Unicode holds for printable (`str.isprintable`): letters of every script,
    digits, signs and the common space. What goes are control characters, marks of direction, soft
    and zero-width signs, line and paragraph separators, halves of surrogate pairs. A backslash
    stays as it is, so an escape that somebody typed looks like one of ours.

    Args:
        text: what somebody else wrote.
        chars_max: so many characters of the text are shown, and then how many are left.
    """
    left = 0 if chars_max is None else max(0, len(text) - chars_max)
    shown = text[: len(text) - left]
    if not shown.isprintable() or not shown.isascii():
        shown = "".join(_shown_characters(shown))
    return f"{shown}… ({left} more characters)" if left else shown


def _shown_characters(text: str) -> list[str]:
    marks = 0
    shown = []
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        is_fine = character.isprintable() and marks <= _MARKS_MAX
        shown.append(character if is_fine else _escape(character))
    return shown


def _escape(character: str) -> str:
    number = ord(character)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
