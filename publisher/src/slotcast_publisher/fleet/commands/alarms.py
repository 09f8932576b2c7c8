"""`slotcast alarms`: what needs a person, and what did; read from the database, without `serve`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcast_publisher.cli.common import Json, Repo, emit
from slotcast_publisher.fleet.commands.opening import (
    DatabaseUrl,
    needing_fleet,
    open_fleet_database,
)

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
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Show what of the fleet needs a person, and what did lately."""
    with needing_fleet():
        from slotcast_publisher.fleet.alarms import alarm_store

    with (
        open_fleet_database(repo, database) as opened,
        opened.reading() as connection,
    ):
        alarms = alarm_store.listed(connection, past=past)
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
