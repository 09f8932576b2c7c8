"""Notes as forms send them: written with an entry in the audit log, in one transaction."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.params import Body

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.access.audit import write_entry
from slotcast_publisher.fleet.database import notes
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.guards import who_asks

AnyRequest = Request[Any, Any, Any]
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


def write_note(
    request: AnyRequest, context: WebContext, kind: notes.Kind, subject: str, text: str
) -> None:
    """Write a note.

    Args:
        request: of who writes it.
        context: of the page.
        kind: what it is about.
        subject: the device's id, or `notes.release_subject`.
        text: of it.

    Raises:
        UsageError: it is empty or too long.
        Conflict: there are too many already.
    """
    who, now_s = who_asks(request), context.now_s()
    with context.database.transaction() as connection:
        note = notes.add_note(connection, kind, subject, who=who.name, text=text, at_s=now_s)
        write_entry(
            connection,
            who.actor,
            "note.add",
            f"{kind} {subject}",
            at_s=now_s,
            after={"note": note, "text": text.strip()[:500]},
        )


def take_note_away(
    request: AnyRequest, context: WebContext, kind: notes.Kind, subject: str, note: int
) -> None:
    """Take a note away.

    Args:
        request: of who takes it away.
        context: of the page.
        kind: what it is about.
        subject: the device's id, or `notes.release_subject`.
        note: its id.

    Raises:
        NotFound: there is no such note.
    """
    who = who_asks(request)
    with context.database.transaction() as connection:
        gone = notes.remove_note(connection, kind, subject, note)
        if gone is None:
            raise NotFound(f"{subject:.80} has no note {note}")
        write_entry(
            connection,
            who.actor,
            "note.remove",
            f"{kind} {subject}",
            at_s=context.now_s(),
            before={"note": note, "who": gone.who, "text": gone.text[:500]},
        )
