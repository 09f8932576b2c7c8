"""Text of others on a page: shown, never obeyed.

Jinja2 escapes what could be markup. What is left is text that moves what is around it: control
characters, marks of writing direction, a thousand combining marks, a megabyte. `shown` makes these
visible and bounds them; every text that came from a device, a broker or a person goes through it.
"""

from __future__ import annotations

from typing import Final

from markupsafe import Markup, escape

from slotcast_schemas.printable import printable

TEXT_MAX_CHARS: Final = 300
"""The most characters of a text that are shown, unless a place asks for another number."""


def shown(text: object, chars_max: int = TEXT_MAX_CHARS) -> str:
    """Give a text that can be put anywhere, as plain characters of a bounded number.

    Args:
        text: what somebody else wrote; None is nothing.
        chars_max: so many characters are shown, and then how many are left.
    """
    return "" if text is None else printable(str(text), chars_max)


def said(text: object, chars_max: int = TEXT_MAX_CHARS) -> Markup:
    """Give a text as an element of its own, so that its writing direction ends with it.

    Args:
        text: what somebody else wrote; None is nothing.
        chars_max: so many characters are shown, and then how many are left.
    """
    words = shown(text, chars_max)
    return Markup(f"<bdi>{escape(words)}</bdi>") if words else Markup()  # noqa: S704 - escaped
