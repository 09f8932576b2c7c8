"""The screen of the audit log: who changed what, from where, what was before and after."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlencode

from litestar import Response, get
from litestar.response import ServerSentEvent, Stream

from slotcast_publisher.fleet.access.audit import LISTED_MAX, AuditEntry, AuditFilter, entries
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.screens.asked_names import (
    UNKNOWN,
    check_names,
    left_out_words,
    unknown_names,
)
from slotcast_publisher.fleet.web.screens.exports import csv_lines
from slotcast_publisher.fleet.web.screens.note_forms import AnyRequest
from slotcast_publisher.fleet.web.screens.rendering import Rendered, render
from slotcast_publisher.fleet.web.screens.rollout_view import ICON
from slotcast_publisher.fleet.web.screens.watched_screens import Look, ScreensHere, query_of

NAME: Final = "audit"
"""Of the screen."""
PAGE: Final = 50
"""The number of entries on a page."""
FIELDS: Final = ("who", "action", "subject")
"""Of the filter, as they stand in the address."""
_NAMES: Final = (*FIELDS, "before")
"""What an address may hold."""
KINDS: Final = {
    "session": "signing in and out",
    "user": "users",
    "token": "tokens",
    "rollout": "rollouts",
    "note": "notes",
}
"""What entries are about: the first word of their action."""
HEAD: Final = ("id", "at_s", "who", "how", "address", "action", "subject", "before", "after")
"""The columns of the file."""
_ADMIN: Final = needs(Permission.ADMINISTER)


def filter_of(given: Mapping[str, str | None]) -> AuditFilter:
    """Give the filter that an address names."""
    who, action, subject = ((given.get(name) or "").strip() for name in FIELDS)
    return AuditFilter(who=who, action=action, subject=subject)


def make(look: Look) -> Rendered:
    """Make the screen.

    Args:
        look: with the fields of the filter; `before`, the last entry of the page before.
    """
    asked, before = filter_of(look.arguments), _before(look.arguments.get("before", ""))
    with look.context.database.reading() as connection:
        found = entries(connection, before_id=before, limit=PAGE + 1, asked=asked)
    shown = found[:PAGE]
    older = str(shown[-1].id) if len(found) > PAGE else ""
    title = "Audit log"
    return render(
        "audit.html",
        title,
        ICON,
        frame=look.frame(title, ICON, "/users", f"/live{_href(look.arguments)}"),
        asked=asked,
        left_out=left_out_words(look.arguments.get(UNKNOWN, "")),
        kinds=KINDS,
        rows=shown,
        sentence=_sentence(asked, shown, before),
        is_first=before is None,
        first_href=_href({**look.arguments, "before": ""}),
        older_href=_href({**look.arguments, "before": older}) if older else "",
        csv_href=_href(look.arguments, "/audit.csv"),
        command_line=_command(asked, str(look.context.repo.path)),
    )


def _before(text: str) -> int | None:
    """Read the entry that a page ended with; anything else begins anew."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _sentence(asked: AuditFilter, shown: list[AuditEntry], before: int | None) -> str:
    if shown:
        return "Who changed what, the newest first." if asked.is_any else "Of what is asked for."
    if before is not None:
        return "Nothing is older than that."
    return "Nobody has changed anything yet." if asked.is_any else "No entry fits that."


def _href(given: Mapping[str, str], path: str = "/audit") -> str:
    names = FIELDS if path.endswith(".csv") else _NAMES
    fields = {name: given[name] for name in names if given.get(name)}
    return f"{path}?{urlencode(fields)}" if fields else path


def _command(asked: AuditFilter, repo: str) -> str:
    given = (("--who", asked.who), ("--action", asked.action), ("--subject", asked.subject))
    words = [word for option, value in given if value for word in (option, value)]
    return shlex.join(["slotcast", "audit", repo, *words])


# --- routes ---------------------------------------------------------------------------------------


@get("/audit", opt=_ADMIN, sync_to_thread=True)
def _show_audit(request: AnyRequest, screens: ScreensHere) -> Response[str]:
    """Show the audit log."""
    asked, unknown = query_of(request, *_NAMES), unknown_names(request, *_NAMES)
    return screens.page(request, NAME, **asked, **{UNKNOWN: unknown})


@get("/live/audit", opt=_ADMIN, sync_to_thread=False)
def _watch_audit(request: AnyRequest, screens: ScreensHere) -> ServerSentEvent:
    """Say what changes in the audit log."""
    return screens.watch(request, NAME, **query_of(request, *_NAMES))


@get("/audit.csv", opt=_ADMIN, sync_to_thread=False)
def _give_audit(request: AnyRequest, context: Context) -> Stream:
    """Give all entries that are asked for as a file."""
    check_names(request, *_NAMES)
    asked = filter_of(query_of(request, *FIELDS))
    headers = {"content-disposition": 'attachment; filename="audit.csv"'}
    lines = csv_lines(HEAD, _all_rows(context, asked))
    return Stream(lines, media_type="text/csv; charset=utf-8", headers=headers)


def _all_rows(context: WebContext, asked: AuditFilter) -> Iterator[list[object]]:
    """Give the rows of all entries, a thousand at a time."""
    before: int | None = None
    while True:
        with context.database.reading() as connection:
            found = entries(connection, before_id=before, limit=LISTED_MAX, asked=asked)
        for entry in found:
            yield [getattr(entry, name) for name in HEAD]
        if len(found) < LISTED_MAX:
            return
        before = found[-1].id


ROUTES: Final = [_show_audit, _watch_audit, _give_audit]
"""The routes of the screen."""
MAKERS: Final = {NAME: make}
"""How the screen is made."""
