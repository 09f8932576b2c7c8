"""The list of devices: filters that stand in the address, page by page, and as a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get
from litestar.response import ServerSentEvent, Stream

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database.device_pages import SORTS, Sort, count_of, device_page
from slotcast_publisher.fleet.database.fleet_counts import presence, state_counts
from slotcast_publisher.fleet.database.keyset import Value
from slotcast_publisher.fleet.database.unseen_devices import unseen_since_s
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.screens.asked_names import (
    UNKNOWN,
    check_names,
    left_out_words,
    unknown_names,
)
from slotcast_publisher.fleet.web.screens.device_filter import (
    FIELDS,
    PRESENCES,
    DeviceFilter,
    filter_of,
    read_filter,
    wanted_of,
)
from slotcast_publisher.fleet.web.screens.devices_view import HEAD, device_rows, values_of
from slotcast_publisher.fleet.web.screens.exports import csv_lines
from slotcast_publisher.fleet.web.screens.fleet_data import IN_NEED
from slotcast_publisher.fleet.web.screens.fleet_view import STATES
from slotcast_publisher.fleet.web.screens.rendering import Rendered, render
from slotcast_publisher.fleet.web.screens.rollout_view import ICON
from slotcast_publisher.fleet.web.screens.watched_screens import Look, ScreensHere, query_of
from slotcast_schemas.errors import UsageError
from slotcast_schemas.plural import part_of, several

NAME: Final = "devices"
"""Of the screen."""
PAGE: Final = 50
"""The number of devices on a page."""
_CSV_FIRST: Final = 100
_CSV_AT_ONCE: Final = 1_000
_MODELS_MAX: Final = 100
_AFTER_MAX_CHARS: Final = 400
_NAMES: Final = (*FIELDS, "sort", "after")
"""What an address may hold."""
_SHOWN_SORTS: Final = (
    ("id", "by id"),
    ("-seen", "heard last first"),
    ("seen", "longest not heard first"),
    ("-changed", "changed last first"),
)

AnyRequest = Request[Any, Any, Any]


def make(look: Look) -> Rendered:
    """Make the list.

    Args:
        look: with the fields of a filter; `sort`; `after`, where the page before ended.

    Raises:
        UsageError: `sort` or `after` is not such a one.
    """
    asked, sort = _asked(look), _sort(look.arguments)
    wanted, after = wanted_of(asked, look.clock.now_s), look.arguments.get("after", "")
    with look.context.database.reading() as connection:
        page = device_page(connection, wanted, sort, limit=PAGE, behind=read_place(after))
        total = count_of(connection, wanted)
        states = state_counts(connection)
        there = presence(connection, unseen_since_s(look.clock.now_s))
    rows = list(device_rows(page.devices, look.clock.now_s))
    meant = read_filter(asked)
    problems = [*meant.problems, *_sort_problem(look.arguments, sort)]
    title = f"Devices: {asked.words()}" if not asked.is_any else "Devices"
    fields = {k: v for k, v in look.arguments.items() if k in {*FIELDS, "sort", "after"}}
    return render(
        "devices.html",
        title,
        ICON,
        look.clock.as_of_words(look.clock.now_s),
        frame=look.frame(title, ICON, "/devices", f"/live/devices?{urlencode(fields)}"),
        asked=asked,
        sentence=_sentence(asked, total, there.devices),
        problems=problems,
        left_out=left_out_words(look.arguments.get(UNKNOWN, "")),
        models=sorted({each.model for each in states})[:_MODELS_MAX],
        states=STATES,
        presences=PRESENCES,
        sorts=_SHOWN_SORTS,
        sort=sort,
        hidden=[
            (k, v)
            for k in ("rollout", "group", "reason", "version", "tag", "note")
            if (v := getattr(asked, k))
        ],
        often=_often(states, there.unseen, there.shared_ids),
        rows=rows,
        total=total,
        csv_href=asked.address().replace("/devices", "/devices.csv", 1),
        shown_words=part_of(len(page.devices), total, "device"),
        is_first=not after,
        first_href=_href(asked, sort, ""),
        next_href="" if page.last is None else _href(asked, sort, place_words(page.last)),
        repo=str(look.context.repo.path),
    )


def _asked(look: Look) -> DeviceFilter:
    """Read the filter; a rollout is of one model, by which devices are found faster."""
    asked = filter_of(look.arguments)
    if asked.rollout and not asked.model and asked.rollout in look.context.files.names():
        return replace(asked, model=look.context.files.load(asked.rollout).plan.model)
    return asked


def _sentence(asked: DeviceFilter, total: int, devices: int) -> str:
    if asked.is_any:
        return f"{several(total, 'device')}." if total else "No device has reported yet."
    return f"{part_of(total, devices, 'device')}: {asked.words()}."


def _often(states: Sequence[Any], unseen: int, shared: int) -> list[tuple[str, int, str]]:
    """Give the filters that are often asked for, with how many devices each has."""
    found = []
    for state in IN_NEED:
        count = sum(each.devices for each in states if each.state == state)
        found.append((state, count, DeviceFilter(state=state).address()))
    found.append(("not seen for 7 days", unseen, DeviceFilter(presence="not-seen").address()))
    found.append(("one id, two devices", shared, DeviceFilter(note="shared-id").address()))
    return found


def _sort(given: Any) -> Sort:
    """Give the order; one that needs a model is by id where no model is named."""
    asked = given.get("sort", "id")
    found = next((sort for sort in SORTS if sort == asked), None)
    if found is None:
        raise UsageError(f"sort: expected one of {', '.join(SORTS)}, got {asked!r:.40}")
    return "id" if found.endswith("changed") and not given.get("model") else found


def _sort_problem(given: Any, sort: str) -> list[str]:
    if given.get("sort", sort) == sort:
        return []
    return ["The order by the last change is of one model: choose a model."]


def _href(asked: DeviceFilter, sort: str, after: str) -> str:
    more = {k: v for k, v in (("sort", sort if sort != "id" else ""), ("after", after)) if v}
    address = asked.address()
    return f"{address}{'&' if '?' in address else '?'}{urlencode(more)}" if more else address


def place_words(place: Sequence[Value]) -> str:
    """Give the place where a page ended, as it stands in an address."""
    return msgspec.json.encode(list(place)).decode()


def read_place(text: str) -> list[Value] | None:
    """Read it back; None for the first page.

    Raises:
        UsageError: it is none.
    """
    if not text:
        return None
    try:
        return msgspec.json.decode(text[:_AFTER_MAX_CHARS], type=list[int | str])  # type: ignore[return-value]
    except msgspec.DecodeError as exc:
        raise UsageError("after: expected what a page before gave; begin anew") from exc


# --- routes ---------------------------------------------------------------------------------------


def _arguments(request: AnyRequest) -> dict[str, str | None]:
    return query_of(request, *_NAMES)


@get("/devices", opt=needs(Permission.SEE), sync_to_thread=True)
def _show_devices(request: AnyRequest, screens: ScreensHere) -> Response[str]:
    """Show the list."""
    unknown = unknown_names(request, *_NAMES)
    return screens.page(request, NAME, **_arguments(request), **{UNKNOWN: unknown})


@get("/live/devices", opt=needs(Permission.SEE), sync_to_thread=False)
def _watch_devices(request: AnyRequest, screens: ScreensHere) -> ServerSentEvent:
    """Say what changes in the list."""
    return screens.watch(request, NAME, **_arguments(request))


@get("/devices.csv", opt=needs(Permission.SEE), sync_to_thread=False)
def _give_devices(request: AnyRequest, context: Context) -> Stream:
    """Give all devices that are asked for, as a file."""
    check_names(request, *_NAMES)
    given = {name: value for name, value in _arguments(request).items() if value}
    headers = {"content-disposition": 'attachment; filename="devices.csv"'}
    lines = csv_lines(HEAD, _all_rows(context, filter_of(given)))
    return Stream(lines, media_type="text/csv; charset=utf-8", headers=headers)


def _all_rows(context: WebContext, asked: DeviceFilter) -> Iterator[tuple[object, ...]]:
    """Give the rows of all devices, a thousand at a time; of the first few who asks waits less."""
    wanted, behind = wanted_of(asked, context.now_s()), None
    limit = _CSV_FIRST
    while True:
        with context.database.reading() as connection:
            page = device_page(connection, wanted, limit=limit, behind=behind)
        yield from map(values_of, device_rows(page.devices, context.now_s(), all_tags=True))
        if page.last is None:
            return
        behind, limit = page.last, _CSV_AT_ONCE


ROUTES = [_show_devices, _watch_devices, _give_devices]
MAKERS = {NAME: make}
