"""Notes as persons write them and take them away: each with its entry in the audit log."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.access.audit import Actor, write_entry
from slotcast_publisher.fleet.database import notes

_LOGGED_CHARS: Final = 500
"""The characters of a note that the audit log has."""


def write_note(
    connection: Connection,
    actor: Actor,
    kind: notes.Kind,
    subject: str,
    text: str,
    *,
    at_s: float,
) -> notes.Note:
    """Write a note; gives it as it is kept.

    Args:
        connection: of the transaction.
        actor: who writes it.
        kind: what it is about.
        subject: the device's id, or `notes.release_subject`.
        text: of it.
        at_s: seconds since 1970.

    Raises:
        UsageError: it is empty or too long.
        Conflict: there are too many already.
    """
    note = notes.add_note(connection, kind, subject, who=actor.name, text=text, at_s=at_s)
    written = {"note": note.id, "text": note.text[:_LOGGED_CHARS]}
    write_entry(connection, actor, "note.add", f"{kind} {subject}", at_s=at_s, after=written)
    return note


def take_note_away(
    connection: Connection,
    actor: Actor,
    kind: notes.Kind,
    subject: str,
    note: int,
    *,
    at_s: float,
) -> None:
    """Take a note away.

    Args:
        connection: of the transaction.
        actor: who takes it away.
        kind: what it is about.
        subject: the device's id, or `notes.release_subject`.
        note: its id.
        at_s: seconds since 1970.

    Raises:
        NotFound: there is no such note.
    """
    gone = notes.remove_note(connection, kind, subject, note)
    if gone is None:
        raise NotFound(f"{subject:.80} has no note {note}")
    was = {"note": note, "who": gone.who, "text": gone.text[:_LOGGED_CHARS]}
    write_entry(connection, actor, "note.remove", f"{kind} {subject}", at_s=at_s, before=was)
