"""Devices, a page at a time: those that are asked for, in an order that is asked for.

Sorted by id, a page walks the table's own order, or sorts the few that are asked for, whichever is
less. By when a device was heard the fleet is looked through, since no index may have that
(`device_tables.devices`); what is asked of tags and models is looked up only for the first in that
order. By when its model changed, those with its state are looked through. How many are on a page is
for who asks to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    distinct,
    exists,
    func,
    literal,
    select,
)

from slotcast_publisher.fleet.database.kept_counts import kept_count
from slotcast_publisher.fleet.database.keyset import SortKey, Value, after
from slotcast_publisher.fleet.database.listing import (
    DevicesWanted,
    KnownDevice,
    condition_of_tag,
    conditions_by_device,
    conditions_of_devices,
    conditions_of_models,
    devices_by_id,
)
from slotcast_publisher.fleet.database.tables import device_models, device_tags, devices
from slotcast_schemas.errors import UsageError

Sort = Literal["id", "-id", "seen", "-seen", "changed", "-changed"]
"""What devices are sorted by; with a minus, the highest first."""
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)


FEW_MAX: Final = 2_000
"""So many rows of models or of a tag are put into order by themselves; more are looked up device by
device."""
_FIRST: Final = (2_000, 20_000, None)
"""Of so many devices, the first in their order, it is looked up what they are; of all, where those
are too few for a page."""


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
    if sort.endswith("changed"):
        rows = _by_change(connection, wanted, keys, behind, limit + 1)
    else:
        rows = _by_device(connection, wanted, keys, behind, limit + 1)
    shown = rows[:limit]
    last = shown[-1] if len(rows) > limit else None
    return KnownDevicePage(devices_by_id(connection, wanted, [str(row[-1]) for row in shown]), last)


_Rows = list[tuple[Value, ...]]


def _by_change(
    connection: Connection,
    wanted: DevicesWanted,
    keys: Sequence[SortKey],
    behind: Sequence[Value] | None,
    limit: int,
) -> _Rows:
    conditions = conditions_of_models(wanted)
    others = conditions_of_devices(wanted)
    if others:
        conditions.append(device_models.c.device.in_(select(devices.c.id).where(*others)))
    return _read(connection, _in_order(keys, behind, conditions).limit(limit))


def _by_device(
    connection: Connection,
    wanted: DevicesWanted,
    keys: Sequence[SortKey],
    behind: Sequence[Value] | None,
    limit: int,
) -> _Rows:
    few, many = _chosen(connection, wanted)
    if len(keys) == 1 or not many:
        conditions = [*few, *(is_it(devices.c.id) for is_it in many)]
        return _read(connection, _in_order(keys, behind, conditions).limit(limit))
    rows: _Rows = []
    for first in _FIRST:
        some = _in_order(keys, behind, few).limit(first).subquery()
        query = select(some).where(*(is_it(some.c.id) for is_it in many))
        order = (
            SortKey(column, key.is_descending).order
            for column, key in zip(some.c, keys, strict=True)
        )
        rows = _read(connection, query.order_by(*order).limit(limit))
        if len(rows) == limit:
            break
    return rows


def _in_order(
    keys: Sequence[SortKey],
    behind: Sequence[Value] | None,
    conditions: Sequence[ColumnElement[bool]],
) -> Select[Any]:
    query: Select[Any] = select(*(key.column for key in keys)).where(*conditions)
    if behind is not None:
        query = query.where(_after(keys, behind))
    return query.order_by(*(key.order for key in keys))


def _read(connection: Connection, query: Select[Any]) -> _Rows:
    return [tuple(row) for row in connection.execute(query)]


def count_of(connection: Connection, wanted: DevicesWanted) -> int:
    """Count the devices that are asked for.

    Args:
        connection: to read with.
        wanted: which devices.
    """
    kept = kept_count(connection, wanted)
    if kept is not None:
        return kept[0]
    query: Select[Any]
    if len(wanted.tags) == 1 and wanted == DevicesWanted(tags=wanted.tags):
        (tag,) = wanted.tags.items()
        query = select(func.count()).select_from(device_tags).where(condition_of_tag(*tag))
    elif wanted.is_of_models and not conditions_of_devices(wanted):
        number = func.count(distinct(device_models.c.device))
        query = select(number).where(*conditions_of_models(wanted))
    else:
        few, many = _chosen(connection, wanted)
        conditions = [*few, *(is_it(devices.c.id) for is_it in many)]
        query = select(func.count()).select_from(devices).where(*conditions)
    return int(connection.execute(query).scalar_one())


_Lookup = Callable[[ColumnElement[str]], ColumnElement[bool]]
"""Says of the device with an id whether it is asked for."""


def _chosen(
    connection: Connection, wanted: DevicesWanted
) -> tuple[list[ColumnElement[bool]], list[_Lookup]]:
    """Say which rows of `devices` are asked for: few by a list, many each by a look of its own.

    Returns:
        What is found by the table itself and by lists, and what is looked up.
    """
    found = conditions_of_devices(replace(wanted, tags={}))
    lookups: list[_Lookup] = []
    for key, value in wanted.tags.items():
        is_it = condition_of_tag(key, value)
        if _are_few(connection, device_tags, [is_it]):
            found.append(devices.c.id.in_(select(device_tags.c.device).where(is_it)))
        else:
            lookups.append(_has_tag(connection, key, value))
    if wanted.is_of_models:
        of_models = conditions_of_models(wanted)
        if _are_few(connection, device_models, of_models):
            found.append(devices.c.id.in_(select(device_models.c.device).where(*of_models)))
        else:
            lookups.append(_has_model(connection, wanted))
    return found, lookups


def _are_few(connection: Connection, table: Table, which: Sequence[ColumnElement[bool]]) -> bool:
    some = select(literal(1)).select_from(table).where(*which).limit(FEW_MAX + 1)
    count = connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
    return count <= FEW_MAX


def _has_model(connection: Connection, wanted: DevicesWanted) -> _Lookup:
    # The order of the primary key is the order of the list, so a model is looked up, not searched.
    which = conditions_by_device(connection, wanted)
    return lambda device: exists().where(device_models.c.device == device, *which)


def _has_tag(connection: Connection, key: str, value: str) -> _Lookup:
    t = device_tags.c
    # As `conditions_by_device`: in an expression no index is looked for.
    said = t.value if connection.dialect.name == "postgresql" else func.coalesce(t.value, "")
    return lambda device: exists().where(t.device == device, t.key == key, said == value)


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
