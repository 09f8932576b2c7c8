"""Devices that are asked for, counted: how many, what they run, and where that stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from slotcast_publisher.fleet.database.listing import (
    DevicesWanted,
    chosen_devices,
    conditions_of_devices,
    conditions_of_models,
)
from slotcast_publisher.fleet.database.tables import device_models, devices


def count_devices(connection: Connection, wanted: DevicesWanted) -> tuple[int, int]:
    """Say how many devices that are asked for there are, and how many of them are online.

    Args:
        connection: to read with.
        wanted: which devices.
    """
    query = select(func.count(), func.count().filter(devices.c.online))
    every, online = connection.execute(
        query.select_from(devices).where(*chosen_devices(wanted))
    ).one()
    return int(every), int(online)


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
    m = device_models.c
    columns = (m.model, m.active_version, m.state, m.reason)
    # A model that is asked for makes its device one that is asked for.
    query = select(*columns, func.max(m.active_sequence), func.count()).group_by(*columns)
    query = query.where(*conditions_of_models(wanted))
    of_devices = conditions_of_devices(wanted)
    if of_devices:
        query = query.where(m.device.in_(select(devices.c.id).where(*of_devices)))
    return [
        ModelCount(model, version, int(sequence), state, reason, int(count))
        for model, version, state, reason, sequence, count in connection.execute(query)
    ]


def versions_of(counts: Iterable[ModelCount]) -> list[tuple[str, str, int]]:
    """Add up by model and version, the newest first; the version is empty for none."""
    sums: Counter[tuple[str, str]] = Counter()
    newest: Counter[tuple[str, str]] = Counter()
    for each in counts:
        key = each.model, each.version
        sums[key] += each.devices
        newest[key] = max(newest[key], each.sequence)
    order = sorted(sums, key=lambda key: (key[0], -newest[key], key[1]))
    return [(model, version, sums[model, version]) for model, version in order]


def states_of(counts: Iterable[ModelCount]) -> list[tuple[str, str, str, int]]:
    """Add up by model, state and reason; the most common first."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for each in counts:
        sums[each.model, each.state, each.reason] += each.devices
    order = sorted(sums, key=lambda key: (key[0], -sums[key], key))
    return [(*key, sums[key]) for key in order]
