"""What rollouts read and write: devices as the engine sees them, where each stands, its log."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import Connection, desc, func, select

from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.tables import (
    IS_UNFOLDED,
    device_models,
    devices,
    metrics,
    metrics_releases,
    rollout_log,
    rollout_views,
    rollouts,
)
from slotcast_publisher.fleet.database.upsert import is_one_of, upsert
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, together
from slotcast_publisher.fleet.rollout.observations import Device
from slotcast_schemas.messages.status import ModelStatus

TEXT_MAX_CHARS: Final = 2_000
"""The most characters of a line of a rollout's log."""
_NAMES_AT_ONCE: Final = 1_000
"""The most names in one query."""
_STATUS: Final = msgspec.msgpack.Decoder(ModelStatus)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a rollout's log.

    Attributes:
        at_s: when, seconds since 1970.
        group: that it is about; empty for the rollout.
        word: for programs.
        who: the person, where it was one.
    """

    at_s: int
    model: str
    rollout: str
    group: str
    word: str
    text: str
    who: str = ""


def devices_of(connection: Connection, model: str, *, with_figures: bool = True) -> list[Device]:
    """Give the devices that have said something of a model, with what they reported of it.

    Args:
        connection: that may read.
        model: which.
        with_figures: read what they reported, too.
    """
    figures = _figures_of(connection, model) if with_figures else {}
    found = connection.execute(
        select(
            devices.c.id,
            devices.c.seen_s,
            devices.c.online,
            devices.c.tags,
            device_models.c.status,
        )
        .join(device_models, device_models.c.device == devices.c.id)
        .where(device_models.c.model == model)
        .order_by(devices.c.id)
    )
    return [
        Device(
            id=row.id,
            seen_s=row.seen_s,
            online=row.online,
            tags=json.loads(row.tags),
            status=_STATUS.decode(row.status),
            figures=figures.get(row.id, {}),
        )
        for row in found
    ]


def _figures_of(connection: Connection, model: str) -> dict[str, dict[int, ReleaseFigures]]:
    """Sum up what each device reported of each release: what was added up, and what was not yet."""
    parts: dict[tuple[str, int], list[ReleaseFigures]] = defaultdict(list)
    for table, condition in (
        (metrics_releases, metrics_releases.c.model == model),
        (metrics, (metrics.c.model == model) & IS_UNFOLDED),
    ):
        columns = (table.c.device, table.c.sequence, table.c.figures)
        for row in connection.execute(select(*columns).where(condition)):
            parts[row.device, row.sequence].append(unpack(row.figures))
    found: dict[str, dict[int, ReleaseFigures]] = defaultdict(dict)
    for (device, sequence), each in parts.items():
        found[device][sequence] = each[0] if len(each) == 1 else together(each)
    return found


def saved_bytes_of(connection: Connection, model: str, sequence: int) -> int:
    """Give what devices that run a release did not have to fetch of it.

    Args:
        connection: that may read.
        model: which.
        sequence: of the release.
    """
    total = connection.scalar(
        select(func.sum(device_models.c.saved_bytes)).where(
            device_models.c.model == model,
            device_models.c.target_sequence == sequence,
            device_models.c.active_sequence == sequence,
        )
    )
    return int(total or 0)


def saved_by_group(connection: Connection, model: str, sequence: int) -> dict[str, tuple[int, int]]:
    """Give, by group, how many devices run a release, and what those did not have to fetch of it.

    Args:
        connection: that may read.
        model: which.
        sequence: of the release.
    """
    d = device_models.c
    rows = connection.execute(
        select(d.group_name, func.count(), func.sum(d.saved_bytes))
        .where(d.model == model, d.target_sequence == sequence, d.active_sequence == sequence)
        .group_by(d.group_name)
    )
    return {group: (int(count), int(saved or 0)) for group, count, saved in rows}


def put_rollout(
    connection: Connection, model: str, name: str, state: str, record: str, at_s: int
) -> None:
    """Keep where a rollout stands, for pages; its file beside the repository is the truth.

    Args:
        connection: with a transaction that may write.
        model: of the rollout.
        name: of the rollout.
        state: where it stands.
        record: JSON of its record.
        at_s: seconds since 1970.
    """
    row = {"model": model, "name": name, "state": state, "record": record, "updated_s": at_s}
    upsert(connection, rollouts, [row])


def put_view(connection: Connection, model: str, name: str, view: bytes, at_s: int) -> None:
    """Keep what was seen at the last look at a rollout.

    Args:
        connection: with a transaction that may write.
        model: of the rollout.
        name: of the rollout.
        view: JSON of it.
        at_s: when it was looked at, seconds since 1970.
    """
    row = {"model": model, "name": name, "at_s": at_s, "view": view.decode()}
    upsert(connection, rollout_views, [row])


def views_of(connection: Connection, names: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Give when rollouts were looked at last, and JSON of what was seen; by name.

    Args:
        connection: that may read.
        names: of the rollouts; those that nobody has looked at are left out.
    """
    v = rollout_views.c
    found: dict[str, tuple[int, str]] = {}
    for start in range(0, len(names), _NAMES_AT_ONCE):
        is_asked = is_one_of(connection, v.name, names[start : start + _NAMES_AT_ONCE])
        query = select(v.name, v.at_s, v.view).where(is_asked).order_by(v.at_s)
        found |= {row.name: (int(row.at_s), str(row.view)) for row in connection.execute(query)}
    return found


def rollout_states(connection: Connection) -> dict[str, tuple[int, str]]:
    """Give when each rollout was written last, and where it stood then; by name."""
    r = rollouts.c
    query = select(r.name, r.updated_s, r.state)
    return {row.name: (int(row.updated_s), str(row.state)) for row in connection.execute(query)}


def view_times(connection: Connection) -> dict[str, int]:
    """Give when each rollout was looked at last, in seconds since 1970."""
    v = rollout_views.c
    return {row.name: int(row.at_s) for row in connection.execute(select(v.name, v.at_s))}


def add_log(connection: Connection, line: LogLine) -> None:
    """Add a line to a rollout's log."""
    connection.execute(
        rollout_log.insert(),
        {
            "at_s": line.at_s,
            "model": line.model,
            "rollout": line.rollout,
            "group_name": line.group,
            "word": line.word,
            "text": line.text[:TEXT_MAX_CHARS].replace("\0", "\ufffd"),
            "who": line.who,
        },
    )


def log_of(connection: Connection, rollout: str, count: int) -> Sequence[LogLine]:
    """Give the last lines of a rollout's log, the oldest of them first.

    Args:
        connection: that may read.
        rollout: its name.
        count: how many.
    """
    rows = connection.execute(
        select(rollout_log)
        .where(rollout_log.c.rollout == rollout)
        .order_by(desc(rollout_log.c.id))
        .limit(count)
    )
    return [
        LogLine(r.at_s, r.model, r.rollout, r.group_name, r.word, r.text, r.who)
        for r in reversed(list(rows))
    ]
