"""Notes of persons beside a device or a release: listed, written, taken away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from litestar import Response, delete, get, post
from litestar.concurrency import sync_to_thread
from litestar.params import JSONBody, PathParameter
from msgspec import Meta, Struct

from slotcast_publisher.fleet.access import audited_notes
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database import notes
from slotcast_publisher.fleet.database.device_counts import require_device
from slotcast_publisher.fleet.database.device_json import iso
from slotcast_publisher.fleet.web.api.device_types import Time
from slotcast_publisher.fleet.web.api.models import release_folder
from slotcast_publisher.fleet.web.api.parts import AnyRequest, ModelName, Name, Version
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.guards import needs, who_asks
from slotcast_publisher.fleet.web.idempotency import Key, once
from slotcast_publisher.fleet.web.screens.watched_screens import ScreensHere

_SEE: Final = needs(Permission.SEE)
_NOTE: Final = needs(Permission.NOTE)
_OF_DEVICE: Final = "/devices/{device:str}/notes"
_OF_RELEASE: Final = "/models/{model:str}/releases/{version:str}/notes"
NoteId = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]


class NoteView(Struct, frozen=True, kw_only=True):
    """A note; its text is what a person wrote."""

    id: int
    at: Time
    who: str
    text: str


class NoteList(Struct, frozen=True, kw_only=True):
    """All notes beside one thing, the newest first."""

    notes: tuple[NoteView, ...]


class NewNote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A note to write."""

    text: Annotated[str, Meta(min_length=1, max_length=notes.NOTE_MAX_CHARS)]


# --- beside a device ------------------------------------------------------------------------------


@get(_OF_DEVICE, opt=_SEE, sync_to_thread=True, summary="Notes beside a device", tags=["notes"])
def _device_notes(context: Context, device: Name) -> NoteList:
    """List the notes beside a device."""
    return _list(context, "device", _device(context, device))


@post(_OF_DEVICE, opt=_NOTE, summary="Write a note beside a device", tags=["notes"])
async def _note_device(
    request: AnyRequest,
    context: Context,
    screens: ScreensHere,
    device: Name,
    data: JSONBody[NewNote],
    idempotency_key: Key,
) -> Response[NoteView]:
    """Write a note beside a device."""
    new = _New(request, context, screens, idempotency_key, data)
    return await new.answer("device", lambda: _device(context, device))


@delete(
    f"{_OF_DEVICE}/{{note:int}}",
    opt=_NOTE,
    sync_to_thread=True,
    summary="Take a note beside a device away",
    tags=["notes"],
)
def _unnote_device(
    request: AnyRequest, context: Context, screens: ScreensHere, device: Name, note: NoteId
) -> None:
    """Take a note beside a device away; the audit log keeps what it said."""
    _take_away(request, context, screens, "device", device, note)


# --- beside a release -----------------------------------------------------------------------------


@get(_OF_RELEASE, opt=_SEE, sync_to_thread=True, summary="Notes beside a release", tags=["notes"])
def _release_notes(context: Context, model: ModelName, version: Version) -> NoteList:
    """List the notes beside a release."""
    return _list(context, "release", _release(context, model, version))


@post(_OF_RELEASE, opt=_NOTE, summary="Write a note beside a release", tags=["notes"])
async def _note_release(
    request: AnyRequest,
    context: Context,
    screens: ScreensHere,
    model: ModelName,
    version: Version,
    data: JSONBody[NewNote],
    idempotency_key: Key,
) -> Response[NoteView]:
    """Write a note beside a release."""
    new = _New(request, context, screens, idempotency_key, data)
    return await new.answer("release", lambda: _release(context, model, version))


@delete(
    f"{_OF_RELEASE}/{{note:int}}",
    opt=_NOTE,
    sync_to_thread=True,
    summary="Take a note beside a release away",
    tags=["notes"],
)
def _unnote_release(
    request: AnyRequest,
    context: Context,
    screens: ScreensHere,
    model: ModelName,
    version: Version,
    note: NoteId,
) -> None:
    """Take a note beside a release away; the audit log keeps what it said."""
    subject = _release(context, model, version)
    _take_away(request, context, screens, "release", subject, note)


# --- either ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _New:
    """A note that is asked for, with all that is needed to write it."""

    request: AnyRequest
    context: WebContext
    screens: ScreensHere
    idempotency_key: str
    data: NewNote

    async def answer(self, kind: notes.Kind, find_subject: Callable[[], str]) -> Response[NoteView]:
        """Write it once beside what `find_subject`, called in a thread, says."""

        def write() -> NoteView:
            return self._write(kind, find_subject())

        change = once(self.request, self.context, self.idempotency_key, self.data)
        return await change.answer(lambda: sync_to_thread(write), 201)

    def _write(self, kind: notes.Kind, subject: str) -> NoteView:
        actor = who_asks(self.request).actor
        with self.context.database.transaction() as connection:
            note = audited_notes.write_note(
                connection, actor, kind, subject, self.data.text, at_s=self.context.now_s()
            )
        self.screens.changed()
        return _view(note)


def _device(context: WebContext, device: str) -> str:
    """Name a device that must be there as notes do."""
    with context.database.reading() as connection:
        require_device(connection, device)
    return device


def _release(context: WebContext, model: str, version: str) -> str:
    """Name a release that must be there as notes do."""
    release_folder(context, model, version)
    return notes.release_subject(model, version)


def _list(context: WebContext, kind: notes.Kind, subject: str) -> NoteList:
    with context.database.reading() as connection:
        found = notes.notes_of(connection, kind, subject)
    return NoteList(notes=tuple(map(_view, found)))


def _take_away(
    request: AnyRequest,
    context: WebContext,
    screens: ScreensHere,
    kind: notes.Kind,
    subject: str,
    note: int,
) -> None:
    actor = who_asks(request).actor
    with context.database.transaction() as connection:
        audited_notes.take_note_away(connection, actor, kind, subject, note, at_s=context.now_s())
    screens.changed()


def _view(note: notes.Note) -> NoteView:
    return NoteView(id=note.id, at=iso(note.at_s), who=note.who, text=note.text)


ROUTES: Final = [
    _device_notes,
    _note_device,
    _unnote_device,
    _release_notes,
    _note_release,
    _unnote_release,
]
"""What this module answers."""
