"""Notes as forms send them."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.params import Body

from slotcast_publisher.fleet.access import audited_notes
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
    actor = who_asks(request).actor
    with context.database.transaction() as connection:
        audited_notes.write_note(connection, actor, kind, subject, text, at_s=context.now_s())


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
    actor = who_asks(request).actor
    with context.database.transaction() as connection:
        audited_notes.take_note_away(connection, actor, kind, subject, note, at_s=context.now_s())
