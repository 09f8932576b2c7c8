"""Takes passwords, tokens and PINs out of texts: the net below all that a command prints or logs.

Code that handles broker addresses never puts one into a message (`slotcast_schemas.broker`); this
is for texts that others wrote, such as an option parser that repeats what it does not understand.
"""

from __future__ import annotations

import json
import re
from typing import Final

_ADDRESS: Final = re.compile(
    r"\b(mqtts?:/{1,2}+)(?!\[USER)[^\n]*@"
    r"|\b([a-z][a-z0-9+.-]{0,31}:/{1,2}+|mqtts?:(?!/))(?!\[USER)\S*@",
    re.IGNORECASE,
)
"""Of a broker's address all to the last `@` of the line, for a password may hold any character;
but not of the form that help and messages show. Of other URLs, which may be a broker's with the
wrong scheme, or as a path shows them (`http:/`), all to the last `@` before a space."""
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"')
"""A key or a text of a JSON document."""
_NAMED: Final = re.compile(
    r"(?<![a-z])((?:pin-value|(?:ssl)?password|passwd|pwd|passphrase|(?:\w+_)?token|secret)=)"
    r"(?:'(?:[^'\\]|\\.)*'|[^&;\s'\"]+)",
    re.IGNORECASE,
)
"""What is said by name: of a key on a token (RFC 7512, 2.4), in the query of a URL, and among the
parameters of a connection to PostgreSQL (libpq, "Connection Strings")."""
_NAMES: Final = ("pin-value=", "password=", "passwd=", "pwd=", "passphrase=", "token=", "secret=")
"""What one of these texts has in it, which is faster to look for."""
_HEADER: Final = re.compile(r"(authorization\W{1,4}(?:bearer|basic)\s+)[^\s'\"]+", re.IGNORECASE)
"""Of a request's header (RFC 6750, 2.1; RFC 7617, 2)."""
_URL_WITH_PASSWORD: Final = re.compile(r"\b[a-z][a-z0-9+.-]*:/{1,2}[^\s/]*:[^\s/]+@", re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """Give a text without the user and password of every URL in it, every token and every PIN.

    A JSON document stays one: an address ends with the string that it stands in, and what comes
    behind that on the line stays, though it has an `@`.
    """
    if "@" in text:
        is_json = _is_json(text)
        text = _JSON_STRING.sub(_hide_in_string, text) if is_json else _hide_addresses(text)
    lower = text.lower()
    if any(name in lower for name in _NAMES):
        text = _NAMED.sub(r"\1***", text)
    if "authorization" in lower:
        text = _HEADER.sub(r"\1***", text)
    return text


def _is_json(text: str) -> bool:
    if not text.startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _hide_in_string(found: re.Match[str]) -> str:
    return _hide_addresses(found[0]) if "@" in found[0] else found[0]


def _hide_addresses(text: str) -> str:
    return _ADDRESS.sub(lambda found: f"{found[1] or found[2]}***@", text)


def has_password(argument: str) -> bool:
    """Whether an argument of a command is, or holds, a URL with a password."""
    return _URL_WITH_PASSWORD.search(argument) is not None
