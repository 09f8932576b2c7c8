"""Takes passwords and PINs out of texts: the net below everything that a command prints or logs.

Code that handles broker addresses never puts one into a message (`slotcast_schemas.broker`); this
is for texts that others wrote, such as an option parser that repeats what it does not understand.
"""

from __future__ import annotations

import re
from typing import Final

_ADDRESS: Final = re.compile(
    r"\b(mqtts?:/{1,2}+)(?!\[USER)[^\n]*@|\b([a-z][a-z0-9+.-]{0,31}://)(?!\[USER)\S*@",
    re.IGNORECASE,
)
"""Of a broker's address all to the last `@` of the line, for a password may hold any character;
but not of the form that help and messages show. Of other URLs, which may be a broker's with the
wrong scheme, all to the last `@` before a space."""
_PIN: Final = re.compile(r"(pin-value=)[^&;\s'\"]+")
"""Of a key on a token: RFC 7512, 2.4."""


def hide_passwords(text: str) -> str:
    """Give a text with the user and password of every URL in it taken out, and every PIN."""
    if "@" in text:
        text = _ADDRESS.sub(lambda found: f"{found[1] or found[2]}***@", text)
    return _PIN.sub(r"\1***", text) if "pin-value" in text else text
