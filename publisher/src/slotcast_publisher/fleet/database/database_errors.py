"""What a database says, as errors that say who must act.

All are of the storage's family: a service says them once, waits, and goes on.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from slotcast_schemas.errors import DiskFull, StateLocked, StateUnwritable, StorageFailed
from slotcast_schemas.redact import hide_passwords

_MEANINGS: Final[tuple[tuple[str, type[StorageFailed], str], ...]] = (
    ("database or disk is full", DiskFull, "no room for"),
    ("no space left on device", DiskFull, "no room for"),
    ("database is locked", StateLocked, "another process has been writing for long to"),
    ("deadlock detected", StateLocked, "two processes waited for each other at"),
    ("readonly database", StateUnwritable, "may not write"),
    ("read-only transaction", StateUnwritable, "may not write"),
    ("permission denied", StateUnwritable, "may not write"),
    ("unable to open database file", StorageFailed, "cannot open"),
    ("file is not a database", StorageFailed, "move this file away, it is none of ours:"),
    (
        "malformed",
        StorageFailed,
        "damaged; move it away, and `slotcast serve` makes it anew, without history:",
    ),
)
"""What the message holds, the error that it is, and what it means for a database."""


@contextlib.contextmanager
def database_errors(name: str) -> Iterator[None]:
    """Turn what a database says into an error that says who must act.

    Args:
        name: of the database, for people.

    Raises:
        StateLocked: others use it; it is worth trying again.
        StorageFailed: anything else, such as no room, no rights, or no server.
    """
    try:
        yield
    except (DBAPIError, NoConnectionFree, sqlite3.Error) as exc:
        raise meaning_of(exc, name) from exc


def meaning_of(exc: Exception, name: str) -> StorageFailed:
    """Give the error that says what went wrong with a database, without a password.

    Args:
        exc: what SQLAlchemy or the driver raised.
        name: of the database, for people.
    """
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    said = hide_passwords(" ".join(str(cause).split()))[:300]
    for words, error, meaning in _MEANINGS:
        if words in said.lower():
            return error(f"{meaning} {name} ({said})")
    return StorageFailed(f"the database {name} failed: {said}")
