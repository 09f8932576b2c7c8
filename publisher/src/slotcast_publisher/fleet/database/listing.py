"""Who is in the fleet, for people and programs: what runs, where it stands, when it was heard.

What a device *runs*, what is *wanted* of it, and in what *state* it is are three things: one that
waits for its group is QUEUED, and serves all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    Select,
    and_,
    func,
    select,
)

from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.tables import (
    IS_OFFLINE,
    device_models,
    device_tags,
    devices,
    history,
    metrics_releases,
)
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_schemas.messages.status import Evidence, LinkStatus, ModelStatus, Progress
from slotcast_schemas.states import State

CLOCK_OFF_S: Final = 300
"""The seconds by which a device's clock may differ from this machine's: as much as the device
itself holds for right (docs/wire.md, 6), and longer than a message is on its way."""
HISTORY_MAX: Final = 100
"""The most entries of a device's history that are shown, the newest."""
MODELS_MAX: Final = 1_000
"""The most models that are named: whoever writes what a device says may invent any number."""
_STATUS: Final = msgspec.msgpack.Decoder(ModelStatus)
_EVIDENCE: Final = msgspec.msgpack.Decoder(Evidence)
_PROGRESS: Final = msgspec.msgpack.Decoder(Progress)
_LINK: Final = msgspec.json.Decoder(LinkStatus)


def is_clock_off(off_s: int | None) -> bool:
    """Say whether a device's clock counts as off that is so many seconds ahead of ours."""
    return off_s is not None and abs(off_s) > CLOCK_OFF_S


