"""A database of a large fleet, written at once: what 100,000 devices have said, without saying it.

The rows are those that the intake writes; only the way they come there is shorter.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from sqlalchemy import Table

from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.figures_blob import pack
from slotcast_publisher.fleet.database.kept_counts import count_anew
from slotcast_publisher.fleet.database.tables import (
    device_models,
    device_tags,
    devices,
    history,
    metrics_releases,
    release_figures,
    release_hours,
)
from slotcast_publisher.fleet.database.upsert import insert_rows
from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_publisher.fleet.figures.release_figures import figures_of, together
from slotcast_schemas.messages.metrics import Latency, Summary
from slotcast_schemas.messages.status import ModelStatus, SlotStatus, Target
from slotcast_schemas.states import State

MODEL: Final = "detector"
OLD, NEW = ("6.0", 6), ("7.0", 7)
ROLLOUT: Final = "detector-7.0"
GROUPS: Final = ("canary", "everyone")
SITES: Final = 200
NOW_S: Final = 1_800_000_000
FAILED_EVERY: Final = 250
"""One device of so many has failed."""
NEW_SHARE: Final = 0.4
_BATCH: Final = 5_000


def device_id(number: int) -> str:
    """Give the id of a device by its number, from 0."""
    return f"cam-{number:06}"


def fill(
    database: Database,
    count: int,
    *,
    seed: int = 1,
    now_s: int = NOW_S,
    with_figures: bool = True,
) -> None:
    """Write a fleet of `count` devices into an empty database.

    Args:
        database: to write into.
        count: how many devices.
        seed: of what differs from device to device.
        now_s: when the last of them was heard.
        with_figures: write what they reported of releases, too.
    """
    chance = random.Random(seed)
    statuses = [_status(number, chance) for number in range(count)]
    seen = [now_s - int(chance.expovariate(1 / 600)) for _ in range(count)]
    write(database, devices, (_device_row(n, seen[n]) for n in range(count)))
    write(database, device_tags, (row for n in range(count) for row in _tag_rows(n)))
    write(database, device_models, (_model_row(n, statuses[n], seen[n]) for n in range(count)))
    write(database, history, (_history_row(n, statuses[n], seen[n]) for n in range(count)))
    with database.transaction() as connection:
        count_anew(connection)
    if with_figures:
        _write_figures(database, statuses, seen, chance, now_s)


def _write_figures(
    database: Database,
    statuses: Sequence[ModelStatus],
    seen: Sequence[int],
    chance: random.Random,
    now_s: int,
) -> None:
    """Write figures of each release on each device, and their sums."""
    parts = [figures_of([summary(chance)]) for _ in range(50)]
    packed = [pack(part) for part in parts]
    number = itertools.count()
    rows = (
        row
        for n, status in enumerate(statuses)
        for row in _release_rows(n, status, seen[n], packed[next(number) % len(packed)])
    )
    write(database, metrics_releases, rows)
    for version, sequence in (OLD, NEW):
        whole = together(parts)
        sums = {"requests": whole.requests, "errors": whole.errors, "figures": pack(whole)}
        place = {"model": MODEL, "sequence": sequence}
        times = {"version": version, "first_s": now_s - 86_400, "last_s": now_s}
        hours = range(now_s - 7 * 86_400, now_s, 3_600)
        write(database, release_figures, iter([place | times | sums]))
        write(database, release_hours, (place | {"hour_s": h - h % 3_600} | sums for h in hours))


def write(database: Database, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows into a table, some thousand in a transaction.

    Args:
        database: to write into.
        table: of it.
        rows: all with the same columns.
    """
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        with database.transaction() as connection:
            insert_rows(connection, table, batch)


def _tags(number: int) -> dict[str, str]:
    return {"board": "rev-b" if number % 3 else "rev-a", "site": f"plant-{number % SITES}"}


def _device_row(number: int, seen_s: int) -> dict[str, Any]:
    return {
        "id": device_id(number),
        "first_seen_s": seen_s - 86_400,
        "seen_s": seen_s,
        "counter": 100,
        "status_sha256": b"12345678",
        "status_at_s": seen_s,
        "status_heard_s": seen_s,
        "clock": "ok",
        "clock_off_s": 0,
        "tags": json.dumps(_tags(number)),
        "software": "slotcast-device 0.1.0",
        "runtime": "onnxruntime 1.20.0",
        "machine": "aarch64",
        "memory_bytes": 4_000_000_000,
        "disk_free_bytes": 10_000_000_000,
        "online": number % 10 != 0,
        "online_since_s": seen_s - 3600,
        "session": f"session-{number}",
        "presence_at_s": seen_s - 3600,
        "intake": b"x" * 120,
    }


