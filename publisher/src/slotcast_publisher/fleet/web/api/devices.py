"""Devices: a list by pages, one closely, its figures over time; and counts of those asked for."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.params import QueryParameter

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database import fleet_counts, fleet_figures, listing
from slotcast_publisher.fleet.database.device_json import iso
from slotcast_publisher.fleet.database.device_pages import Sort, device_page
from slotcast_publisher.fleet.database.listing import DevicesWanted
from slotcast_publisher.fleet.web.api.device_types import (
    DeviceDetail,
    DevicePage,
    FigureSeries,
    device_detail,
    device_view,
)
from slotcast_publisher.fleet.web.api.figures import points_of
from slotcast_publisher.fleet.web.api.parts import Asked, Name, Shared
from slotcast_publisher.fleet.web.api.types import Counts, FleetCounts, TagCount, TagList
from slotcast_publisher.fleet.web.context import Context
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.paging import LIMIT, After, Limit, read_place, write_place

HOURS: Final = 7 * 24
"""How many hours of figures are given, unless others are asked for."""
HOURS_MAX: Final = 90 * 24
"""The most hours that can be asked for: figures by the hour are kept for 90 days by default."""
Hours = Annotated[int, QueryParameter(ge=1, le=HOURS_MAX, description="How far back.")]
SortBy = Annotated[
    Sort,
    QueryParameter(
        name="sort",
        description="`changed`: when the state of one model changed. A minus: highest first.",
    ),
]
_SEE: Final = needs(Permission.SEE)


@get("/fleet", opt=_SEE, sync_to_thread=True, summary="The whole fleet in numbers", tags=["fleet"])
def _fleet(counting: Shared) -> FleetCounts:
    """Count the whole fleet."""
    return counting.fleet()


@get("/counts", opt=_SEE, sync_to_thread=True, summary="Devices counted", tags=["devices"])
def _counts(counting: Shared, asked: Asked) -> Counts:
    """Count devices by version and state."""
    return counting.counts(asked.at(counting.now_s()))


@get("/tags", opt=_SEE, sync_to_thread=True, summary="The most common tags", tags=["devices"])
def _tags(
    counting: Shared, key: Annotated[str | None, QueryParameter(max_length=64)] = None
) -> TagList:
    """List tags with how many devices have them."""

    def make() -> TagList:
        with counting.database.reading() as connection:
            found = fleet_counts.tag_values(connection, key)
        return TagList(tags=tuple(TagCount(key=k, value=v, devices=n) for k, v, n in found))

    return counting.answers.get(("tags", key), make)


@get("/devices", opt=_SEE, sync_to_thread=True, summary="Devices by pages", tags=["devices"])
def _devices(
    counting: Shared,
    asked: Asked,
    sort: SortBy = "id",
    limit: Limit = LIMIT,
    after: After = None,
) -> DevicePage:
    """List devices."""
    wanted = asked.at(counting.now_s())
    behind = read_place(after, sort)
    with counting.database.reading() as connection:
        page = device_page(connection, wanted, sort, limit=limit, behind=behind)
    return DevicePage(
        devices=tuple(map(device_view, page.devices)),
        total=counting.total(wanted),
        next=None if page.last is None else write_place(sort, page.last),
    )


@get("/devices/{device:str}", opt=_SEE, sync_to_thread=True, summary="A device", tags=["devices"])
def _device(context: Context, device: Name) -> DeviceDetail:
    """Give one device with its history and figures."""
    with context.database.reading() as connection:
        found = listing.known_devices(connection, DevicesWanted(device=device))
        if not found:
            raise NotFound(f"no device {device!r:.80} is known")
        changes = listing.history_of(connection, device)
        figures = listing.figures_of_device(connection, device)
    since = iso(context.database.knows_since_s)
    return device_detail(found[0], since, changes, figures)


@get(
    "/devices/{device:str}/figures",
    opt=_SEE,
    sync_to_thread=True,
    summary="A device's figures over time",
    tags=["devices", "figures"],
)
def _device_figures(
    context: Context,
    device: Name,
    model: Annotated[str, QueryParameter(min_length=1, max_length=128)],
    hours: Hours = HOURS,
) -> FigureSeries:
    """Give the figures of one model on one device, an hour a point."""
    since_s = int(context.now_s()) - hours * 3600
    with context.database.reading() as connection:
        found = fleet_figures.hours_of_device(connection, device, model, since_s)
        named = {
            each.sequence: each.version
            for each in listing.figures_of_device(connection, device)
            if each.model == model
        }
    return FigureSeries(model=model, device=device, points=points_of(found, named))


ROUTES: Final = [_fleet, _counts, _tags, _devices, _device, _device_figures]
"""What this module answers."""
