"""Devices, a page at a time: those that are asked for, in an order that is asked for.

Sorted by id, a page walks the table's own order, or sorts the few that are asked for, whichever is
less. By when a device was heard the fleet is looked through, since no index may have that
(`tables.devices`); and by when its model changed, those with its state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    distinct,
    exists,
    func,
    literal,
    select,
)

from slotcast_publisher.fleet.database.keyset import SortKey, Value, after
from slotcast_publisher.fleet.database.listing import (
    DevicesWanted,
    KnownDevice,
    conditions_by_device,
    conditions_of_devices,
    conditions_of_models,
    devices_by_id,
)
from slotcast_publisher.fleet.database.tables import device_models, devices
from slotcast_schemas.errors import UsageError

Sort = Literal["id", "-id", "seen", "-seen", "changed", "-changed"]
"""What devices are sorted by; with a minus, the highest first."""
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)


FEW_MAX: Final = 2_000
"""So many rows of models are put into order by themselves; more are looked up device by device."""


@dataclass(frozen=True, slots=True)
class KnownDevicePage:
    """A part of a list of devices.

    Attributes:
        devices: in their order.
        last: what the page after this one begins behind; None where this is the last.
    """

    devices: Sequence[KnownDevice]
    last: tuple[Value, ...] | None


def device_page(
    connection: Connection,
    wanted: DevicesWanted,
    sort: Sort = "id",
    *,
    limit: int,
    behind: Sequence[Value] | None = None,
) -> KnownDevicePage:
    """Give a page of devices.

    Args:
        connection: to read with.
        wanted: which devices, and which of their models.
        sort: their order; by the last change needs one model.
        limit: the most devices.
        behind: `last` of the page before; None for the first.

    Raises:
        UsageError: `changed` without a model, or `behind` is not of this order.
    """
    keys = _keys(sort, wanted)
    query: Select[Any] = select(*(key.column for key in keys))
    if sort.endswith("changed"):
        query = query.where(*conditions_of_models(wanted))
        others = conditions_of_devices(wanted)
        if others:
            query = query.where(device_models.c.device.in_(select(devices.c.id).where(*others)))
    else:
        query = query.where(*_chosen(connection, wanted))
    if behind is not None:
        query = query.where(_after(keys, behind))
    query = query.order_by(*(key.order for key in keys)).limit(limit + 1)
    rows = [tuple(row) for row in connection.execute(query)]
    shown = rows[:limit]
    last = shown[-1] if len(rows) > limit else None
    return KnownDevicePage(devices_by_id(connection, wanted, [row[-1] for row in shown]), last)


def count_of(connection: Connection, wanted: DevicesWanted) -> int:
    """Count the devices that are asked for.

    Args:
        connection: to read with.
        wanted: which devices.
    """
    of_devices = conditions_of_devices(wanted)
    if wanted.is_of_models and not of_devices:
        device = device_models.c.device
        # With one model there is one row for each device.
        number = func.count() if wanted.model is not None else func.count(distinct(device))
        query = select(number).select_from(device_models).where(*conditions_of_models(wanted))
    else:
        conditions = _chosen(connection, wanted)
        query = select(func.count()).select_from(devices).where(*conditions)
    return int(connection.execute(query).scalar_one())


def _chosen(connection: Connection, wanted: DevicesWanted) -> list[ColumnElement[bool]]:
    """Say which rows of `devices` are asked for: few by a list, many each by a look of its own."""
    found = conditions_of_devices(wanted)
    if not wanted.is_of_models:
        return found
    of_models = conditions_of_models(wanted)
    some = select(literal(1)).select_from(device_models).where(*of_models).limit(FEW_MAX + 1)
    count = connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
    device = device_models.c.device
    if count <= FEW_MAX:
        return [*found, devices.c.id.in_(select(device).where(*of_models))]
    # The order of the primary key is the order of the list, so a model is looked up, not searched.
    same = exists().where(device == devices.c.id, *conditions_by_device(connection, wanted))
    return [*found, same]


def _keys(sort: Sort, wanted: DevicesWanted) -> tuple[SortKey, ...]:
    is_descending = sort.startswith("-")
    match sort.removeprefix("-"):
        case "id":
            return (SortKey(devices.c.id, is_descending),)
        case "seen":
            return (SortKey(devices.c.seen_s, is_descending), SortKey(devices.c.id))
        case "changed":
            if wanted.model is None:
                raise UsageError("sort: `changed` is of one model: name it with `model`")
            changed, device = device_models.c.changed_s, device_models.c.device
            return (SortKey(changed, is_descending), SortKey(device))
    raise UsageError(f"sort: expected one of {', '.join(SORTS)}, got {sort!r:.40}")


def _after(keys: Sequence[SortKey], behind: Sequence[Value]) -> ColumnElement[bool]:
    kinds = (str,) if len(keys) == 1 else (int, str)
    if len(behind) != len(keys) or any(
        type(value) is not kind for value, kind in zip(behind, kinds, strict=False)
    ):
        raise UsageError("after: this is the place in a list with another order; begin anew")
    return after(keys, behind)
