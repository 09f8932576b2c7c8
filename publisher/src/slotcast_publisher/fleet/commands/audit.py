"""`slotcast audit`: who changed what; read from the database, without `serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from slotcast_publisher.cli.common import Json, Repo, emit
from slotcast_publisher.fleet.commands.access_text import time_words
from slotcast_publisher.fleet.commands.opening import (
    DatabaseUrl,
    needing_fleet,
    open_fleet_database,
)
from slotcast_schemas.printable import printable

if TYPE_CHECKING:
    from slotcast_publisher.fleet.access.audit import AuditEntry


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(_audit)


def _audit(
    repo: Repo,
    who: Annotated[str, typer.Option("--who", help="Made the change.")] = "",
    action: Annotated[
        str, typer.Option("--action", help="Such as user.role, or user for all about users.")
    ] = "",
    subject: Annotated[str, typer.Option("--subject", help="What was changed.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="The most entries that are shown.")
    ] = 50,
    before: Annotated[
        int | None, typer.Option("--before", min=1, help="Only older ones than this entry.")
    ] = None,
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Show who changed what, the newest first: users, tokens, rollouts, notes, sign-ins."""
    with needing_fleet():
        from slotcast_publisher.fleet.access.audit import AuditFilter, entries

    asked = AuditFilter(who=who, action=action, subject=subject)
    with open_fleet_database(repo, database) as opened, opened.reading() as connection:
        found = entries(connection, before_id=before, limit=limit, asked=asked)
    lines = [_line(entry) for entry in found]
    none = "nothing yet" if asked.is_any else "no entry fits that"
    emit(json, {"entries": [msgspec.to_builtins(entry) for entry in found]}, lines or [none])


def _line(entry: AuditEntry) -> str:
    """Say an entry; what others wrote is shown as text."""
    known = ", ".join(filter(None, (entry.how, entry.address)))
    by = f"{entry.who or 'nobody known'} ({known})"
    changed = " -> ".join(filter(None, (entry.before, entry.after)))
    parts = (str(entry.id), time_words(entry.at_s, ""), by, entry.action, entry.subject, changed)
    return "  ".join(map(printable, parts)).rstrip()
