"""The screen of one device, its tables as files, and the notes beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final
from urllib.parse import quote, urlencode

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, ServerSentEvent
from sqlalchemy import select

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database.device_json import figures_fields
from slotcast_publisher.fleet.database.listing import (
    HISTORY_MAX,
    HistoryEntry,
    figures_of_device,
    history_of,
)
from slotcast_publisher.fleet.database.tables import history
from slotcast_publisher.fleet.web.context import Context
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.screens.course_view import SPANS_S, Window, course_view
from slotcast_publisher.fleet.web.screens.device_data import device_facts
from slotcast_publisher.fleet.web.screens.device_view import (
    device_screen,
    limits_of,
)
from slotcast_publisher.fleet.web.screens.exports import csv_file
from slotcast_publisher.fleet.web.screens.note_forms import (
    AnyRequest,
    Form,
    take_note_away,
    write_note,
)
from slotcast_publisher.fleet.web.screens.rendering import Rendered, render
from slotcast_publisher.fleet.web.screens.trail_view import trail
from slotcast_publisher.fleet.web.screens.transfers_view import transfers_of
from slotcast_publisher.fleet.web.screens.watched_screens import Look, ScreensHere, query_of

NAME: Final = "device"
"""Of the screen."""
STEPS_SHOWN: Final = 12
"""So many entries of the history are shown at first."""
HISTORY_ROWS_MAX: Final = 2_000
"""The most entries that the database keeps of a device."""


def make(look: Look) -> Rendered:
    """Make the screen of a device.

    Args:
        look: with the device's `id`; `model`, one of its models; `span`, a word of `SPANS_S`;
            `trail`, `all` for all of its history.

    Raises:
        NotFound: there is no such device.
    """
    context, arguments = look.context, look.arguments
    device_id, span = arguments["id"], _span(arguments.get("span", ""))
    with context.database.reading() as connection:
        facts = device_facts(connection, device_id, arguments.get("model"), span, look.clock.now_s)
    screen = device_screen(facts, look.clock, str(context.repo.path))
    shown = HISTORY_MAX if arguments.get("trail") == "all" else STEPS_SHOWN
    steps = trail(facts.changes)
    here = _address(device_id)
    return render(
        "device.html",
        screen.title,
        screen.icon,
        frame=look.frame(screen.title, screen.icon, "/devices", _live(here, look)),
        here=here,
        device=facts.device,
        screen=screen,
        changed_s=0 if facts.model is None else facts.model.changed_s,
        saved_bytes=0 if facts.model is None else facts.model.saved_bytes,
        course=course_view(
            screen.model, facts.windows, facts.changes, limits_of(facts), span, look.clock
        ),
        steps=steps[:shown],
        has_more=len(steps) > shown,
        notes=facts.notes,
        may_note=Permission.NOTE in look.may,
        knows_since_s=context.database.knows_since_s,
    )


def _span(text: str) -> str:
    return text if text in SPANS_S else "day"


def _live(here: str, look: Look) -> str:
    given = {k: v for k, v in look.arguments.items() if k in {"model", "span", "trail"}}
    return f"/live{here}{f'?{urlencode(given)}' if given else ''}"


# --- routes ---------------------------------------------------------------------------------------

_QUERY: Final = ("model", "span", "trail")


@get("/devices/{device:str}", opt=needs(Permission.SEE), sync_to_thread=True)
def _show_device(request: AnyRequest, screens: ScreensHere, device: FromPath[str]) -> Response[str]:
    """Show a device."""
    return screens.page(request, NAME, id=device, **query_of(request, *_QUERY))


@get("/live/devices/{device:str}", opt=needs(Permission.SEE), sync_to_thread=False)
def _watch_device(
    request: AnyRequest, screens: ScreensHere, device: FromPath[str]
) -> ServerSentEvent:
    """Say what changes on the screen of a device."""
    return screens.watch(request, NAME, id=device, **query_of(request, *_QUERY))


@get("/devices/{device:str}/history.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_history(request: AnyRequest, context: Context, device: FromPath[str]) -> Response[bytes]:
    """Give a device's history as a file, the newest first."""
    h, model = history.c, query_of(request, "model").get("model")
    head = (
        "at_s", "device_at_s", "model", "state", "reason", "detail", "version", "sequence",
        "target_version", "target_sequence", "deployment",
    )  # fmt: skip
    query = select(*(h[name] for name in head)).where(h.device == device)
    if model:
        query = query.where(h.model.concat("") == model)  # not by the model's index
    query = query.order_by(h.at_s.desc(), h.id.desc()).limit(HISTORY_ROWS_MAX)
    with context.database.reading() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    return csv_file(f"{device}-history", head, rows)


