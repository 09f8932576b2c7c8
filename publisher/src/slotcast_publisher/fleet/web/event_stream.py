"""What happens, as it happens: one stream for each viewer, one look at the database for all.

A stream is Server-Sent Events. Each event that is kept carries an id, the marks up to and with it,
so a browser that was away goes on where it was (`Last-Event-ID`). Two more have no id, for only
their last counts: `view` says that what is known of a rollout has changed, `fleet` the present
counts. A viewer that is too slow is let go, and comes again; a stream ends by itself after a while,
so that who is signed out does not go on listening. Screens have a stream of their own, of parts of
pages (`screens/watched_screens`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, get
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.events import (
    About,
    Event,
    Gaps,
    Marks,
    News,
    news,
    parse_marks,
    present_marks,
)
from slotcast_publisher.fleet.database.rollouts import view_times
from slotcast_publisher.fleet.web.api.counting import Counting
from slotcast_publisher.fleet.web.api.events import (
    Kinds,
    OfDevice,
    OfModel,
    OfRollout,
    event_view,
    provide_about,
)
from slotcast_publisher.fleet.web.guards import needs, who_asks
from slotcast_publisher.fleet.web.places import Places
from slotcast_schemas.errors import SlotcastError, UsageError

LOOK_EVERY_S: Final = 1.0
"""The seconds between two looks at the database, however many viewers there are."""
FLEET_EVERY_S: Final = 5.0
"""The seconds between two counts of the fleet."""
VIEWERS_MAX: Final = 500
"""The most streams at once; who comes then takes one of the user who has most."""
WAITING_MAX: Final = 2_000
"""So many events may wait for one viewer; then it is let go."""
CATCH_UP_MAX: Final = 20_000
"""So many events are given to who was away; more, and it should load the page anew."""
STREAM_S: Final = 900.0
"""The seconds after which a stream ends; a browser begins another one."""
BEAT_S: Final = 15.0
"""The seconds after which a silent stream says that it is there."""
_RETRY_MS: Final = 2_000
"""The milliseconds after which a browser asks again for a stream that ended."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a stream.

    Attributes:
        marks: how far a reader has come with it; None where it is not kept.
        event: that was kept; None for the others.
    """

    name: str
    data: str
    marks: Marks | None = None
    event: Event | None = None


@dataclass(slots=True, eq=False)
class Viewer:
    """One stream.

    Attributes:
        about: which events it wants.
        queue: what waits for it.
        is_lost: it was too slow, or the page ends.
    """

    about: About
    queue: asyncio.Queue[Said | None] = field(default_factory=lambda: asyncio.Queue(WAITING_MAX))
    is_lost: bool = False

    @property
    def is_waiting(self) -> bool:
        """False: it is told what happens (`places.Holder`)."""
        return False

    def let_go(self) -> None:
        """End its stream."""
        self.is_lost = True
        with contextlib.suppress(asyncio.QueueFull):
            self.queue.put_nowait(None)

    def tell(self, said: Said) -> None:
        """Hand over a message, if it wants it."""
        if said.event is not None and not self.about.has(said.event):
            return
        try:
            self.queue.put_nowait(said)
        except asyncio.QueueFull:
            self.is_lost = True


class Live:
    """Looks for all viewers, while there are any; of one event loop.

    Args:
        database: of the fleet.
        counting: what viewers share.
    """

    def __init__(self, database: Database, counting: Counting) -> None:
        self._database = database
        self._counting = counting
        self._viewers: set[Viewer] = set()
        self._places = Places(VIEWERS_MAX)
        self._task: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()
        self._marks = Marks()
        self._gaps = Gaps()
        self._views: dict[str, int] = {}
        self._fleet = ""
        self._fleet_s = 0.0

    @property
    def viewers(self) -> int:
        """How many streams there are."""
        return len(self._viewers)

    async def stream(
        self, about: About, marks: Marks | None, who: str
    ) -> AsyncIterator[ServerSentEventMessage]:
        """Give what happens, beginning behind `marks`; None begins with what happens next.

        Args:
            about: which events.
            marks: how far the reader had come.
            who: reads.
        """
        viewer = Viewer(about)
        until_s = time.monotonic() + STREAM_S
        began = await self._join(viewer, who)
        try:
            hello = Said("hello", "{}", began if marks is None else marks)
            yield _message(hello, retry_ms=_RETRY_MS)
            if marks is not None:
                async for said in self._caught_up(about, marks, began):
                    yield _message(said)
            while not viewer.is_lost and time.monotonic() < until_s:
                try:
                    next_ = await asyncio.wait_for(viewer.queue.get(), BEAT_S)
                except TimeoutError:
                    yield ServerSentEventMessage(comment="still here")
                    continue
                if next_ is None:
                    return
                yield _message(next_)
        finally:
            self._leave(viewer)

    async def close(self) -> None:
        """End all streams."""
        for viewer in list(self._viewers):
            viewer.let_go()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # --- looking --------------------------------------------------------------------------------

    async def _join(self, viewer: Viewer, who: str) -> Marks:
        """Count a viewer in, and give how far everybody has come at this moment."""
        leaving = self._places.take(viewer, who)
        if leaving is viewer:
            raise HTTPException(
                status_code=503,
                detail="too many watch at once; try again in a minute",
                headers={"retry-after": "60"},
            )
        if isinstance(leaving, Viewer):
            leaving.let_go()
        self._viewers.add(viewer)
        try:
            async with self._beginning:
                if self._task is None or self._task.done():
                    self._marks, self._gaps = await sync_to_thread(self._present), Gaps()
                    self._task = asyncio.create_task(self._look(), name="live")
        except BaseException:
            self._leave(viewer)
            raise
        return self._marks

    def _leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        self._places.leave(viewer)

    def _present(self) -> Marks:
        with self._database.reading() as connection:
            return present_marks(connection)

    async def _look(self) -> None:
        """Look again and again, until nobody watches."""
        while self._viewers:
            with contextlib.suppress(SlotcastError):  # a database that is away comes back
                for said in await sync_to_thread(self._found):
                    for viewer in list(self._viewers):
                        viewer.tell(said)
            await asyncio.sleep(LOOK_EVERY_S)

    def _found(self) -> list[Said]:
        """Take one look, in a thread."""
        marks = self._marks
        with self._database.reading() as connection:
            found = news(connection, marks, self._gaps, time.monotonic())
            views = view_times(connection)
        said = list(_said(marks, found))
        said += [
            Said("view", msgspec.json.encode({"rollout": name, "at_s": at_s}).decode())
            for name, at_s in views.items()
            if self._views.get(name) != at_s
        ]
        self._marks, self._views = found.marks, views
        return [*said, *self._counted()]

    def _counted(self) -> list[Said]:
        if time.monotonic() - self._fleet_s < FLEET_EVERY_S:
            return []
        self._fleet_s = time.monotonic()
        text = msgspec.json.encode(self._counting.fleet()).decode()
        if text == self._fleet:
            return []
        self._fleet = text
        return [Said("fleet", text)]

    async def _caught_up(self, about: About, marks: Marks, until: Marks) -> AsyncIterator[Said]:
        """Give what happened between two marks, as far as it is asked for."""
        given = 0
        while given < CATCH_UP_MAX:
            found = await sync_to_thread(self._between, marks, until)
            for said in _said(marks, found):
                if said.event is not None and about.has(said.event):
                    yield said
            given += len(found.events)
            if not found.is_more:
                return
            marks = found.marks
        yield Said("reload", "{}")

    def _between(self, marks: Marks, until: Marks) -> News:
        with self._database.reading() as connection:
            found = news(connection, marks)
        events = [event for event in found.events if event.is_within(until)]
        is_more = found.is_more and len(events) == len(found.events)
        return News(events, found.marks, is_more)


def _said(marks: Marks, found: News) -> list[Said]:
    """Give events as messages, each with the marks up to and with it."""
    said = []
    for event in found.events:
        marks = event.marks_after(marks)
        data = msgspec.json.encode(event_view(event)).decode()
        said.append(Said(event.kind, data, marks, event))
    return said


def _message(said: Said, retry_ms: int | None = None) -> ServerSentEventMessage:
    event_id = None if said.marks is None else str(said.marks)
    return ServerSentEventMessage(data=said.data, event=said.name, id=event_id, retry=retry_ms)


@get(
    "/events/stream",
    opt=needs(Permission.SEE),
    summary="What happens, as it happens (Server-Sent Events)",
    tags=["events"],
)
async def _stream(
    request: Request[Any, Any, Any],
    live: NamedDependency[Live],
    kinds: Kinds = None,
    device: OfDevice = None,
    model: OfModel = None,
    rollout: OfRollout = None,
    after: Annotated[
        str | None,
        QueryParameter(max_length=80, description="`stream_after` of /events: go on behind it."),
    ] = None,
    last_event_id: Annotated[
        str | None, HeaderParameter(name="last-event-id", max_length=80)
    ] = None,
) -> ServerSentEvent:
    """Give what happens; goes on behind `Last-Event-ID`, which browsers send by themselves."""
    text = last_event_id or after
    marks = None if not text else parse_marks(text)
    if text and marks is None:
        raise UsageError("last-event-id: expected the id of an event of this stream")
    about = provide_about(kinds, device, model, rollout)
    who = who_asks(request)
    return ServerSentEvent(live.stream(about, marks, f"{who.how} {who.name}"))


ROUTES: Final[list[Any]] = [_stream]
"""What this module answers."""
