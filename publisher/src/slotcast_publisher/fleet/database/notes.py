"""Notes of persons beside a device or a release: what no message says, such as `moved`."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.database.tables import notes
from slotcast_schemas.errors import UsageError

Kind = Literal["device", "release"]
"""What a note is about."""
NOTE_MAX_CHARS: Final = 2_000
"""The longest note."""
NOTES_MAX: Final = 200
"""The most notes beside one thing."""
_SUBJECT_MAX_CHARS: Final = 192
"""The most characters of the name of what a note is about."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A note.

    Attributes:
        id: grows with each note.
        at_s: when it was written, in seconds since 1970.
        who: wrote it.
        text: data; whoever shows it escapes it.
    """

    id: int
    at_s: int
    who: str
    text: str


def release_subject(model: str, version: str) -> str:
    """Name a release as notes do.

    Args:
        model: its model.
        version: its version.
    """
    return f"{model} {version}"


def add_note(
    connection: Connection, kind: Kind, subject: str, *, who: str, text: str, at_s: float
) -> Note:
    """Write a note; gives it as it is kept.

    Args:
        connection: of the transaction.
        kind: what it is about.
        subject: the device's id, or `release_subject`.
        who: writes it.
        text: of it.
        at_s: seconds since 1970.

    Raises:
        UsageError: it is empty or too long.
        Conflict: there are `NOTES_MAX` beside this already.
    """
    text = text.strip().replace("\r\n", "\n").replace("\0", "")
    if not text or len(text) > NOTE_MAX_CHARS:
        raise UsageError(f"note: expected 1 to {NOTE_MAX_CHARS:,} characters, got {len(text):,}")
    if not 0 < len(subject) <= _SUBJECT_MAX_CHARS:
        raise UsageError(f"note: expected what it is about, got {subject!r:.80}")
    same = (notes.c.kind == kind) & (notes.c.subject == subject)
    count = connection.execute(select(func.count()).select_from(notes).where(same)).scalar_one()
    if count >= NOTES_MAX:
        raise Conflict(f"{subject:.80} has {count} notes: take some away first")
    made = connection.execute(
        insert(notes).values(kind=kind, subject=subject, who=who, text=text, at_s=int(at_s))
    )
    key = made.inserted_primary_key
    assert key is not None  # noqa: S101 - a row was inserted
    return Note(id=int(key[0]), at_s=int(at_s), who=who, text=text)


def notes_of(connection: Connection, kind: Kind, subject: str) -> list[Note]:
    """Give the notes beside a thing, the newest first.

    Args:
        connection: to read with.
        kind: what they are about.
        subject: the device's id, or `release_subject`.
    """
    n = notes.c
    query = select(n.id, n.at_s, n.who, n.text).where(n.kind == kind, n.subject == subject)
    rows = connection.execute(query.order_by(n.id.desc()).limit(NOTES_MAX))
    return [Note(id=row.id, at_s=row.at_s, who=row.who, text=row.text) for row in rows]


def remove_note(connection: Connection, kind: Kind, subject: str, note: int) -> Note | None:
    """Take a note away; gives it, or None where there is none.

    Args:
        connection: of the transaction.
        kind: what it is about.
        subject: the device's id, or `release_subject`.
        note: its id.
    """
    found = next((each for each in notes_of(connection, kind, subject) if each.id == note), None)
    if found is not None:
        connection.execute(delete(notes).where(notes.c.id == note))
    return found
