"""How many devices are where, kept with each batch of messages: no page adds a fleet up.

Whoever writes what a device says also writes, in the same transaction, where it is counted no more
and where it is counted now. What goes another way, such as devices that are forgotten, is counted
anew after it (`count_anew`), as is everything once an hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    ColumnClause,
    ColumnElement,
    Connection,
    Table,
    delete,
    false,
    func,
    insert,
    literal_column,
    select,
    text,
)

from slotcast_publisher.fleet.database.bounded_text import BoundedText
from slotcast_publisher.fleet.database.listing import DevicesWanted
from slotcast_publisher.fleet.database.tables import (
    device_models,
    device_tags,
    devices,
    model_counts,
    tag_counts,
)
from slotcast_publisher.fleet.database.upsert import add_to_rows
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.states import State

ON_TRIAL: Final = State.TRIAL.value
"""The state of a model that runs, and is not committed yet."""
_IS_ON_TRIAL: Final[ColumnClause[bool]] = literal_column(f"device_models.state = '{ON_TRIAL}'")
"""As a text: a parameter is another one where PostgreSQL groups by it."""


class ModelStanding(NamedTuple):
    """Where a model of a device stands, as far as it is counted: the key of `model_counts`.

    Attributes:
        sequence: of the release that runs; 0 for none.
        version: of that; empty for none.
        deployment: what the present target was offered by; empty for nothing.
        group: of that.
        online: whether the device is.
    """

    model: str
    sequence: int
    version: str
    state: str
    reason: str
    deployment: str
    group: str
    online: bool


def standing_of(status: ModelStatus, *, online: bool) -> ModelStanding:
    """Say where a model stands.

    Args:
        status: what its device says of it.
        online: whether the device is.
    """
    active, target = status.active, status.target
    return ModelStanding(
        status.model,
        0 if active is None else active.sequence,
        "" if active is None else active.version,
        State(status.state).value,
        status.reason,
        "" if target is None else target.deployment,
        "" if target is None else target.group,
        online,
    )


@dataclass(slots=True)
class CountChanges:
    """What a batch changes of the counts; a number below 0 is of devices that went."""

    of_models: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    of_tags: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def note(
        self, standings: Collection[ModelStanding], tags: Mapping[str, str], number: int
    ) -> None:
        """Note that a device stands there now, or does so no more.

        Args:
            standings: of its models.
            tags: of it.
            number: 1, or -1.
        """
        for standing in standings:
            self.of_models[standing] += number
            on_trial = standing.state == ON_TRIAL
            for key, value in tags.items():
                place = (standing.model, key, value, standing.sequence, on_trial)
                self.of_tags[place] += number


def write_changes(connection: Connection, changes: CountChanges) -> None:
    """Change the counts; the last thing that a transaction does, since others may wait for them.

    Args:
        connection: with the transaction that writes what is counted.
        changes: of the counts.
    """
    for table, counter in ((model_counts, changes.of_models), (tag_counts, changes.of_tags)):
        names = [column.name for column in table.primary_key.columns]
        # In the order of their keys: so no two transactions wait for each other.
        rows = [
            dict(zip(names, key, strict=True)) | {"devices": number}
            for key, number in sorted(_as_stored(table, counter).items())
            if number
        ]
        add_to_rows(connection, table, rows)


def _as_stored(table: Table, counter: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """Add up what is one row: texts are bounded where they are stored."""
    kinds = [column.type for column in table.primary_key.columns]
    found: Counter[tuple[Any, ...]] = Counter()
    for key, number in counter.items():
        pairs = zip(kinds, key, strict=True)
        bound = (k.bound(value) if isinstance(k, BoundedText) else value for k, value in pairs)
        found[tuple(bound)] += number
    return found


def count_anew(connection: Connection) -> None:
    """Count all devices: what the counts were before does not matter.

    Args:
        connection: with a transaction that may write. Others that write counts wait for its end.
    """
    if connection.dialect.name == "postgresql":
        # Who has written devices and not yet their counts waits, and adds to what is counted here,
        # which does not see those devices yet: each statement sees what was committed before it.
        both = f"{model_counts.name}, {tag_counts.name}"
        connection.execute(text(f"LOCK TABLE {both} IN SHARE ROW EXCLUSIVE MODE"))
    for table, columns, rows in _counted():
        connection.execute(delete(table))
        counted = select(*columns, func.count()).select_from(rows).group_by(*columns)
        connection.execute(insert(table).from_select([c.name for c in table.columns], counted))


def _counted() -> Iterator[tuple[Table, list[Any], Any]]:
    """Give for each table of counts what its key is, and the rows that are counted."""
    m, t = device_models.c, device_tags.c
    standing = [
        m.model,
        m.active_sequence,
        m.active_version,
        m.state,
        m.reason,
        m.deployment,
        m.group_name,
        func.coalesce(devices.c.online, false()),
    ]
    yield model_counts, standing, device_models.outerjoin(devices, devices.c.id == m.device)
    place = [m.model, t.key, t.value, m.active_sequence, _IS_ON_TRIAL]
    yield tag_counts, place, device_models.join(device_tags, t.device == m.device)


# --- reading --------------------------------------------------------------------------------------


def is_kept(wanted: DevicesWanted) -> bool:
    """Say whether the counts tell how many models stand so: nothing else of devices is asked."""
    return wanted == DevicesWanted(
        model=wanted.model,
        version=wanted.version,
        state=wanted.state,
        reason=wanted.reason,
        deployment=wanted.deployment,
        group=wanted.group,
        online=wanted.online,
    )


def conditions_of_counts(wanted: DevicesWanted) -> list[ColumnElement[bool]]:
    """Say which rows of `model_counts` are asked for.

    Args:
        wanted: which models of which devices; `is_kept`.
    """
    c = model_counts.c
    asked: dict[Column[Any], Any] = {
        c.model: wanted.model,
        c.version: wanted.version,
        c.state: wanted.state,
        c.reason: wanted.reason,
        c.deployment: wanted.deployment,
        c.group_name: wanted.group,
        c.online: wanted.online,
    }
    return [c.devices > 0, *(k == value for k, value in asked.items() if value is not None)]


def kept_count(connection: Connection, wanted: DevicesWanted) -> tuple[int, int] | None:
    """Say how many devices are asked for, and how many of them are online; None if counts do not
    tell: a device with two models stands in two rows.

    Args:
        connection: to read with.
        wanted: which devices; something is asked of a model.
    """
    if not wanted.is_of_models or not is_kept(wanted):
        return None
    c = model_counts.c
    online = func.sum(c.devices).filter(c.online)
    query = select(c.model, func.sum(c.devices), online).where(*conditions_of_counts(wanted))
    found = connection.execute(query.group_by(c.model).limit(2)).all()
    if len(found) > 1:
        return None
    return (int(found[0][1]), int(found[0][2] or 0)) if found else (0, 0)


@dataclass(frozen=True, slots=True)
class RunningCount:
    """How many devices with a name in common have a model.

    Attributes:
        name: of a group, or a tag's value.
        devices: that have the model.
        committed: of them, those that run a release, and not on trial.
        trial: those that run it on trial.
    """

    name: str
    devices: int
    committed: int
    trial: int


def running_by_tag(
    connection: Connection, model: str, sequence: int, key: str, *, limit: int
) -> list[RunningCount]:
    """Say where a release runs, by the values of a tag, the most common first.

    Args:
        connection: to read with.
        model: of the release.
        sequence: of the release.
        key: the tag.
        limit: the most values.
    """
    c = tag_counts.c
    every = func.sum(c.devices)
    runs = c.sequence == sequence
    query = (
        select(c.value, every, every.filter(runs, ~c.on_trial), every.filter(runs, c.on_trial))
        .where(c.model == model, c.key == key, c.devices > 0)
        .group_by(c.value)
        .order_by(every.desc(), c.value)
        .limit(limit)
    )
    return _running(connection.execute(query).all())


def running_by_group(
    connection: Connection, model: str, sequence: int, *, limit: int
) -> list[RunningCount]:
    """Say where a release runs, by the group that devices were offered their target in, the least
    common first: those go first.

    Args:
        connection: to read with.
        model: of the release.
        sequence: of the release.
        limit: the most groups.
    """
    c = model_counts.c
    every = func.sum(c.devices)
    runs, on_trial = c.sequence == sequence, c.state == ON_TRIAL
    query = (
        select(
            c.group_name,
            every,
            every.filter(runs, ~on_trial),
            every.filter(runs, on_trial),
        )
        .where(c.model == model, c.group_name != "", c.devices > 0)
        .group_by(c.group_name)
        .order_by(every, c.group_name)
        .limit(limit)
    )
    return _running(connection.execute(query).all())


def _running(rows: Sequence[Any]) -> list[RunningCount]:
    return [RunningCount(name, *(int(number or 0) for number in counts)) for name, *counts in rows]


def tag_keys(connection: Connection, model: str, *, limit: int) -> list[str]:
    """Name the tags of devices that have a model, the most common first.

    Args:
        connection: to read with.
        model: that they have.
        limit: the most tags.
    """
    c = tag_counts.c
    query = select(c.key).where(c.model == model, c.devices > 0).group_by(c.key)
    query = query.order_by(func.sum(c.devices).desc(), c.key).limit(limit)
    return list(connection.execute(query).scalars())
