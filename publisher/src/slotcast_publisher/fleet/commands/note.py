"""`slotcast note`: what persons write beside a device or a release."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from slotcast_publisher.cli.common import Json, Repo, emit, open_repository
from slotcast_publisher.fleet.commands.opening import (
    DatabaseUrl,
    needing_fleet,
    open_fleet_database,
)
from slotcast_schemas.errors import UsageError
from slotcast_schemas.printable import printable


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("note")(_note)


def _note(
    repo: Repo,
    text: Annotated[
        str | None, typer.Argument(help="The note; without one, those that are there are listed.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="About this device.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="About a release of it.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="About this release.")] = None,
    remove: Annotated[
        int | None, typer.Option("--remove", help="Take this one away, by its number.")
    ] = None,
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Write a note beside a device or a release, list them, or take one away."""
    with needing_fleet():
        from slotcast_publisher.fleet.access.audited_notes import take_note_away, write_note
        from slotcast_publisher.fleet.commands.access_text import this_actor
        from slotcast_publisher.fleet.database import notes
        from slotcast_publisher.fleet.database.device_counts import require_device
    if text is not None and remove is not None:
        raise UsageError("expected a note to write, or one to take away, got both")
    kind, subject = _subject(device, model, version)
    _check_release(repo, model, version)
    actor, now_s = this_actor(), time.time()
    changes = text is not None or remove is not None
    with open_fleet_database(repo, database, may_change=changes) as opened:
        if changes:
            with opened.transaction() as connection:
                if text is not None:
                    if device is not None:
                        require_device(connection, device)
                    write_note(connection, actor, kind, subject, text, at_s=now_s)
                if remove is not None:
                    take_note_away(connection, actor, kind, subject, remove, at_s=now_s)
        with opened.reading() as connection:
            found = notes.notes_of(connection, kind, subject)
    emit(json, {"notes": [_fields(note) for note in found]}, [_line(note) for note in found])


def _subject(device: str | None, model: str | None, version: str | None) -> tuple[Any, str]:
    """Say what the note is about."""
    from slotcast_publisher.fleet.database.notes import release_subject

    if device is not None and model is None and version is None:
        return "device", device
    if device is None and model is not None and version is not None:
        return "release", release_subject(model, version)
    raise UsageError("what is it about? --device ID, or --model MODEL and --version VERSION")


def _check_release(repo: Any, model: str | None, version: str | None) -> None:
    if model is not None and version is not None:
        open_repository(repo).store.folder(model, version)


def _fields(note: Any) -> dict[str, Any]:
    from slotcast_publisher.fleet.database.device_json import iso

    return {"id": note.id, "at": iso(note.at_s), "who": note.who, "text": note.text}


def _line(note: Any) -> str:
    from slotcast_publisher.fleet.commands.fleet_text import when

    return f"{note.id}  {when(note.at_s)}  {printable(note.who)}: {printable(note.text)}"
