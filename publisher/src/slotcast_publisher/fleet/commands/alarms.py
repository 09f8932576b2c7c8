"""`slotcast alarms`: what needs a person, and what did; read from the database, without `serve`."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcast_publisher.cli.common import Json, Repo, emit
from slotcast_publisher.cli.serving import DATABASE_VARIABLE, FLEET_INSTALL
from slotcast_schemas.errors import UsageError

if TYPE_CHECKING:
    from slotcast_publisher.fleet.alarms.board import Alarm


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("alarms")(_alarms)


def _alarms(
    repo: Repo,
    past: Annotated[
        int, typer.Option("--past", min=0, max=10_000, help="So many that are over, too.")
    ] = 10,
    database: Annotated[
        str | None,
        typer.Option(
            envvar=DATABASE_VARIABLE,
            help="Of the fleet; fleet.db in the repository's folder unless given.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show what of the fleet needs a person, and what did lately."""
    if importlib.util.find_spec("sqlalchemy") is None:
        raise UsageError(f"this is of the fleet, which is not installed: {FLEET_INSTALL}")
    from slotcast_publisher.fleet.alarms import store
    from slotcast_publisher.fleet.database.database import FILE_NAME, open_database

    with (
        open_database(database or repo / FILE_NAME, may_change=False) as opened,
        opened.reading() as connection,
    ):
        alarms = store.listed(connection, past=past)
    rows = [_fields(alarm) for alarm in alarms]
    emit(json, {"alarms": rows}, [_line(alarm) for alarm in alarms] or ["nothing needs a person"])


def _fields(alarm: Alarm) -> dict[str, Any]:
    return {
        "kind": str(alarm.kind),
        "subject": alarm.subject,
        "stands": alarm.cleared_s is None,
        "raised_s": alarm.raised_s,
        "updated_s": alarm.updated_s,
        "cleared_s": alarm.cleared_s,
        "count": alarm.count,
        "subjects": list(alarm.subjects),
        "text": alarm.text,
        **alarm.names,
    }


def _line(alarm: Alarm) -> str:
    end = "stands" if alarm.cleared_s is None else f"until {_time(alarm.cleared_s)}"
    return f"{_time(alarm.raised_s)}  {end:<22}  {alarm.kind:<21}  {alarm.text}"


def _time(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC).astimezone():%Y-%m-%d %H:%M}"
