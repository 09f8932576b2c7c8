"""Devices that are asked for, counted: how many, what they run, and where that stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.database.kept_counts import (
    conditions_of_counts,
    is_kept,
    kept_count,
)
from slotcast_publisher.fleet.database.listing import (
    DevicesWanted,
    chosen_devices,
    conditions_of_devices,
    conditions_of_models,
)
from slotcast_publisher.fleet.database.tables import (
    IS_OFFLINE,
    device_models,
    devices,
    model_counts,
)


def count_devices(connection: Connection, wanted: DevicesWanted) -> tuple[int, int]:
    """Say how many devices that are asked for there are, and how many of them are online.

    Args:
        connection: to read with.
        wanted: which devices.
    """
    kept = kept_count(connection, wanted)
    if kept is not None:
        return kept
    query = select(func.count(), func.count().filter(devices.c.online))
    every, online = connection.execute(
        query.select_from(devices).where(*chosen_devices(wanted))
    ).one()
    return int(every), int(online)


def require_device(connection: Connection, device: str) -> None:
    """See to it that a device is known.

    Raises:
        NotFound: nothing was ever heard of it.
    """
    if not count_devices(connection, DevicesWanted(device=device))[0]:
        raise NotFound(f"no device {device!r:.80} is known; `slotcast fleet` lists those that are")


@dataclass(frozen=True, slots=True)
class Counted:
    """Devices that were asked for, counted.

    Attributes:
        devices: all of them.
        online: of those.
        versions: model, version and devices that run it, as `versions_of` has them.
        states: model, state, reason and devices, as `states_of` has them.
    """

    devices: int
    online: int
    versions: Sequence[tuple[str, str, int]]
    states: Sequence[tuple[str, str, str, int]]


def counted(connection: Connection, wanted: DevicesWanted) -> Counted:
    """Count devices that are asked for, what they run, and where that stands.

    Args:
        connection: to read with.
        wanted: which devices.
    """
    number = _by_presence if wanted == DevicesWanted(online=wanted.online) else count_devices
    found = count_models(connection, wanted)
    return Counted(*number(connection, wanted), versions_of(found), states_of(found))


def _by_presence(connection: Connection, wanted: DevicesWanted) -> tuple[int, int]:
    """Count most of a fleet as all of it, less the few that are offline: indexes give both."""
    count = select(func.count()).select_from(devices)
    both = select(count.scalar_subquery(), count.where(IS_OFFLINE).scalar_subquery())
    every, offline = map(int, connection.execute(both).one())
    online = every - offline
    return {None: (every, online), True: (online, online), False: (offline, 0)}[wanted.online]


@dataclass(frozen=True, slots=True)
class ModelCount:
    """How many devices run a version of a model, and are in a state for a reason.

    Attributes:
        version: empty for none.
        sequence: of the newest release that has this version.
    """

    model: str
    version: str
    sequence: int
    state: str
    reason: str
    devices: int


def count_models(connection: Connection, wanted: DevicesWanted) -> list[ModelCount]:
    """Count devices by what they run and where that stands, in one look.

    Args:
        connection: to read with.
        wanted: which devices, and which of their models.
    """
    query = _of_counts(wanted) if is_kept(wanted) else _of_devices(wanted)
    return [
        ModelCount(model, version, int(sequence), state, reason, int(count))
        for model, version, state, reason, sequence, count in connection.execute(query)
    ]


def _of_counts(wanted: DevicesWanted) -> Select[Any]:
    c = model_counts.c
    columns = (c.model, c.version, c.state, c.reason)
    query = select(*columns, func.max(c.sequence), func.sum(c.devices)).group_by(*columns)
    return query.where(*conditions_of_counts(wanted))


def _of_devices(wanted: DevicesWanted) -> Select[Any]:
    m = device_models.c
    columns = (m.model, m.active_version, m.state, m.reason)
    # A model that is asked for makes its device one that is asked for.
    query = select(*columns, func.max(m.active_sequence), func.count()).group_by(*columns)
    query = query.where(*conditions_of_models(wanted))
    of_devices = conditions_of_devices(wanted)
    if of_devices:
        query = query.where(m.device.in_(select(devices.c.id).where(*of_devices)))
    return query


def versions_of(counts: Iterable[ModelCount]) -> list[tuple[str, str, int]]:
    """Add up by model and version, the newest first; the version is empty for none."""
    sums: Counter[tuple[str, str]] = Counter()
    newest: Counter[tuple[str, str]] = Counter()
    for each in counts:
        key = each.model, each.version
        sums[key] += each.devices
        newest[key] = max(newest[key], each.sequence)
    there = [key for key, count in sums.items() if count]
    order = sorted(there, key=lambda key: (key[0], -newest[key], key[1]))
    return [(model, version, sums[model, version]) for model, version in order]


def states_of(counts: Iterable[ModelCount]) -> list[tuple[str, str, str, int]]:
    """Add up by model, state and reason; the most common first."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for each in counts:
        sums[each.model, each.state, each.reason] += each.devices
    there = [key for key, count in sums.items() if count]
    order = sorted(there, key=lambda key: (key[0], -sums[key], key))
    return [(*key, sums[key]) for key in order]
