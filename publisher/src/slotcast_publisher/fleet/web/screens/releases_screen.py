"""The list of releases, of all models or of one, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from litestar import Response, get
from litestar.params import FromPath
from litestar.response import ServerSentEvent

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database.fleet_counts import version_counts
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.screens import counted_pages
from slotcast_publisher.fleet.web.screens.exports import csv_file
from slotcast_publisher.fleet.web.screens.note_forms import AnyRequest
from slotcast_publisher.fleet.web.screens.rendering import Rendered, render
from slotcast_publisher.fleet.web.screens.rollout_view import ICON
from slotcast_publisher.fleet.web.screens.slots_view import release_href
from slotcast_publisher.fleet.web.screens.watched_screens import Look, ScreensHere, query_of
from slotcast_publisher.fleet.web.words import NONE, count_words, size_words
from slotcast_publisher.repository import Repository
from slotcast_schemas.plural import several

NAME: Final = "releases"
"""Of the screen."""
_OFFERED: Final = {"active": "RUNNING", "paused": "PAUSED", "canceled": "CANCELED"}


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release in the list."""

    model: str
    version: str
    sequence: int
    href: str
    offer: str
    devices: int
    devices_href: str
    image: str
    payload: str
    changes: str
    until_s: int
    created: int


def make(look: Look) -> Rendered:
    """Make the list.

    Args:
        look: with `model`, for the releases of one; `from`, how many newer ones are left out.

    Raises:
        NotFound: there is no such model.
    """
    context, model = look.context, look.arguments.get("model", "")
    start = counted_pages.read_start(look.arguments.get("from", ""))
    known = _known(context.repo, model)
    rows = _rows(context, known[start : start + counted_pages.PAGE])
    here = f"/releases/{quote(model, safe='')}" if model else "/releases"
    title = f"{model}, releases" if model else "Releases"
    models = len({each[0] for each in known})
    sentence = (
        f"{several(len(known), 'release')} of"
        f" {count_words(models)} model{'' if models == 1 else 's'}."
        if known
        else "There is no release yet."
    )
    query = counted_pages.start_query(start)
    return render(
        "releases.html",
        title,
        ICON,
        frame=look.frame(title, ICON, "/releases", f"/live{here}{query}"),
        here=here,
        model=model,
        sentence=sentence,
        rows=rows,
        total=len(known),
        first=start + 1,
        last=start + len(rows),
        asked_past_end=bool(known) and not rows,
        newer=counted_pages.page_before(here, start),
        older=counted_pages.page_after(here, start, len(known)),
    )


def _known(repo: Repository, model: str) -> list[tuple[str, str]]:
    """Name releases by model, the newest first; only those that are shown are read."""
    models = repo.store.models()
    if model and model not in models:
        raise NotFound(f"no model {model!r:.80}; `slotcast list` names those that are")
    return [
        (name, folder.path.name)
        for name in ([model] if model else sorted(models))
        for folder in reversed(repo.store.releases(name))
    ]


def _rows(context: WebContext, shown: Sequence[tuple[str, str]]) -> list[ReleaseRow]:
    models = {model for model, _ in shown}
    with context.database.reading() as connection:
        running = {
            (each.model, each.sequence): each.devices
            for model in models
            for each in version_counts(connection, model)
        }
    offers = {model: context.repo.present_offer(model) for model in models}
    rows = []
    for model, version in shown:
        folder = context.repo.store.folder(model, version)
        release, offer = folder.load(), offers[model]
        payloads = [r.payload.size_bytes for r in folder.payloads() if r.is_image]
        is_offered = offer is not None and offer.version == version
        rows.append(
            ReleaseRow(
                model=model,
                version=version,
                sequence=release.sequence,
                href=release_href(model, version),
                offer=_OFFERED.get(offer.state, "") if is_offered and offer is not None else "",
                devices=running.get((model, release.sequence), 0),
                devices_href=f"/devices?{urlencode({'model': model, 'version': version})}",
                image=size_words(release.image_size_bytes),
                payload=size_words(min(payloads)) if payloads else NONE,
                changes=", ".join(release.changes).replace("_", " "),
                until_s=release.supported_until,
                created=release.created,
            )
        )
    return rows


# --- routes ---------------------------------------------------------------------------------------


@get("/releases", opt=needs(Permission.SEE), sync_to_thread=True)
def _show_releases(request: AnyRequest, screens: ScreensHere) -> Response[str]:
    """Show the releases of all models."""
    return screens.page(request, NAME, **query_of(request, "from"))


@get("/releases/{model:str}", opt=needs(Permission.SEE), sync_to_thread=True)
def _show_releases_of(
    request: AnyRequest, screens: ScreensHere, model: FromPath[str]
) -> Response[str]:
    """Show the releases of a model."""
    return screens.page(request, NAME, model=model, **query_of(request, "from"))


@get("/live/releases", opt=needs(Permission.SEE), sync_to_thread=False)
def _watch_releases(request: AnyRequest, screens: ScreensHere) -> ServerSentEvent:
    """Say what changes in the list of all releases."""
    return screens.watch(request, NAME, **query_of(request, "from"))


@get("/live/releases/{model:str}", opt=needs(Permission.SEE), sync_to_thread=False)
def _watch_releases_of(
    request: AnyRequest, screens: ScreensHere, model: FromPath[str]
) -> ServerSentEvent:
    """Say what changes in the list of a model's releases."""
    return screens.watch(request, NAME, model=model, **query_of(request, "from"))


@get("/releases.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_releases(context: Context) -> Response[bytes]:
    """Give all releases as a file."""
    head = ("model", "version", "sequence", "created_s", "devices", "changes", "supported_until_s")
    rows = [
        (r.model, r.version, r.sequence, r.created, r.devices, r.changes, r.until_s or None)
        for r in _rows(context, _known(context.repo, ""))
    ]
    return csv_file("releases", head, rows)


ROUTES: Final = [
    _show_releases,
    _show_releases_of,
    _watch_releases,
    _watch_releases_of,
    _give_releases,
]
"""The routes of the screen."""
MAKERS: Final = {NAME: make}
"""How the screen is made."""
