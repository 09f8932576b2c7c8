"""The first screen, the list of rollouts, and their tables as files."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get
from litestar.response import ServerSentEvent

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database.fleet_counts import state_counts, version_counts
from slotcast_publisher.fleet.web.context import Context
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.plots.bars import bar
from slotcast_publisher.fleet.web.rollout_standing import last_views, rollout_names
from slotcast_publisher.fleet.web.screens.calls_view import CallsPlot, calls_plots
from slotcast_publisher.fleet.web.screens.devices_view import device_rows
from slotcast_publisher.fleet.web.screens.exports import csv_file
from slotcast_publisher.fleet.web.screens.fleet_data import FleetData, read_fleet
from slotcast_publisher.fleet.web.screens.fleet_view import FleetScreen, fleet_screen, rollout_row
from slotcast_publisher.fleet.web.screens.rendering import Rendered, render
from slotcast_publisher.fleet.web.screens.rollout_view import ICON, ICON_PAUSED
from slotcast_publisher.fleet.web.screens.watched_screens import Look, ScreensHere, query_of
from slotcast_publisher.fleet.web.words import count_words
from slotcast_schemas.plural import several

NAME: Final = "fleet"
"""Of the first screen."""
ROLLOUTS: Final = "rollouts"
"""Of the list of rollouts."""
LIVE_ROLLOUTS_MAX: Final = 30
"""The most rollouts under way on the first screen."""
PAGE: Final = 25
"""The number of rollouts on a page of their list."""
_REASONS_MAX: Final = 3
"""The most reasons that are named for dropped messages."""

AnyRequest = Request[Any, Any, Any]


def make(look: Look) -> Rendered:
    """Make the first screen.

    Args:
        look: at the fleet.
    """
    data = read_fleet(look.context)
    names = rollout_names(look.context)
    live = [name for name, has_ended in names if not has_ended][:LIVE_ROLLOUTS_MAX]
    views = [look.view_of(name) for name in live]
    screen = fleet_screen(data.presence, data.states, data.versions, data.alarms, views)
    most = sorted(data.dropped.items(), key=lambda item: -item[1])[:_REASONS_MAX]
    return render(
        "fleet.html",
        screen.title,
        screen.icon,
        look.clock.as_of_words(look.clock.now_s),
        frame=look.frame(screen.title, screen.icon, "/", "/live/"),
        screen=screen,
        saved_bytes=data.saved_bytes,
        dropped=sum(data.dropped.values()),
        dropped_words=", ".join(f"{count_words(n)} {why}" for why, n in most) or "none dropped",
        rollout_count=len(names),
        rows=list(device_rows(data.in_need, look.clock.now_s)),
        over_time=_over_time(data, screen, look.clock.now_s),
        bar=bar,
    )


def _over_time(data: FleetData, screen: FleetScreen, now_s: float) -> dict[str, CallsPlot]:
    """Draw which releases answered the calls of each model."""
    names = {(each.model, each.sequence): each.version for each in data.versions}
    kinds = {
        (row.model, cell.state): kind
        for row in screen.versions
        for cell, kind in zip(row.cells, row.kinds, strict=True)
    }
    return calls_plots(data.calls, names, kinds, now_s)


def make_rollouts(look: Look) -> Rendered:
    """Make the list of rollouts.

    Args:
        look: at the rollouts; `from`, the number of the first.
    """
    names = rollout_names(look.context)
    first = _first(look.arguments.get("from", ""))
    views = last_views(look.context, [name for name, _ in names[first : first + PAGE]])
    live = sum(not has_ended for _, has_ended in names)
    last = min(len(names), first + PAGE)
    words = several(len(names), "rollout")
    sentence = f"{words}, {count_words(live)} under way." if names else "No rollout yet."
    paused = [f"{view.model} {view.version}" for view in views if view.state == "PAUSED"]
    title, icon = (f"PAUSED {paused[0]}", ICON_PAUSED) if paused else ("Rollouts", ICON)
    return render(
        "rollouts.html",
        title,
        icon,
        frame=look.frame(title, icon, "/rollouts", f"/live/rollouts?from={first}"),
        screen=_Rows([rollout_row(view) for view in views]),
        sentence=sentence,
        shown_words=f"{first + 1} to {last} of {len(names)}" if names else "",
        next_href=f"/rollouts?from={last}" if last < len(names) else "",
        bar=bar,
    )


class _Rows:
    """What the table of rollouts shows."""

    def __init__(self, rollouts: list[Any]) -> None:
        self.rollouts = rollouts


def _first(text: str) -> int:
    return min(int(text), 1_000_000) if text.isascii() and text.isdecimal() else 0


# --- routes ---------------------------------------------------------------------------------------


@get("/", opt=needs(Permission.SEE), sync_to_thread=True)
def _show_fleet(request: AnyRequest, screens: ScreensHere) -> Response[str]:
    """Show the first screen."""
    return screens.page(request, NAME)


@get("/live", opt=needs(Permission.SEE), sync_to_thread=False)
def _watch_fleet(request: AnyRequest, screens: ScreensHere) -> ServerSentEvent:
    """Say what changes on the first screen."""
    return screens.watch(request, NAME)


@get("/rollouts", opt=needs(Permission.SEE), sync_to_thread=True)
def _show_rollouts(request: AnyRequest, screens: ScreensHere) -> Response[str]:
    """Show the list of rollouts."""
    return screens.page(request, ROLLOUTS, **query_of(request, "from"))


@get("/live/rollouts", opt=needs(Permission.SEE), sync_to_thread=False)
def _watch_rollouts(request: AnyRequest, screens: ScreensHere) -> ServerSentEvent:
    """Say what changes in the list of rollouts."""
    return screens.watch(request, ROLLOUTS, **query_of(request, "from"))


@get("/fleet/states.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_states(context: Context) -> Response[bytes]:
    """Give what devices say, as a file."""
    with context.database.reading() as connection:
        found = state_counts(connection)
    rows = [(each.model, each.state, each.reason, each.devices) for each in found]
    return csv_file("states", ("model", "state", "reason", "devices"), rows)


@get("/fleet/versions.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_versions(context: Context) -> Response[bytes]:
    """Give how many devices run which release, as a file."""
    with context.database.reading() as connection:
        found = version_counts(connection)
    rows = [(each.model, each.version, each.sequence, each.devices) for each in found]
    return csv_file("versions", ("model", "version", "sequence", "devices"), rows)


@get("/rollouts.csv", opt=needs(Permission.SEE), sync_to_thread=True)
def _give_rollouts(context: Context) -> Response[bytes]:
    """Give the rollouts as a file."""
    views = last_views(context, [name for name, _ in rollout_names(context)])
    head = ("name", "model", "version", "state", "started_by", "started_at", "devices", "why")
    return csv_file("rollouts", head, [[getattr(view, key) for key in head] for view in views])


ROUTES = [
    _show_fleet,
    _watch_fleet,
    _show_rollouts,
    _watch_rollouts,
    _give_states,
    _give_versions,
    _give_rollouts,
]
MAKERS = {NAME: make, ROLLOUTS: make_rollouts}
