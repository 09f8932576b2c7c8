"""Passwords: what may be one, and how it is kept (argon2id, by argon2-cffi, RFC 9106's sizes)."""

from __future__ import annotations

import threading
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from slotcast_schemas.errors import UsageError

PASSWORD_MIN_CHARS: Final = 12
"""The fewest characters of a password."""
PASSWORD_MAX_CHARS: Final = 200
"""The most characters of a password."""
AT_ONCE_MAX: Final = 2
"""So many are hashed at once: each takes 64 MiB, and whoever sends passwords decides how many."""

_hasher: Final = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_at_once: Final = threading.BoundedSemaphore(AT_ONCE_MAX)
_NOBODYS: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$+doyv34m27c4HuXJwTUaaA"
    "$ay4NL4iw4rJoUMLlNpWpi6vsiQTgzHHAqgGhKu9u4Rg"
)
"""A hash that no password has: a name that nobody has takes as long as one that somebody has."""


def check_password(password: str, user: str) -> None:
    """See that a text may be a password.

    Args:
        password: the text.
        user: whose it is to be.

    Raises:
        UsageError: too short, too long, or the name itself; says what is expected.
    """
    length = len(password)
    if not PASSWORD_MIN_CHARS <= length <= PASSWORD_MAX_CHARS:
        raise UsageError(
            f"password: expected {PASSWORD_MIN_CHARS} to {PASSWORD_MAX_CHARS} characters,"
            f" got {length}"
        )
    if len(set(password)) == 1 or password.casefold() == user.casefold():
        raise UsageError("password: expected one that nobody guesses, got the name or one letter")


def hash_password(password: str) -> str:
    """Give what is kept of a password; takes a tenth of a second on purpose."""
    with _at_once:
        return _hasher.hash(_same_everywhere(password))


def is_password(password: str, kept: str) -> bool:
    """Say whether a password is the one of which `kept` was kept; empty for none, as slowly.

    Args:
        password: as it was given.
        kept: what `hash_password` gave.
    """
    if len(password) > PASSWORD_MAX_CHARS:
        return False
    try:
        with _at_once:
            _hasher.verify(kept or _NOBODYS, _same_everywhere(password))
    except (VerificationError, InvalidHashError):
        return False
    return bool(kept)


def is_outdated(kept: str) -> bool:
    """Say whether a password should be hashed anew: other sizes are usual by now."""
    return _hasher.check_needs_rehash(kept)


def _same_everywhere(password: str) -> str:
    """One text for what different keyboards write for the same letters (RFC 8265, 4.1)."""
    return unicodedata.normalize("NFKC", password)
