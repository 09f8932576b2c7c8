"""The screen of one rollout, its tables as files, and what a person asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath
from litestar.response import Redirect, ServerSentEvent

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database.rollouts import LogLine
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.asking import NEEDED, ask_rollout
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.guards import needs, who_asks
from slotcast_publisher.fleet.web.plots.bars import bar
from slotcast_publisher.fleet.web.screens import rollout_data
from slotcast_publisher.fleet.web.screens.actions import actions_of
from slotcast_publisher.fleet.web.screens.distribution_view import latency_view
from slotcast_publisher.fleet.web.screens.exports import csv_file
from slotcast_publisher.fleet.web.screens.failures_view import failures_of, settled_words
from slotcast_publisher.fleet.web.screens.rendering import Rendered, render
from slotcast_publisher.fleet.web.screens.rollout_tables import TABLES, over_time_table
from slotcast_publisher.fleet.web.screens.rollout_view import rollout_screen
from slotcast_publisher.fleet.web.screens.switch_data import around_switch
from slotcast_publisher.fleet.web.screens.switch_view import (
    SwitchHour,
    SwitchPlot,
    switch_plots,
)
from slotcast_publisher.fleet.web.screens.watched_screens import Look, ScreensHere, query_of

NAME: Final = "rollout"
"""Of the screen."""
_LOG_FILE_MAX: Final = 10_000
"""The most lines of a rollout's log in a file."""

AnyRequest = Request[Any, Any, Any]
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


@dataclass(frozen=True, slots=True)
class ShownLog:
    """The lines of a log that are shown, the newest first."""

    lines: tuple[LogLine, ...]
    has_more: bool


def make(look: Look) -> Rendered:
    """Make the screen of a rollout.

    Args:
        look: with the rollout's `name`; `asked`, the id of a request; `log`, `all` for all of it.

    Raises:
        NotFound: there is no such rollout.
    """
    context, name = look.context, look.arguments["name"]
    view = look.view_of(name)
    rollout = context.files.load(name)
    screen = rollout_screen(view, rollout.plan)
    here = f"/rollouts/{quote(name, safe='')}"
    lines = rollout_data.log_lines(context, name, rollout_data.LINES_MAX)
    shown = len(lines) if look.arguments.get("log") == "all" else rollout_data.LINES_SHOWN
    asked = look.arguments.get("asked", "")
    releases = f"/releases/{quote(view.model, safe='')}"
    return render(
        "rollout.html",
        screen.title,
        screen.icon,
        look.clock.as_of_words(view.at_s),
        frame=look.frame(screen.title, screen.icon, "/rollouts", _live(here, look)),
        here=here,
        view=view,
        screen=screen,
        actions=actions_of(view, str(context.repo.path), look.may),
        asked=rollout_data.asked_words(context, name, asked) if asked else None,
        latency=latency_view(view, screen.group),
        over_time=_over_time(context, view, screen.group),
        failures=failures_of(view),
        settled=settled_words(view),
        log=ShownLog(tuple(lines[:shown]), len(lines) > shown),
        paused_s=rollout_data.paused_since(lines, view),
        started_s=datetime.fromisoformat(view.started_at).timestamp(),
        plan_facts=rollout_data.plan_facts(rollout.plan),
        plan_text=_plan_text(context, name),
        new_href=f"{releases}/{quote(view.version, safe='')}",
        old_href=f"{releases}/{quote(view.before, safe='')}",
        bar=bar,
    )


def _over_time(context: WebContext, view: RolloutView, group: str) -> list[SwitchPlot]:
    """Draw what the release does since the devices switched."""
    return switch_plots(_hours(context, view), view, group) if group else []


def _hours(context: WebContext, view: RolloutView) -> list[SwitchHour]:
    with context.database.reading() as connection:
        return around_switch(connection, view.model, view.sequence)


def _live(here: str, look: Look) -> str:
    given = [(k, v) for k, v in look.arguments.items() if k in {"asked", "log"}]
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in given)
    return f"/live{here}{f'?{query}' if query else ''}"


def _plan_text(context: WebContext, name: str) -> str:
    return context.files.plan_bytes(name).decode("utf-8", errors="replace")


# --- routes ---------------------------------------------------------------------------------------


@get("/rollouts/{name:str}", opt=needs(Permission.SEE), sync_to_thread=True)
def _show_rollout(request: AnyRequest, screens: ScreensHere, name: FromPath[str]) -> Response[str]:
    """Show a rollout."""
    return screens.page(request, NAME, name=name, **query_of(request, "asked", "log"))


@get("/live/rollouts/{name:str}", opt=needs(Permission.SEE), sync_to_thread=False)
def _watch_rollout(
    request: AnyRequest, screens: ScreensHere, name: FromPath[str]
) -> ServerSentEvent:
    """Say what changes on the screen of a rollout."""
    return screens.watch(request, NAME, name=name, **query_of(request, "asked", "log"))


@get("/rollouts/{name:str}/{table:str}", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_table(
    context: Context, screens: ScreensHere, name: FromPath[str], table: FromPath[str]
) -> Response[bytes]:
    """Give a table of the screen as a file.

    Raises:
        NotFound: there is no such rollout, or no such table.
    """
    context.files.plan_bytes(name)
    if table == "log.csv":
        lines = rollout_data.log_lines(context, name, _LOG_FILE_MAX)
        said = [(line.at_s, line.who, line.group, line.word, line.text) for line in lines]
        return csv_file(f"{name}-log", ("at_s", "who", "group", "word", "text"), said)
    if table == "over-time.csv":
        head, rows = over_time_table(_hours(context, screens.view_of(name)))
    elif table in TABLES:
        head, rows = TABLES[table](screens.view_of(name))
    else:
        known = ", ".join(("log.csv", "over-time.csv", *TABLES))
        raise NotFound(f"no table {table!r:.60}: {known}")
    return csv_file(f"{name}-{table.removesuffix('.csv')}", head, rows)


def _asking(wish: Wish) -> HTTPRouteHandler:
    """Make the route of a request: written down, and carried out by whoever drives the rollout."""

    @post(
        f"/rollouts/{{name:str}}/{wish.replace('_', '-')}",
        opt=needs(NEEDED[wish]),
        sync_to_thread=True,
        name=f"ask-{wish}",
    )
    def ask(
        request: AnyRequest,
        context: Context,
        screens: ScreensHere,
        name: FromPath[str],
        data: Form,
    ) -> Response[Any]:
        group, why = data.get("group", ""), data.get("why", "").strip()
        asked = ask_rollout(context, who_asks(request), name, wish, why=why, group=group)
        screens.changed()
        there = f"/rollouts/{quote(name, safe='')}?asked={asked.request.id}"
        return Redirect(there, status_code=303)

    return ask


_WISHES = [wish for wish in NEEDED if wish is not Wish.START]  # which takes a plan
ROUTES = [_show_rollout, _watch_rollout, _give_table, *map(_asking, _WISHES)]
MAKERS = {NAME: make}
