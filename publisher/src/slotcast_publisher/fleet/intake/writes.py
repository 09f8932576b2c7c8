"""A batch and the database: what is known of its devices, and what is written of it.

The rows of a batch's devices are locked from the first read on (PostgreSQL), so that two processes
that take messages of one device take them one after the other. SQLite has one writer anyway.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
    RowMapping,
    Table,
    bindparam,
    delete,
    func,
    select,
    update,
)

from slotcast_publisher.fleet.database.figures_blob import pack_summary
from slotcast_publisher.fleet.database.kept_counts import (
    CountChanges,
    ModelStanding,
    standing_of,
    write_changes,
)
from slotcast_publisher.fleet.database.listing import is_clock_off
from slotcast_publisher.fleet.database.tables import (
    device_models,
    device_tags,
    devices,
    dropped,
    history,
    metrics,
)
from slotcast_publisher.fleet.database.upsert import (
    insert_missing,
    insert_rows,
    is_one_of,
    upsert,
)
from slotcast_publisher.fleet.intake.batch import Batch, Happened, MetricsHeard, StatusHeard
from slotcast_publisher.fleet.intake.known_device import DeviceRecord, step_of
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.messages.status import ModelStatus, Status

Row = dict[str, Any]

ERA: Final = 2**53
"""What is added in the database to a counter of metrics each time that it began anew: more than a
counter can reach."""

_ERAS_MAX: Final = 2**10
"""The number of times that fit 63 bits; then the first counters come again."""


class _Memory(msgspec.Struct, frozen=True, array_like=True):
    """What only the intake needs of a device: an array, whose fields keep their order for ever."""

    sessions: tuple[str, ...] = ()
    status_session: str = ""
    metrics_seen: int = 0
    metrics_session: str = ""
    metrics_at_s: int = 0
    metrics_heard_s: float = 0.0
    metrics_era: int = 0
    has_metrics: bool = False
    key_id: str = ""
    figures_spent: float = 0.0
    figures_at_s: float = 0.0


make_decoders(_Memory)
_ENCODER: Final = msgspec.msgpack.Encoder()
_MEMORY: Final = msgspec.msgpack.Decoder(_Memory)

_KNOWN: Final = select(
    devices.c.id,
    devices.c.seen_s,
    devices.c.counter,
    devices.c.status_sha256,
    devices.c.status_at_s,
    devices.c.status_heard_s,
    devices.c.online,
    devices.c.online_since_s,
    devices.c.presence_at_s,
    devices.c.metrics_counter,
    devices.c.metrics_lost,
    devices.c.twins_seen_s,
    devices.c.twins_why,
    devices.c.started_anew_s,
    devices.c.tags,
    devices.c.intake,
    devices.c.signed,
    devices.c.refused_s,
    devices.c.refused_why,
    devices.c.refused_count,
)
_STEPS: Final = select(
    device_models.c.device,
    device_models.c.model,
    device_models.c.state,
    device_models.c.reason,
    device_models.c.active_sequence,
    device_models.c.target_sequence,
    device_models.c.deployment,
    device_models.c.active_version,
    device_models.c.group_name,
)


# --- what is known -------------------------------------------------------------------------------


def count_devices(connection: Connection) -> int:
    """Say how many devices are known."""
    return int(connection.execute(select(func.count()).select_from(devices)).scalar_one())


def read_records(
    connection: Connection, ids: Collection[str], room: int
) -> dict[str, DeviceRecord]:
    """Give what is known of devices, by id, and keep others from changing it meanwhile.

    Args:
        connection: with a transaction that may write.
        ids: the devices.
        room: so many devices more may be made known.
    """
    wanted = sorted(ids)
    if not wanted:
        return {}
    if connection.dialect.name == "postgresql":
        _make_lockable(connection, wanted, room)
    query = _KNOWN.where(is_one_of(connection, devices.c.id, wanted)).order_by(devices.c.id)
    rows = connection.execute(query.with_for_update()).mappings()
    records = {row["id"]: _record(row) for row in rows}
    of_these = is_one_of(connection, device_models.c.device, list(records))
    steps = connection.execute(_STEPS.where(of_these))
    for device, model, state, reason, runs, wanted_, deployment, version, group in steps:
        record = records[device]
        record.models[model] = (state, reason, runs, wanted_, deployment)
        standing = (model, runs, version, state, reason, deployment, group, record.online)
        record.counted.add(ModelStanding(*standing))
    return records


def _make_lockable(connection: Connection, ids: Sequence[str], room: int) -> None:
    """Have a row for each device, for only that can be locked.

    Rows are made before any is locked, and both in the order of ids: so no two processes wait for
    each other.
    """
    of_these = is_one_of(connection, devices.c.id, ids)
    there = connection.execute(select(devices.c.id).where(of_these)).scalars().all()
    missing = sorted(set(ids) - set(there))[: max(room, 0)]
    now_s = int(time.time())
    insert_missing(connection, devices, [{"id": id_, "first_seen_s": now_s} for id_ in missing])


def _record(row: RowMapping) -> DeviceRecord:
    memory = _MEMORY.decode(row["intake"]) if row["intake"] else _Memory()
    has_status = row["status_sha256"] is not None
    return DeviceRecord(
        id=row["id"],
        is_new=not row["seen_s"],
        seen_s=row["seen_s"],
        counter=row["counter"] if has_status else None,
        digest=bytes(row["status_sha256"] or b""),
        status_session=memory.status_session,
        status_at_s=row["status_at_s"],
        status_heard_s=row["status_heard_s"] or row["seen_s"],
        online=row["online"],
        online_since_s=row["online_since_s"],
        presence_at_s=row["presence_at_s"] or None,
        sessions=memory.sessions,
        metrics_counter=row["metrics_counter"] if memory.has_metrics else None,
        metrics_seen=memory.metrics_seen,
        metrics_session=memory.metrics_session,
        metrics_at_s=memory.metrics_at_s,
        metrics_heard_s=memory.metrics_heard_s,
        metrics_lost=row["metrics_lost"],
        metrics_era=memory.metrics_era,
        figures_spent=memory.figures_spent,
        figures_at_s=memory.figures_at_s,
        twins_seen_s=row["twins_seen_s"],
        twins_why=row["twins_why"],
        began_anew_s=row["started_anew_s"],
        tags=row["tags"],
        key_id=memory.key_id,
        signed=row["signed"],
        refused_s=row["refused_s"],
        refused_why=row["refused_why"],
        refused_count=row["refused_count"],
    )


# --- what is written -----------------------------------------------------------------------------


def write_batch(connection: Connection, batch: Batch) -> None:
    """Write all that a batch has, in the transaction of `read_records`."""
    _upsert_alike(connection, devices, _device_rows(batch), keep={"first_seen_s"})
    new_tags = _tags_changed(batch)
    _write_tags(connection, new_tags)
    for device, model in sorted(batch.gone):
        at = (device_models.c.device == device) & (device_models.c.model == model)
        connection.execute(delete(device_models).where(at))
    _upsert_alike(connection, device_models, _model_rows(batch))
    insert_rows(connection, history, [_history_row(step) for step in batch.happened])
    insert_missing(
        connection, metrics, [row for came in batch.metrics for row in _metrics_rows(came)]
    )
    _count_dropped(connection, batch)
    write_changes(connection, _count_changes(batch, new_tags))


def _count_changes(batch: Batch, new_tags: Mapping[str, Mapping[str, str]]) -> CountChanges:
    """Say which devices are counted as something else than before.

    Args:
        batch: with the devices.
        new_tags: of those that have others than before.
    """
    changes = CountChanges()
    for device, record in batch.records.items():
        before, heard, online = record.counted, batch.statuses.get(device), record.online
        if heard is not None:
            now = {standing_of(each, online=online) for each in heard.status.models}
        elif before and next(iter(before)).online is not online:
            now = {each._replace(online=online) for each in before}
        else:
            continue
        if now == before and device not in new_tags:
            continue
        tags = json.loads(record.tags or "{}")
        changes.note(before, tags, -1)
        changes.note(now, new_tags.get(device, tags), 1)
    return changes


def _upsert_alike(
    connection: Connection, table: Table, rows: Iterable[Row], keep: Collection[str] = ()
) -> None:
    """Write rows that have not all the same columns: those that are alike, together."""
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(tuple(row), []).append(row)
    for group in alike.values():
        upsert(connection, table, group, keep=keep)


def _device_rows(batch: Batch) -> Iterator[Row]:
    for device in sorted(batch.records):
        record, heard = batch.records[device], batch.statuses.get(device)
        yield _seen_row(record) | ({} if heard is None else _status_row(record, heard))


def _seen_row(record: DeviceRecord) -> Row:
    return {
        "id": record.id,
        "first_seen_s": int(time.time()),
        "seen_s": int(record.seen_s),
        "online": record.online,
        "online_since_s": int(record.online_since_s),
        "presence_at_s": record.presence_at_s or 0,
        "session": record.session,
        "metrics_counter": record.metrics_counter or 0,
        "metrics_lost": record.metrics_lost,
        "twins_seen_s": _whole(record.twins_seen_s),
        "twins_why": record.twins_why,
        "started_anew_s": _whole(record.began_anew_s),
        "intake": _ENCODER.encode(
            _Memory(
                record.sessions,
                record.status_session,
                record.metrics_seen,
                record.metrics_session,
                record.metrics_at_s,
                record.metrics_heard_s,
                record.metrics_era,
                record.metrics_counter is not None,
                record.key_id,
                record.figures_spent,
                record.figures_at_s,
            )
        ),
        "refused_s": _whole(record.refused_s),
        "refused_why": record.refused_why,
        "refused_count": record.refused_count,
    }


def _status_row(record: DeviceRecord, heard: StatusHeard) -> Row:
    status = heard.status
    inventory = status.inventory
    return {
        "counter": record.counter,
        "signed": record.signed,
        "status_sha256": record.digest,
        "status_at_s": status.time,
        "status_heard_s": _whole(heard.heard_s),
        "clock": status.clock,
        "clock_off_s": heard.clock_off_s,
        "clock_is_off": is_clock_off(heard.clock_off_s),
        "tags": _tags(status),
        "software": inventory.software,
        "runtime": inventory.runtime,
        "machine": inventory.machine,
        "memory_bytes": inventory.memory_bytes,
        "disk_free_bytes": inventory.disk_free_bytes,
        "abilities": _abilities(status),
        "link": None if status.link is None else msgspec.json.encode(status.link).decode(),
    }


def _abilities(status: Status) -> str:
    """Give what a device says that it can take, in JSON; nothing from one that does not say."""
    inventory = status.inventory
    if not inventory.codecs and not inventory.formats:
        return "{}"
    said = {
        "codecs": inventory.codecs,
        "formats": inventory.formats,
        "features": inventory.features,
        "image_max_bytes": inventory.image_max_bytes,
    }
    return msgspec.json.encode(said).decode()


def _tags(status: Status) -> str:
    return msgspec.json.encode(status.inventory.tags, order="sorted").decode()


def _tags_changed(batch: Batch) -> dict[str, Mapping[str, str]]:
    """Give the tags of devices whose tags are others than before."""
    return {
        device: heard.status.inventory.tags
        for device, heard in batch.statuses.items()
        if _tags(heard.status) != batch.records[device].tags
    }


def _write_tags(connection: Connection, changed: Mapping[str, Mapping[str, str]]) -> None:
    if not changed:
        return
    connection.execute(delete(device_tags).where(device_tags.c.device.in_(sorted(changed))))
    rows = [
        {"device": device, "key": key, "value": value}
        for device, tags in sorted(changed.items())
        for key, value in sorted(tags.items())
    ]
    insert_rows(connection, device_tags, rows)


def _model_rows(batch: Batch) -> Iterator[Row]:
    for device, heard in sorted(batch.statuses.items()):
        for model in heard.status.models:
            row = _model_row(device, model)
            if model.model in heard.stepped_s:
                row["changed_s"] = int(heard.stepped_s[model.model])
            if model.model in heard.saved_bytes:
                row["saved_bytes"] = heard.saved_bytes[model.model]
            yield row


def _model_row(device: str, status: ModelStatus) -> Row:
    active, target = status.active, status.target
    state, reason, runs, wanted, deployment = step_of(status)
    return {
        "device": device,
        "model": status.model,
        "state": state,
        "reason": reason,
        "detail": status.detail,
        "since_s": status.since,
        "active_version": "" if active is None else active.version,
        "active_sequence": runs,
        "target_version": "" if target is None else target.version,
        "target_sequence": wanted,
        "deployment": deployment,
        "group_name": "" if target is None else target.group,
        "floor": status.floor,
        "status": _ENCODER.encode(status),
    }


def _history_row(step: Happened) -> Row:
    status = step.status
    row = _model_row(step.device, status)
    return {
        "at_s": int(step.at_s),
        "device_at_s": step.device_at_s,
        "device": step.device,
        "model": status.model,
        "state": row["state"],
        "reason": row["reason"],
        "detail": row["detail"],
        "version": row["active_version"],
        "sequence": row["active_sequence"],
        "target_version": row["target_version"],
        "target_sequence": row["target_sequence"],
        "deployment": row["deployment"],
        "evidence": None if status.evidence is None else _ENCODER.encode(status.evidence),
        "progress": None if status.progress is None else _ENCODER.encode(status.progress),
    }


def _metrics_rows(came: MetricsHeard) -> Iterator[Row]:
    counter = came.era % _ERAS_MAX * ERA + came.metrics.counter
    for number, summary in enumerate(came.metrics.summaries):
        yield {
            "device": came.metrics.device,
            "counter": counter,
            "number": number,
            "model": summary.model,
            "version": summary.version,
            "sequence": summary.sequence,
            "heard_s": int(came.heard_s),
            "start_s": summary.start,
            "end_s": summary.end,
            "on_trial": summary.on_trial,
            "requests": summary.requests,
            "errors": summary.errors,
            "figures": pack_summary(summary),
        }


def _count_dropped(connection: Connection, batch: Batch) -> None:
    if not batch.dropped:
        return
    reasons = sorted(batch.dropped)
    insert_missing(connection, dropped, [{"reason": reason} for reason in reasons])
    adds = (
        update(dropped)
        .where(dropped.c.reason == bindparam("of"))
        .values(count=dropped.c.count + bindparam("more"), last_s=bindparam("at"))
    )
    now_s = int(time.time())
    rows = [{"of": reason, "more": batch.dropped[reason], "at": now_s} for reason in reasons]
    connection.execute(adds, rows)


def _whole(time_s: float | None) -> int | None:
    return None if time_s is None else int(time_s)
