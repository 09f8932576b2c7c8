"""`slotcast fleet`: who is there, and what runs. It reads the database, and needs no `serve`."""

from __future__ import annotations

import json as json_module
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from slotcast_publisher.cli.common import Json, Tags, emit, pairs
from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.commands.fleet_asked import (
    FleetQuestion,
    Online,
    Search,
    read_words,
)
from slotcast_publisher.fleet.commands.opening import DatabaseUrl, open_fleet_database
from slotcast_publisher.fleet.commands.workplace import (
    MaybeRepo,
    ServerUrl,
    TokenFile,
    connect,
    is_repository,
    words_of,
)
from slotcast_publisher.fleet.database.typed_state import read_state
from slotcast_publisher.fleet.database.typed_time import TIME_FORM, read_time
from slotcast_schemas.plural import several

if TYPE_CHECKING:
    from slotcast_publisher.fleet.client.connection import Connection
    from slotcast_publisher.fleet.commands.fleet_text import Table
    from slotcast_publisher.fleet.database.database import Database
    from slotcast_publisher.fleet.database.listing import DevicesWanted, KnownDevice

DEVICES_SHOWN: Final = 200
"""So many devices are shown to people, unless they ask for another number."""
LOOK_EVERY_S: Final = 2.0
"""The seconds between two looks of `--watch`."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fleet")(_fleet)


def _fleet(
    repo: MaybeRepo = None,
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
    search: Search = None,
    online: Online = None,
    rollout: Annotated[
        str | None, typer.Option("--rollout", help="Asked for by this rollout.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="In this group of a rollout.")
    ] = None,
    shared_id: Annotated[
        bool, typer.Option("--shared-id", help="Two devices came under its id.")
    ] = False,
    seen_since: Annotated[
        str | None, typer.Option("--seen-since", help=f"Heard since: {TIME_FORM}.")
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
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Show who is there: what runs, what is wanted, in what state it is; and one device closely."""
    if server is not None and repo is not None and device is None and not is_repository(repo):
        device = str(repo)
    asked = FleetQuestion(
        device=device,
        model=model,
        version=version,
        state=read_state(state, "--state") if state else None,
        reason=reason,
        tags=pairs(tag, "--tag"),
        words=read_words(search),
        online=online,
        rollout=rollout,
        group=group,
        shares_id=True if shared_id else None,
        seen_since_s=None if seen_since is None else read_time(seen_since, "--seen-since"),
        unseen_since_s=None if unseen_since is None else read_time(unseen_since, "--unseen-since"),
    )
    most = None if json else limit
    if server is not None:
        page = connect(server, token_file)
        _show(lambda: _remote_view(page, asked, most), watch=watch, as_json=json)
        return
    folder, _ = words_of(None, repo, (), "[DEVICE]")
    with open_fleet_database(folder, database) as opened:
        _show(lambda: _view(opened, asked, most), watch=watch, as_json=json)


def _show(look: Callable[[], FleetOutput], *, watch: bool, as_json: bool) -> None:
    if watch:
        _watch(look, as_json=as_json)
    else:
        view = look()
        emit(as_json, view.fields, view.lines())


@dataclass(frozen=True, slots=True)
class FleetOutput:
    """What is shown: fields for programs; lines, a table and more lines for people."""

    fields: dict[str, Any]
    above: Sequence[str]
    table: Table
    below: Sequence[str]

    def lines(self) -> list[str]:
        """Give all of it as lines."""
        from slotcast_publisher.fleet.commands.fleet_text import aligned

        return [*self.above, *(aligned(self.table) if self.table else ()), *self.below]


def _view(database: Database, asked: FleetQuestion, limit: int | None) -> FleetOutput:
    from slotcast_publisher.fleet.database import device_counts, device_json, listing

    now_s = time.time()
    wanted = asked.at(now_s)
    history = {"since": device_json.iso(database.knows_since_s)}
    with database.reading() as connection:
        if asked.device is not None:
            return _device_view(connection, wanted, history, now_s)
        found = device_counts.counted(connection, wanted)
        devices = listing.known_devices(connection, wanted, limit)
    return _list_view(
        devices,
        [device_json.device_fields(each) for each in devices],
        (found.devices, found.online),
        found.versions,
        found.states,
        history,
        now_s,
    )


