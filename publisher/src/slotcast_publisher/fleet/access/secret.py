"""Secrets of links, sessions and tokens: drawn here, shown once, kept as digests only."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

SECRET_BYTES: Final = 32
"""Bytes of chance in a secret: nobody guesses 256 bits, so a plain digest keeps them well."""
SECRET_MAX_CHARS: Final = 100
"""The most characters of what is looked up as a secret."""


def new_secret() -> str:
    """Draw a secret that fits into a URL, a cookie and a header."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> bytes:
    """Give what is kept of a secret."""
    return hashlib.sha256(secret[: SECRET_MAX_CHARS + 1].encode()).digest()