@dataclass(frozen=True, slots=True)
class DevicesWanted:
    """Which devices are asked for; None stands for any.

    Attributes:
        device: one device, by its id.
        version: what it runs of a model.
        tags: all of them, with these values.
        seen_since_s: heard of at this time or later, in seconds since 1970.
        unseen_since_s: not heard of at this time or later.
        online: connected now, or not.
        words: each is in the id, whatever its case.
        deployment: what the present target was offered by: a rollout's name.
        group: of that, the group.
        shares_id: two devices were noticed under its id, or were not.
    """

    device: str | None = None
    model: str | None = None
    version: str | None = None
    state: str | None = None
    reason: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    seen_since_s: int | None = None
    unseen_since_s: int | None = None
    online: bool | None = None
    words: tuple[str, ...] = ()
    deployment: str | None = None
    group: str | None = None
    shares_id: bool | None = None

    @property
    def is_of_models(self) -> bool:
        """Whether it asks for something of a model, which a device without one has not."""
        asked = (self.model, self.version, self.state, self.reason, self.deployment, self.group)
        return any(value is not None for value in asked)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model on a device.

    Attributes:
        status: what the device said last of it.
        changed_s: when that was last seen to be another state, reason or release.
        saved_bytes: what the present target's payload spared against the whole image.
    """

    status: ModelStatus
    changed_s: int
    saved_bytes: int


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device, as the database knows it.

    Attributes:
        row: of `devices`, by column.
        tags: by their keys.
        models: of which it said something, and which were asked for.
    """

    row: Mapping[str, Any]
    tags: Mapping[str, str]
    link: LinkStatus | None
    models: Sequence[KnownModel]

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.row["id"])

    @property
    def clock_off_s(self) -> int | None:
        """By how many seconds its clock is ahead of ours; None where it is right, or unknown."""
        off_s: int | None = self.row["clock_off_s"]
        return off_s if is_clock_off(off_s) else None

    @property
    def clock_complaint(self) -> str:
        """What it says itself is wrong with its clock; data. Empty for nothing."""
        return "" if self.row["clock"] == "ok" else str(self.row["clock"])


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An entry of a device's history: what it said, when that was new.

    Attributes:
        at_s: when it was heard, in seconds since 1970.
        device_at_s: the same by the device's clock.
        progress: of the transfer for the release that was wanted, and what it had cost by then;
            None without one, and from before that was kept.
    """

    at_s: int
    device_at_s: int
    model: str
    state: str
    reason: str
    detail: str
    version: str
    sequence: int
    target_version: str
    target_sequence: int
    deployment: str
    evidence: Evidence | None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class FiguresOfRelease:
    """What a device reported of one release, all together."""

    model: str
    version: str
    sequence: int
    last_s: int
    figures: ReleaseFigures


def known_devices(
    connection: Connection, wanted: DevicesWanted, limit: int | None = None
) -> list[KnownDevice]:
    """Give the devices that are asked for, by their ids.

    Args:
        connection: to read with.
        wanted: which devices, and which of their models.
        limit: the most devices; None for all.
    """
    chosen = chosen_devices(wanted)
    ids = select(devices.c.id).where(*chosen).order_by(devices.c.id)
    if limit is not None:
        ids = ids.limit(limit)
    return _known(connection, wanted, ids)


def devices_by_id(
    connection: Connection, wanted: DevicesWanted, ids: Sequence[str]
) -> list[KnownDevice]:
    """Give devices in the order of the ids that are given; one that is gone is left out.

    Args:
        connection: to read with.
        wanted: which of their models.
        ids: of the devices.
    """
    found = {device.id: device for device in _known(connection, wanted, ids)} if ids else {}
    return [found[each] for each in ids if each in found]


def _known(
    connection: Connection, wanted: DevicesWanted, ids: Select[tuple[str]] | Sequence[str]
) -> list[KnownDevice]:
    of_devices = connection.execute(
        select(devices).where(devices.c.id.in_(ids)).order_by(devices.c.id)
    ).mappings()
    of_models = connection.execute(
        select(device_models)
        .where(device_models.c.device.in_(ids), *conditions_of_models(wanted))
        .order_by(device_models.c.device, device_models.c.model)
    )
    models = {name: list(rows) for name, rows in groupby(of_models, key=lambda row: row.device)}
    return [_device(row, models.get(row["id"], ())) for row in of_devices]


def history_of(connection: Connection, device: str, model: str | None = None) -> list[HistoryEntry]:
    """Give the history of a device, the newest first.

    Args:
        connection: to read with.
        device: its id.
        model: one of its models; None for all.
    """
    query: Select[Any] = select(history).where(history.c.device == device)
    if model is not None:
        # An expression, so that SQLite takes the device's index: the model's is a fleet long.
        query = query.where(history.c.model.concat("") == model)
    newest = query.order_by(history.c.at_s.desc(), history.c.id.desc()).limit(HISTORY_MAX)
    return [_change(row) for row in connection.execute(newest)]


def figures_of_device(connection: Connection, device: str) -> list[FiguresOfRelease]:
    """Give what a device reported of each release, the newest of each model first."""
    m = metrics_releases.c
    query = select(metrics_releases).where(m.device == device).order_by(m.model, m.sequence.desc())
    return [
        FiguresOfRelease(row.model, row.version, row.sequence, row.last_s, unpack(row.figures))
        for row in connection.execute(query)
    ]


# --- how it is asked for -------------------------------------------------------------------------


def conditions_of_devices(wanted: DevicesWanted) -> list[ColumnElement[bool]]:
    """Say which rows of `devices` are asked for, but for what is asked of their models."""
    d, found = devices.c, []
    if wanted.device is not None:
        found.append(d.id == wanted.device)
    found += [d.id.icontains(word, autoescape=True) for word in wanted.words]
    if wanted.online is not None:
        found.append(d.online if wanted.online else IS_OFFLINE)
    if wanted.seen_since_s is not None:
        found.append(d.seen_s >= wanted.seen_since_s)
    if wanted.unseen_since_s is not None:
        found.append(d.seen_s < wanted.unseen_since_s)
    if wanted.shares_id is not None:
        noticed = d.twins_seen_s.is_not(None)
        found.append(noticed if wanted.shares_id else ~noticed)
    for tag in wanted.tags.items():
        found.append(d.id.in_(select(device_tags.c.device).where(condition_of_tag(*tag))))
    return found


def condition_of_tag(key: str, value: str) -> ColumnElement[bool]:
    """Say which rows of `device_tags` have a tag with this value."""
    return and_(device_tags.c.key == key, device_tags.c.value == value)


def chosen_devices(wanted: DevicesWanted) -> list[ColumnElement[bool]]:
    """Say which rows of `devices` are asked for, by all that is asked."""
    found = conditions_of_devices(wanted)
    if wanted.is_of_models:
        of_models = conditions_of_models(wanted)
        found.append(devices.c.id.in_(select(device_models.c.device).where(*of_models)))
    return found


def conditions_of_models(wanted: DevicesWanted) -> list[ColumnElement[bool]]:
    """Say which rows of `device_models` are asked for.

    Indexes begin with the model; a state or a reason alone is found through those of all models.
    """
    m, asked = device_models.c, _asked_of_models(wanted)
    found = [column == value for column, value in asked.items()]
    is_by_state = wanted.state is not None or wanted.reason is not None
    if wanted.deployment is not None and wanted.model is not None:
        # In an expression no index is looked for: SQLite would read all rows of the model, where
        # the deployment has less.
        found[0] = m.model.concat("") == wanted.model
    elif wanted.version is not None and wanted.model is not None and not is_by_state:
        found.append(m.active_sequence.in_(_sequences(wanted.model, wanted.version)))
    if is_by_state and wanted.model is None and wanted.deployment is None:
        found.append(m.model.in_(_ALL_MODELS))
    if wanted.reason is not None and wanted.state is None and wanted.deployment is None:
        found.append(m.state.in_([str(state) for state in State]))
    return found


def conditions_by_device(
    connection: Connection, wanted: DevicesWanted
) -> list[ColumnElement[bool]]:
    """Say which rows of `device_models` are asked for, of a device that is known already.

    SQLite would take the index of the deployment, and read all of its devices for each device,
    where the primary key finds the one row: in expressions no index is looked for. PostgreSQL knows
    how many rows there are of what, unless an expression hides it.

    Args:
        connection: to the database that is asked.
        wanted: which devices, and which of their models.
    """
    asked = _asked_of_models(wanted)
    if connection.dialect.name == "postgresql":
        return [column == value for column, value in asked.items()]
    model = device_models.c.model
    return [
        column == value if column is model else func.coalesce(column, "") == value
        for column, value in asked.items()
    ]


def _asked_of_models(wanted: DevicesWanted) -> dict[Column[str], str]:
    """Give what is asked of columns of `device_models`; the model comes first."""
    m = device_models.c
    asked = {
        m.model: wanted.model,
        m.active_version: wanted.version,
        m.state: wanted.state,
        m.reason: wanted.reason,
        m.deployment: wanted.deployment,
        m.group_name: wanted.group,
    }
    return {column: value for column, value in asked.items() if value is not None}


def _sequences(model: str, version: str) -> Select[tuple[int]]:
    """Give the sequences of a version, almost always one; the index of releases begins with it."""
    m = device_models.alias("same").c
    found = select(m.active_sequence).where(m.model == model, m.active_version == version)
    return found.group_by(m.active_sequence)


def _all_models() -> Select[tuple[str]]:
    """Name the models that devices speak of: a step of an index for each."""
    column = device_models.c.model
    found = select(func.min(column).label("model")).cte("all_models", recursive=True)
    following = select(func.min(column)).where(column > found.c.model).correlate(found)
    more = select(following.scalar_subquery().label("model")).where(found.c.model.is_not(None))
    found = found.union_all(more)
    return select(found.c.model).where(found.c.model.is_not(None))


_ALL_MODELS: Final = _all_models()


def models_of_devices(connection: Connection) -> list[str]:
    """Name the models that devices speak of, at most `MODELS_MAX`, in the order of their names."""
    return [row.model for row in connection.execute(_ALL_MODELS.limit(MODELS_MAX))]


def _device(row: RowMapping, models: Sequence[Row[Any]]) -> KnownDevice:
    known = [
        KnownModel(_STATUS.decode(model.status), model.changed_s, model.saved_bytes)
        for model in models
    ]
    link = None if row["link"] is None else _LINK.decode(row["link"])
    return KnownDevice(_named(row), json.loads(row["tags"]), link, known)


def _named(row: RowMapping) -> Mapping[str, Any]:
    return {str(key): value for key, value in row.items()}


def _change(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry(
        at_s=row.at_s,
        device_at_s=row.device_at_s,
        model=row.model,
        state=row.state,
        reason=row.reason,
        detail=row.detail,
        version=row.version,
        sequence=row.sequence,
        target_version=row.target_version,
        target_sequence=row.target_sequence,
        deployment=row.deployment,
        evidence=None if row.evidence is None else _EVIDENCE.decode(row.evidence),
        progress=None if row.progress is None else _PROGRESS.decode(row.progress),
    )