@get("/devices/{device:str}/transfers.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_transfers(
    request: AnyRequest, context: Context, device: FromPath[str]
) -> Response[bytes]:
    """Give what came over the link as a file, the newest first.

    Raises:
        NotFound: there is no such device, or not with this model.
    """
    model = query_of(request, "model").get("model") or None
    with context.database.reading() as connection:
        facts = device_facts(connection, device, model, "day", context.now_s())
    head = (
        "at_s", "version", "sequence", "codec", "size_bytes", "verified_bytes", "received_bytes",
        "reused_bytes", "saved_bytes", "rate_bytes_per_s",
    )  # fmt: skip
    found = transfers_of(facts.model, facts.changes, context.now_s())
    rows = [
        (t.at_s, t.version, t.sequence, *(getattr(t.progress, name) for name in head[3:]))
        for t in found
    ]
    return csv_file(f"{device}-transfers", head, rows)


@get("/devices/{device:str}/releases.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_releases(request: AnyRequest, context: Context, device: FromPath[str]) -> Response[bytes]:
    """Give what a device reported of each release, all calls together, as a file."""
    model = query_of(request, "model").get("model")
    with context.database.reading() as connection:
        found = figures_of_device(connection, device)
    fields = figures_fields([each for each in found if not model or each.model == model])
    head = (
        "model", "version", "sequence", "last_at", "requests", "errors", "nonfinite",
        "latency_p50_s", "latency_p95_s", "memory_bytes", "load_s", "output_mean", "output_std",
    )  # fmt: skip
    return csv_file(f"{device}-releases", head, [[row[key] for key in head] for row in fields])


@get("/devices/{device:str}/evidence.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_evidence(request: AnyRequest, context: Context, device: FromPath[str]) -> Response[bytes]:
    """Give each check of each probe and trial in a device's history as a file, the newest first."""
    model = query_of(request, "model").get("model") or None
    with context.database.reading() as connection:
        changes = history_of(connection, device, model)
    head = ("at_s", "model", "state", "version", "check", "passed", "value", "limit")
    return csv_file(f"{device}-evidence", (*head, "reference", "detail"), _evidence_rows(changes))


def _evidence_rows(changes: Sequence[HistoryEntry]) -> Iterator[tuple[object, ...]]:
    for change, older in zip_longest(changes, changes[1:]):
        if change.evidence is None or (older is not None and older.evidence == change.evidence):
            continue  # it is given where it was new
        version = change.target_version or change.version
        for check in change.evidence.checks:
            yield (
                *(change.at_s, change.model, change.state, version, check.name, check.passed),
                *(check.value, check.limit, check.reference, check.detail),
            )


@get("/devices/{device:str}/figures.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_figures(request: AnyRequest, context: Context, device: FromPath[str]) -> Response[bytes]:
    """Give what a device reported over time as a file.

    Raises:
        NotFound: there is no such device, or not with this model.
    """
    asked = query_of(request, "model", "span")
    with context.database.reading() as connection:
        facts = device_facts(
            connection,
            device,
            asked.get("model") or None,
            _span(asked.get("span") or ""),
            context.now_s(),
        )
    head = ("at_s", "version", "sequence", "requests", "errors", "p50_s", "p95_s", "memory_bytes")
    windows = sorted(facts.windows, key=lambda each: each.at_s)
    return csv_file(f"{device}-figures", head, map(_figures_row, windows))


def _figures_row(window: Window) -> tuple[object, ...]:
    figures = window.figures
    p50, p95 = figures.latency.quantile(0.5), figures.latency.quantile(0.95)
    return (
        int(window.at_s),
        window.version,
        window.sequence,
        figures.requests,
        figures.errors,
        None if p50 is None else round(p50.value_s, 6),
        None if p95 is None else round(p95.value_s, 6),
        figures.memory_bytes or None,
    )


@post("/devices/{device:str}/notes", opt=needs(Permission.NOTE), sync_to_thread=True)
def _note_device(
    request: AnyRequest, context: Context, screens: ScreensHere, device: FromPath[str], data: Form
) -> Redirect:
    """Write a note beside a device.

    Raises:
        NotFound: there is no such device.
        UsageError: the note is empty or too long.
    """
    with context.database.reading() as connection:
        device_facts(connection, device, None, "day", context.now_s())
    write_note(request, context, "device", device, data.get("text", ""))
    screens.changed()
    return Redirect(f"{_address(device)}#nt", status_code=303)


@post(
    "/devices/{device:str}/notes/{note:int}/remove",
    opt=needs(Permission.NOTE),
    sync_to_thread=True,
)
def _unnote_device(
    request: AnyRequest,
    context: Context,
    screens: ScreensHere,
    device: FromPath[str],
    note: FromPath[int],
) -> Redirect:
    """Take a note away.

    Raises:
        NotFound: there is none.
    """
    take_note_away(request, context, "device", device, note)
    screens.changed()
    return Redirect(f"{_address(device)}#nt", status_code=303)


def _address(device: str) -> str:
    return f"/devices/{quote(device, safe='')}"


ROUTES: Final = [
    _show_device,
    _watch_device,
    _give_history,
    _give_figures,
    _give_transfers,
    _give_releases,
    _give_evidence,
    _note_device,
    _unnote_device,
]
"""The routes of the screen."""
MAKERS: Final = {NAME: make}
"""How the screen is made."""
