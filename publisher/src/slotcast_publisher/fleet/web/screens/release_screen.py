"""The screen of one release, its tables as files, and the notes beside it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, ServerSentEvent

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database import notes
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.screens.exports import csv_file
from slotcast_publisher.fleet.web.screens.note_forms import (
    AnyRequest,
    Form,
    take_note_away,
    write_note,
)
from slotcast_publisher.fleet.web.screens.release_data import ReleaseScreenData, release_facts
from slotcast_publisher.fleet.web.screens.release_statements import role_row
from slotcast_publisher.fleet.web.screens.release_view import release_screen
from slotcast_publisher.fleet.web.screens.rendering import Rendered, render
from slotcast_publisher.fleet.web.screens.slots_view import release_href
from slotcast_publisher.fleet.web.screens.watched_screens import Look, ScreensHere, query_of

NAME: Final = "release"
"""Of the screen."""


def make(look: Look) -> Rendered:
    """Make the screen of a release.

    Args:
        look: with `model` and `version`; `by`, the tag by which it is said where it runs.

    Raises:
        NotFound: there is no such release.
    """
    context, arguments = look.context, look.arguments
    facts = _facts(context, arguments["model"], arguments["version"], arguments.get("by", ""))
    screen = release_screen(facts, look.clock, str(context.repo.path))
    release, before = facts.release, facts.before
    here = release_href(release.model, release.version)
    by = arguments.get("by", "")
    query = f"?{urlencode({'by': by})}" if by else ""
    return render(
        "release.html",
        screen.title,
        screen.icon,
        frame=look.frame(screen.title, screen.icon, "/releases", f"/live{here}{query}"),
        here=here,
        release=release,
        before=before,
        before_href="" if before is None else release_href(before.model, before.version),
        rollouts=facts.rollouts,
        screen=screen,
        keys=facts.keys,
        chosen_key=facts.key,
        notes=facts.notes,
        may_note=Permission.NOTE in look.may,
    )


def _facts(context: WebContext, model: str, version: str, key: str = "") -> ReleaseScreenData:
    with context.database.reading() as connection:
        return release_facts(connection, context.repo, context.files, model, version, key)


# --- routes ---------------------------------------------------------------------------------------


@get("/releases/{model:str}/{version:str}", opt=needs(Permission.SEE), sync_to_thread=True)
def _show_release(
    request: AnyRequest, screens: ScreensHere, model: FromPath[str], version: FromPath[str]
) -> Response[str]:
    """Show a release."""
    asked = query_of(request, "by")
    return screens.page(request, NAME, model=model, version=version, **asked)


@get("/live/releases/{model:str}/{version:str}", opt=needs(Permission.SEE), sync_to_thread=False)
def _watch_release(
    request: AnyRequest, screens: ScreensHere, model: FromPath[str], version: FromPath[str]
) -> ServerSentEvent:
    """Say what changes on the screen of a release."""
    asked = query_of(request, "by")
    return screens.watch(request, NAME, model=model, version=version, **asked)


@get(
    "/releases/{model:str}/{version:str}/{table:str}",
    opt=needs(Permission.SEE),
    sync_to_thread=True,
)
def _give_table(
    request: AnyRequest,
    context: Context,
    model: FromPath[str],
    version: FromPath[str],
    table: FromPath[str],
) -> Response[bytes]:
    """Give a table of the screen as a file.

    Raises:
        NotFound: there is no such release, or no such table.
    """
    if table not in _TABLES:
        raise NotFound(f"no table {table!r:.60}: {', '.join(_TABLES)}")
    key = query_of(request, "by").get("by") or ""
    head, rows = _TABLES[table](_facts(context, model, version, key))
    return csv_file(f"{model}-{version}-{table.removesuffix('.csv')}", head, rows)


Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


def _behaviour(facts: ReleaseScreenData) -> Table:
    rows = []
    for release in facts.releases:
        figures = facts.sums.get(release.sequence)
        p50 = None if figures is None else figures.latency.quantile(0.5)
        p95 = None if figures is None else figures.latency.quantile(0.95)
        rows.append(
            (
                release.version,
                release.sequence,
                facts.ever.get(release.sequence, 0),
                None if figures is None else figures.requests,
                None if figures is None else figures.errors,
                None if p50 is None else round(p50.value_s, 6),
                None if p95 is None else round(p95.value_s, 6),
                None if figures is None else figures.memory_bytes or None,
                facts.bad.get(release.sequence, 0),
            )
        )
    head = ("version", "sequence", "devices", "requests", "errors", "p50_s", "p95_s")
    return (*head, "memory_bytes", "did_not_take_it"), rows


def _payloads(facts: ReleaseScreenData) -> Table:
    running = {each.version: each.devices for each in facts.versions}
    rows = []
    for record in facts.payloads:
        payload = record.payload
        base = None if payload.base is None else payload.base.version
        devices = None if base is None else running.get(base, 0)
        rows.append((base, payload.codec, payload.size_bytes, record.image_size_bytes, devices))
    return ("base", "codec", "size_bytes", "image_size_bytes", "devices_with_base"), rows


def _files(facts: ReleaseScreenData) -> Table:
    rows = [(f.path, f.role, f.size_bytes, f.sha256.hex()) for f in facts.release.files]
    return ("path", "role", "size_bytes", "sha256"), list(rows)


def _where(facts: ReleaseScreenData) -> Table:
    """Give where it runs: by group, and by the tag that is asked for."""
    places = [("group", each) for each in facts.groups]
    places += [(f"tag {facts.key}", each) for each in facts.tags]
    rows = [(by, p.name, p.devices, p.committed, p.trial) for by, p in places]
    return ("by", "name", "devices", "committed", "trial"), list(rows)


def _signed(facts: ReleaseScreenData) -> Table:
    found = [role_row(role) for role in facts.roles]
    rows = [(r.name, r.says, " ".join(r.keys), r.count, r.expires_s) for r in found]
    return ("role", "says", "keys", "count", "expires_s"), list(rows)


_TABLES: Final = {
    "behaviour.csv": _behaviour,
    "payloads.csv": _payloads,
    "files.csv": _files,
    "where.csv": _where,
    "signed.csv": _signed,
}


@post("/releases/{model:str}/{version:str}/notes", opt=needs(Permission.NOTE), sync_to_thread=True)
def _note_release(
    request: AnyRequest,
    context: Context,
    screens: ScreensHere,
    model: FromPath[str],
    version: FromPath[str],
    data: Form,
) -> Redirect:
    """Write a note beside a release.

    Raises:
        NotFound: there is no such release.
        UsageError: the note is empty or too long.
    """
    release = _facts(context, model, version).release
    subject = notes.release_subject(release.model, release.version)
    write_note(request, context, "release", subject, data.get("text", ""))
    screens.changed()
    return Redirect(f"{release_href(model, version)}#nt", status_code=303)


@post(
    "/releases/{model:str}/{version:str}/notes/{note:int}/remove",
    opt=needs(Permission.NOTE),
    sync_to_thread=True,
)
def _unnote_release(
    request: AnyRequest,
    context: Context,
    screens: ScreensHere,
    model: FromPath[str],
    version: FromPath[str],
    note: FromPath[int],
) -> Redirect:
    """Take a note away.

    Raises:
        NotFound: there is none.
    """
    take_note_away(request, context, "release", notes.release_subject(model, version), note)
    screens.changed()
    return Redirect(f"{release_href(model, version)}#nt", status_code=303)


ROUTES: Final = [_show_release, _watch_release, _give_table, _note_release, _unnote_release]
"""The routes of the screen."""
MAKERS: Final = {NAME: make}
"""How the screen is made."""
