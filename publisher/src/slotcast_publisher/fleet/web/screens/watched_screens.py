"""Gives screens to who asks: whole, and then each part that changes, for as long as they watch.

A screen is a function from a `Look` to a page. One page is made for all who may see and do the same
(`Shared`), at most once a second, however many watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from litestar import MediaType, Request, Response
from litestar.di import NamedDependency
from litestar.exceptions import ServiceUnavailableException
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.authentication import who_of
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.csrf import csrf_token
from slotcast_publisher.fleet.web.guards import Who, who_asks
from slotcast_publisher.fleet.web.places import Places
from slotcast_publisher.fleet.web.screens.frame import Frame, places
from slotcast_publisher.fleet.web.screens.rendering import Rendered, personal
from slotcast_publisher.fleet.web.screens.rollout_data import view_of_rollout
from slotcast_publisher.fleet.web.screens.shared_looks import Shared
from slotcast_publisher.fleet.web.text import shown
from slotcast_publisher.fleet.web.words import Clock, clock_of
from slotcast_schemas.errors import SlotcastError

EVERY_S: Final = 1.0
"""The seconds between two looks of who watches."""
ALIVE_EVERY: Final = 5
"""After so many looks without a change it is said that there was none."""
CHECK_EVERY: Final = 10
"""After so many looks it is seen that the session has not ended."""
WATCHERS_MAX: Final = 500
"""So many watch at once; who comes then takes the place of the user who has most."""
ZONE_COOKIE: Final = "slotcast_zone"
"""Where the script writes the reader's time zone."""
_HAVE_MAX_CHARS: Final = 4_000
_ARGUMENT_MAX_CHARS: Final = 300
"""The most characters of what a browser says that it has, and of one argument."""

AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class ScreenQuery:
    """What somebody looks at: the same for all who see and may do the same.

    Attributes:
        screen: its name.
        arguments: of its address, by their names.
        may: what the viewer may do.
        role: as it is shown.
        is_session: whether there is a session to end.
        zone: of the viewer.
    """

    screen: str
    arguments: tuple[tuple[str, str], ...]
    may: frozenset[Permission]
    role: str
    is_session: bool
    zone: str


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a screen.

    Attributes:
        context: what there is to look at.
        arguments: of the screen's address.
        may: what the viewer may do.
        clock: when, and the viewer's zone.
        asked: all of this, as it tells looks apart.
        views: of rollouts, by their names.
    """

    context: WebContext
    arguments: Mapping[str, str]
    may: frozenset[Permission]
    clock: Clock
    asked: ScreenQuery
    views: Shared[str, RolloutView]

    def view_of(self, name: str) -> RolloutView:
        """Give the last look at a rollout; all screens share it.

        Raises:
            NotFound: there is no such rollout.
        """
        return self.views.get(name)

    def frame(self, title: str, icon: str, here: str, live: str = "") -> Frame:
        """Give what stands around the screen.

        Args:
            title: of the window.
            icon: of the window.
            here: the entry of the navigation that is current.
            live: the address that says what has changed; empty for a screen that stands still.
        """
        since = self.clock.at(self.context.database.knows_since_s)
        return Frame(
            title=title,
            icon=icon,
            places=places(here, self.may),
            clock=self.clock,
            live=live,
            role=self.asked.role,
            can_sign_out=self.asked.is_session,
            foot=(
                "What runs: from retained statuses, whole again within a minute after a restart",
                since + " is as far back as the history goes",
            ),
        )


Maker = Callable[[Look], Rendered]
"""Makes a screen."""


@dataclass(slots=True, eq=False)
class _Watcher:
    """One stream of a screen; `is_gone` where another took its place."""

    is_gone: bool = False

    @property
    def is_waiting(self) -> bool:
        """False: it is shown what changes (`places.Holder`)."""
        return False


def _name(who: Who) -> str:
    return f"{who.how} {who.name}"


class Screens:
    """All screens of a page.

    Args:
        context: what there is to look at.
        makers: of each screen, by its name.
    """

    def __init__(self, context: WebContext, makers: Mapping[str, Maker]) -> None:
        self._context = context
        self._makers = makers
        self._shared: Shared[ScreenQuery, Rendered] = Shared(self._make, context.clock)
        self._views: Shared[str, RolloutView] = Shared(
            lambda name: view_of_rollout(context, name), context.clock
        )
        self._places = Places(WATCHERS_MAX)

    def _make(self, asked: ScreenQuery) -> Rendered:
        clock = clock_of(asked.zone, self._context.now_s())
        look = Look(self._context, dict(asked.arguments), asked.may, clock, asked, self._views)
        return self._makers[asked.screen](look)

    def page(self, request: AnyRequest, screen: str, **arguments: str | None) -> Response[str]:
        """Give a screen whole. It may take as long as a look at the fleet: not for the event loop.

        Args:
            request: of who asks.
            screen: its name.
            arguments: of its address; None is left out.

        Raises:
            SlotcastError: there is no such thing, or it cannot be read now.
        """
        asked, who = _asked(request, screen, arguments)
        rendered = self._shared.get(asked)
        html = personal(rendered.html, who.name, csrf_token(request))
        return Response(html, media_type=MediaType.HTML)

    def view_of(self, name: str) -> RolloutView:
        """Give the last look at a rollout, which all screens share.

        Raises:
            NotFound: there is no such rollout.
        """
        return self._views.get(name)

    def changed(self) -> None:
        """Have all screens looked at anew: a person changed something, and wants to see it."""
        self._views.forget()
        self._shared.forget()

    def watch(self, request: AnyRequest, screen: str, **arguments: str | None) -> ServerSentEvent:
        """Give the parts of a screen as they change, until the watcher goes.

        Args:
            request: of who asks; its field `have` names the parts that the watcher has:
                `NAME:DIGEST`, with commas between.
            screen: its name.
            arguments: of its address; None is left out.

        Raises:
            ServiceUnavailableException: too many watch.
        """
        asked, who = _asked(request, screen, arguments)
        if len(self._places) >= WATCHERS_MAX and self._places.has_most(_name(who)):
            raise ServiceUnavailableException(f"{WATCHERS_MAX} watch already; load the page again")
        have = request.query_params.get("have", "")
        pairs = (each.partition(":") for each in have[:_HAVE_MAX_CHARS].split(","))
        known = {name: digest for name, _, digest in pairs}
        return ServerSentEvent(self._watch(request, asked, who, known, csrf_token(request)))

    async def _watch(
        self, request: AnyRequest, asked: ScreenQuery, who: Who, have: dict[str, str], csrf: str
    ) -> AsyncIterator[ServerSentEventMessage]:
        watcher = _Watcher()
        leaving = self._places.take(watcher, _name(who))
        if isinstance(leaving, _Watcher):
            leaving.is_gone = True
        head, quiet, looks = ("", ""), ALIVE_EVERY, 0
        try:
            while not watcher.is_gone:
                looks += 1
                if looks % CHECK_EVERY == 0 and not await self._is_signed_in(request, who):
                    yield _event("gone", {})
                    return
                try:
                    rendered = await asyncio.to_thread(self._shared.get, asked)
                except SlotcastError:
                    await asyncio.sleep(EVERY_S)  # the watcher's own clock says how old it is
                    continue
                quiet += 1
                for name, part in rendered.changed(have).items():
                    have[name] = part.digest
                    html = personal(part.html, who.name, csrf)
                    yield _event("part", {"id": name, "html": html})
                    quiet = 0
                if head != (rendered.title, rendered.icon):
                    head = rendered.title, rendered.icon
                    yield _event("head", {"title": rendered.title, "icon": rendered.icon})
                if quiet == 0 or quiet >= ALIVE_EVERY:
                    quiet = 0
                    yield _event("alive", {"as_of": rendered.as_of})
                await asyncio.sleep(EVERY_S)
        finally:
            self._places.leave(watcher)

    async def _is_signed_in(self, request: AnyRequest, who: Who) -> bool:
        """Say whether the watcher could still ask: sessions end, and roles change."""
        now = await asyncio.to_thread(who_of, self._context, request)
        return now is not None and now.permissions == who.permissions


ScreensHere = NamedDependency[Screens]
"""How a route asks for the screens: a parameter `screens: ScreensHere`."""


def query_of(request: AnyRequest, *names: str) -> dict[str, str | None]:
    """Give fields of an address, those that are not there as None.

    Args:
        request: of who asks.
        names: of the fields.
    """
    return {name: request.query_params.get(name) for name in names}


def _event(name: str, data: Mapping[str, str]) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=name, data=msgspec.json.encode(data).decode())


def _asked(
    request: AnyRequest, screen: str, arguments: Mapping[str, str | None]
) -> tuple[ScreenQuery, Who]:
    who = who_asks(request)
    given = ((name, value[:_ARGUMENT_MAX_CHARS]) for name, value in arguments.items() if value)
    asked = ScreenQuery(
        screen=screen,
        arguments=tuple(sorted(given)),
        may=who.permissions,
        role="" if who.role is None else shown(who.role),
        is_session=who.how == "session",
        zone=request.cookies.get(ZONE_COOKIE, "")[:64],
    )
    return asked, who