def _tag_rows(number: int) -> Iterator[dict[str, Any]]:
    for key, value in _tags(number).items():
        yield {"device": device_id(number), "key": key, "value": value}


def _status(number: int, chance: random.Random) -> ModelStatus:
    group = GROUPS[0] if number % 20 == 0 else GROUPS[1]
    target = Target(version=NEW[0], sequence=NEW[1], deployment=ROLLOUT, group=group)
    old, new = (_slot(version, sequence) for version, sequence in (OLD, NEW))
    if number % FAILED_EVERY == 0:
        return ModelStatus(
            model=MODEL,
            state=State.FAILED,
            reason="too_slow",
            detail="p95 82 ms where 50 ms is allowed",
            active=old,
            target=target,
            floor=OLD[1],
        )
    if chance.random() < NEW_SHARE:
        return ModelStatus(
            model=MODEL,
            state=State.COMMITTED,
            reason="committed",
            active=new,
            target=target,
            floor=NEW[1],
        )
    return ModelStatus(
        model=MODEL,
        state=State.QUEUED,
        reason="waits_for_group",
        active=old,
        target=target,
        floor=OLD[1],
    )


def _slot(version: str, sequence: int) -> SlotStatus:
    return SlotStatus(slot="a", version=version, sequence=sequence)


def _model_row(number: int, status: ModelStatus, seen_s: int) -> dict[str, Any]:
    active, target = status.active, status.target
    return {
        "device": device_id(number),
        "model": MODEL,
        "state": status.state,
        "reason": status.reason,
        "detail": status.detail,
        "since_s": seen_s - 1000,
        "changed_s": seen_s - number % 5_000,
        "active_version": "" if active is None else active.version,
        "active_sequence": 0 if active is None else active.sequence,
        "target_version": "" if target is None else target.version,
        "target_sequence": 0 if target is None else target.sequence,
        "deployment": "" if target is None else target.deployment,
        "group_name": "" if target is None else target.group,
        "floor": status.floor,
        "saved_bytes": 1_000_000 if status.state == "COMMITTED" else 0,
        "status": msgspec.msgpack.encode(status),
    }


def _history_row(number: int, status: ModelStatus, seen_s: int) -> dict[str, Any]:
    row = _model_row(number, status, seen_s)
    return {
        "at_s": seen_s - number % 5_000,
        "device_at_s": seen_s - number % 5_000,
        "device": row["device"],
        "model": MODEL,
        "state": row["state"],
        "reason": row["reason"],
        "detail": row["detail"],
        "version": row["active_version"],
        "sequence": row["active_sequence"],
        "target_version": row["target_version"],
        "target_sequence": row["target_sequence"],
        "deployment": row["deployment"],
    }


def _release_rows(
    number: int, status: ModelStatus, seen_s: int, figures: bytes
) -> Iterator[dict[str, Any]]:
    for version, sequence in (OLD, NEW):
        if status.active is None or sequence > status.active.sequence:
            continue
        yield {
            "device": device_id(number),
            "model": MODEL,
            "sequence": sequence,
            "version": version,
            "first_s": seen_s - 86_400,
            "last_s": seen_s,
            "requests": 600,
            "errors": 1,
            "figures": figures,
        }


def summary(chance: random.Random | None = None) -> Summary:
    """Give what a device reports of a minute, drawn anew."""
    chance = chance or random.Random(1)
    counts = [0] * (len(GRID_S) + 1)
    for _ in range(600):
        counts[min(len(GRID_S), max(0, int(chance.gauss(30, 2))))] += 1
    latency = Latency(
        p50_s=0.05,
        p95_s=0.08,
        p99_s=0.09,
        max_s=0.2,
        sum_s=30.0,
        bounds_s=GRID_S,
        counts=tuple(counts),
    )
    return Summary(
        model=MODEL,
        version=OLD[0],
        sequence=OLD[1],
        start=NOW_S - 60,
        end=NOW_S,
        requests=600,
        errors=1,
        latency=latency,
        rss_bytes=300_000_000,
        load_s=1.5,
    )