def _remote_view(page: Connection, asked: FleetQuestion, limit: int | None) -> FleetOutput:
    """Show what a page elsewhere knows."""
    from slotcast_publisher.fleet.client import devices as remote

    now_s = time.time()
    wanted = asked.at(now_s)
    if wanted.device is not None:
        return _remote_device_view(page, wanted, now_s)
    counts = remote.counts(page, wanted)
    views = list(remote.devices(page, wanted, limit))
    return _list_view(
        [remote.known_device(view) for view in views],
        [msgspec.to_builtins(view) for view in views],
        (counts.devices, counts.online),
        [(v.model, v.version, v.devices) for v in counts.versions],
        [(s.model, s.state, s.reason, s.devices) for s in counts.states],
        {"since": counts.since},
        now_s,
    )


def _list_view(
    devices: Sequence[KnownDevice],
    fields: Sequence[Any],
    counts: tuple[int, int],
    versions: Sequence[tuple[str, str, int]],
    states: Sequence[tuple[str, str, str, int]],
    history: dict[str, Any],
    now_s: float,
) -> FleetOutput:
    """Show a list of devices, from wherever they come."""
    from slotcast_publisher.fleet.commands import fleet_text

    count, online = counts
    left = count - len(devices)
    return FleetOutput(
        fields={
            "devices": list(fields),
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
            f"{several(count, 'device')}, {online:,} online",
            *fleet_text.version_lines(versions),
            "",
        ],
        table=fleet_text.table_of(devices, now_s) if devices else [],
        below=[f"… and {left:,} more: ask for fewer, or --limit"] if left else [],
    )


def _remote_device_view(page: Connection, wanted: DevicesWanted, now_s: float) -> FleetOutput:
    from slotcast_publisher.fleet.client import devices as remote
    from slotcast_publisher.fleet.commands import fleet_text

    found = remote.device(page, str(wanted.device))
    changes = remote.changes_of(found)
    figures = msgspec.to_builtins(found.history.figures)
    lines = fleet_text.device_lines(remote.known_device(found), changes, figures, now_s)
    return FleetOutput(
        fields=msgspec.to_builtins(found),
        above=list(lines),
        table=[],
        below=["", f"Nothing is known from before {found.history.since}."],
    )


def _device_view(
    connection: Any, wanted: DevicesWanted, history: dict[str, Any], now_s: float
) -> FleetOutput:
    from slotcast_publisher.fleet.commands import fleet_text
    from slotcast_publisher.fleet.database import device_json, listing

    found = listing.known_devices(connection, wanted)
    if not found:
        raise NotFound(f"no device {wanted.device!r:.80} is known, or not one like that")
    (device,) = found
    changes = listing.history_of(connection, device.id, wanted.model)
    figures = device_json.figures_fields(listing.figures_of_device(connection, device.id))
    history = history | {
        "changes": device_json.history_fields(changes),
        "figures": figures,
    }
    return FleetOutput(
        fields=device_json.device_fields(device) | {"history": history},
        above=list(fleet_text.device_lines(device, changes, figures, now_s)),
        table=[],
        below=["", f"Nothing is known from before {history['since']}."],
    )


# --- live ---------------------------------------------------------------------------------------


def _watch(look: Callable[[], FleetOutput], *, as_json: bool) -> None:
    """Show each change until Ctrl-C: on a terminal in place, else one below the other."""
    # Elsewhere a signal means that work was left undone; here it is how it ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        if as_json or not sys.stdout.isatty():
            _print_changes(look, as_json=as_json)
        else:
            _show_live(look)


def _print_changes(look: Callable[[], FleetOutput], *, as_json: bool) -> None:
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


def _show_live(look: Callable[[], FleetOutput]) -> None:
    from rich.live import Live

    live = Live(_drawn(look()), screen=True, auto_refresh=False)
    try:  # not `with`: a Ctrl-C while it begins would leave the terminal as it is
        live.start(refresh=True)
        while True:
            time.sleep(LOOK_EVERY_S)
            live.update(_drawn(look()), refresh=True)
    finally:
        live.stop()


def _drawn(view: FleetOutput) -> Any:
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
