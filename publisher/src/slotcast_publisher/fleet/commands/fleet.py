"""`slotcast fleet`: who is there, and what runs. It reads the database, and needs no `serve`."""

from __future__ import annotations

import json as json_module
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from slotcast_publisher.cli.common import Json, Repo, Tags, emit, pairs
from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.commands.opening import DatabaseUrl, open_fleet_database
from slotcast_schemas.errors import UsageError

if TYPE_CHECKING:
    from slotcast_publisher.fleet.commands.fleet_text import Table
    from slotcast_publisher.fleet.database.database import Database
    from slotcast_publisher.fleet.database.listing import Wanted

DEVICES_SHOWN: Final = 200
"""So many devices are shown to people, unless they ask for another number."""
LOOK_EVERY_S: Final = 2.0
"""The seconds between two looks of `--watch`."""
_SPAN: Final = re.compile(r"(\d{1,9})\s*(s|min|m|h|d)")
_UNIT_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_TIME_FORM: Final = "a time span such as 90s, 15m, 2h or 3d, or a time such as 2026-11-26T08:00"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fleet")(_fleet)


def _fleet(
    repo: Repo,
    device: Annotated[
        str | None, typer.Argument(help="One device, with its history and evidence.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Devices with this model.")] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Where this version runs.")
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="In this state, such as FAILED.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="For this reason, such as too_slow.")
    ] = None,
    tag: Tags = None,
    seen_since: Annotated[
        str | None, typer.Option("--seen-since", help=f"Heard since: {_TIME_FORM}.")
    ] = None,
    unseen_since: Annotated[
        str | None, typer.Option("--unseen-since", help="Not heard since, likewise.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="The most devices that are shown to people.")
    ] = DEVICES_SHOWN,
    database: DatabaseUrl = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Show who is there: what runs, what is wanted, in what state it is; and one device closely."""
    asked = _Asked(
        device,
        model,
        version,
        state.upper() if state else None,
        reason,
        pairs(tag, "--tag"),
        _time_s(seen_since, "--seen-since"),
        _time_s(unseen_since, "--unseen-since"),
    )
    with open_fleet_database(repo, database) as opened:

        def look() -> View:
            return _view(opened, asked, None if json else limit)

        if watch:
            _watch(look, as_json=json)
        else:
            view = look()
            emit(json, view.fields, view.lines())


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the options say; times as functions of now."""

    device: str | None
    model: str | None
    version: str | None
    state: str | None
    reason: str | None
    tags: dict[str, str]
    seen_since_s: Callable[[float], int] | None
    unseen_since_s: Callable[[float], int] | None

    def at(self, now_s: float) -> Wanted:
        """Give which devices that are, now."""
        from slotcast_publisher.fleet.database.listing import Wanted

        return Wanted(
            device=self.device,
            model=self.model,
            version=self.version,
            state=self.state,
            reason=self.reason,
            tags=self.tags,
            seen_since_s=self.seen_since_s and self.seen_since_s(now_s),
            unseen_since_s=self.unseen_since_s and self.unseen_since_s(now_s),
        )


@dataclass(frozen=True, slots=True)
class View:
    """What is shown: fields for programs; lines, a table and more lines for people."""

    fields: dict[str, Any]
    above: Sequence[str]
    table: Table
    below: Sequence[str]

    def lines(self) -> list[str]:
        """Give all of it as lines."""
        from slotcast_publisher.fleet.commands.fleet_text import aligned

        return [*self.above, *(aligned(self.table) if self.table else ()), *self.below]


def _view(database: Database, asked: _Asked, limit: int | None) -> View:
    from slotcast_publisher.fleet.commands import fleet_json, fleet_text
    from slotcast_publisher.fleet.database import listing

    now_s = time.time()
    wanted = asked.at(now_s)
    history = {"since": fleet_json.iso(database.knows_since_s)}
    with database.reading() as connection:
        if asked.device is not None:
            return _device_view(connection, wanted, history, now_s)
        count, online = listing.count_devices(connection, wanted)
        versions = listing.count_versions(connection, wanted)
        states = listing.count_states(connection, wanted)
        devices = listing.known_devices(connection, wanted, limit)
    left = count - len(devices)
    return View(
        fields={
            "devices": [fleet_json.device_fields(device) for device in devices],
            "counts": {
                "devices": count,
                "online": online,
                "versions": [
                    {"model": model, "version": version, "devices": number}
                    for model, version, number in versions
                ],
                "states": [
                    {"model": model, "state": state, "reason": reason, "devices": number}
                    for model, state, reason, number in states
                ],
            },
            "history": history,
        },
        above=[
            f"{count:,} devices, {online:,} online",
            *fleet_text.version_lines(versions),
            "",
        ],
        table=fleet_text.table_of(devices, now_s) if devices else [],
        below=[f"… and {left:,} more: ask for fewer, or --limit"] if left else [],
    )


def _device_view(connection: Any, wanted: Wanted, history: dict[str, Any], now_s: float) -> View:
    from slotcast_publisher.fleet.commands import fleet_json, fleet_text
    from slotcast_publisher.fleet.database import listing

    found = listing.known_devices(connection, wanted)
    if not found:
        raise NotFound(f"no device {wanted.device!r:.80} is known, or not one like that")
    (device,) = found
    changes = listing.history_of(connection, device.id, wanted.model)
    figures = listing.figures_of_device(connection, device.id)
    history = history | {
        "changes": fleet_json.history_fields(changes),
        "figures": fleet_json.figures_fields(figures),
    }
    return View(
        fields=fleet_json.device_fields(device) | {"history": history},
        above=list(fleet_text.device_lines(device, changes, figures, now_s)),
        table=[],
        below=["", f"Nothing is known from before {history['since']}."],
    )


# --- live ---------------------------------------------------------------------------------------


def _watch(look: Callable[[], View], *, as_json: bool) -> None:
    """Show each change until Ctrl-C: on a terminal in place, else one below the other."""
    # Elsewhere a signal means that work was left undone; here it is how it ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        if as_json or not sys.stdout.isatty():
            _print_changes(look, as_json=as_json)
        else:
            _show_live(look)


def _print_changes(look: Callable[[], View], *, as_json: bool) -> None:
    before = ""
    while True:
        view = look()
        text = json_module.dumps(view.fields, default=bytes.hex) if as_json else ""
        text = text or "\n".join(view.lines())
        if text != before:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        before = text
        time.sleep(LOOK_EVERY_S)


def _show_live(look: Callable[[], View]) -> None:
    from rich.live import Live

    live = Live(_drawn(look()), screen=True, auto_refresh=False)
    try:  # not `with`: a Ctrl-C while it begins would leave the terminal as it is
        live.start(refresh=True)
        while True:
            time.sleep(LOOK_EVERY_S)
            live.update(_drawn(look()), refresh=True)
    finally:
        live.stop()


def _drawn(view: View) -> Any:
    """Give what rich draws; texts stay texts, whatever brackets are in them."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[Any] = [Text(line, no_wrap=True, overflow="ellipsis") for line in view.above]
    if view.table:
        head, *rows = view.table
        table = RichTable(*head, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
        parts.append(table)
    return Group(*parts, *(Text(line) for line in view.below))


# --- times --------------------------------------------------------------------------------------


def _time_s(text: str | None, option: str) -> Callable[[float], int] | None:
    """Read a time span, or a time; gives what makes a time of it."""
    if text is None:
        return None
    span = _SPAN.fullmatch(text.strip())
    if span is not None:
        span_s = int(span[1]) * _UNIT_S[span[2]]
        return lambda now_s: int(now_s) - span_s
    try:
        at = datetime.fromisoformat(text.strip())
        at_s = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"{option}: expected {_TIME_FORM}, got {text!r:.80}") from exc
    return lambda _now_s: at_s
