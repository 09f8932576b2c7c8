"""A day of one device, as rows: a release came, was too slow on trial, and went back."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import insert

from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.figures_blob import pack, pack_summary
from slotcast_publisher.fleet.database.kept_counts import count_anew
from slotcast_publisher.fleet.database.tables import (
    device_models,
    device_tags,
    devices,
    history,
    metrics,
    metrics_hours,
    metrics_releases,
    release_figures,
)
from slotcast_publisher.fleet.database.upsert import insert_missing
from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_publisher.fleet.figures.release_figures import figures_of
from slotcast_schemas.messages.metrics import Latency, Summary
from slotcast_schemas.messages.status import (
    BenchedRelease,
    Check,
    Evidence,
    LinkStatus,
    ModelStatus,
    Progress,
    SlotStatus,
    StatusFile,
    Target,
)
from slotcast_schemas.states import State
from tests.support.messages import sha

NOW_S: Final = 1_800_000_000
DEVICE: Final = "cam-0417"
MODEL: Final = "detector"
ROLLOUT: Final = "detector-3.3.0"
OLD: Final = ("3.2.1", 1042)
NEW: Final = ("3.3.0", 1046)
TAGS: Final = {"board": "rev-b", "ring": "canary", "site": "plant-2"}
BEGAN_S: Final = NOW_S - 4 * 3600
"""When the new release began to serve."""
ENDED_S: Final = NOW_S - 1800
"""When the old one served again."""
_EVERY_S: Final = 300


def tell_story(
    database: Database,
    device: str = DEVICE,
    *,
    tags: Mapping[str, str] = TAGS,
    row: Mapping[str, Any] | None = None,
    status: ModelStatus | None = None,
) -> None:
    """Write the day down.

    Args:
        database: to write into.
        device: its id.
        tags: of the device.
        row: what is other than usual in its row of `devices`.
        status: what it says of the model, in place of the story's.
    """
    said = rolled_back() if status is None else status
    with database.transaction() as connection:
        connection.execute(insert(devices), [_device_row(device, tags) | dict(row or {})])
        if tags:
            rows = [{"device": device, "key": k, "value": v[:128]} for k, v in tags.items()]
            connection.execute(insert(device_tags), rows)
        connection.execute(insert(device_models), [model_row(device, said)])
        count_anew(connection)
        connection.execute(insert(history), [*_history(device)])
        summaries = [_summary(at_s) for at_s in range(NOW_S - 86_000, NOW_S, _EVERY_S)]
        connection.execute(
            insert(metrics), [_metrics_row(device, n, each) for n, each in enumerate(summaries)]
        )
        for version, sequence in (OLD, NEW):
            figures = figures_of(each for each in summaries if each.sequence == sequence)
            sums = {
                "device": device, "model": MODEL, "sequence": sequence,
                "requests": figures.requests, "errors": figures.errors, "figures": pack(figures),
            }  # fmt: skip
            times = {"version": version, "first_s": BEGAN_S, "last_s": NOW_S}
            connection.execute(insert(metrics_releases), [sums | times])
            known = {k: v for k, v in (sums | times).items() if k != "device"}
            insert_missing(connection, release_figures, [known])
            hour_s = BEGAN_S - BEGAN_S % 3600
            connection.execute(insert(metrics_hours), [sums | {"hour_s": hour_s}])


def slot(name: str, version: str, sequence: int) -> SlotStatus:
    """Give a slot that holds a release."""
    files = (
        StatusFile(path="detector.onnx", size_bytes=22_400_000, sha256=sha(version)),
        StatusFile(path="labels.txt", size_bytes=1_200, sha256=sha("labels")),
    )
    return SlotStatus(slot=name, version=version, sequence=sequence, files=files)


def rolled_back() -> ModelStatus:
    """Give what the device says at the end of the day."""
    return ModelStatus(
        model=MODEL,
        state=State.ROLLED_BACK,
        reason="too_slow",
        detail="p95 39.4 ms where 38 ms is allowed",
        since=ENDED_S,
        floor=OLD[1],
        target=Target(version=NEW[0], sequence=NEW[1], deployment=ROLLOUT, group="canary"),
        active=slot("a", *OLD),
        standby=slot("b", *NEW),
        progress=delta_progress(),
        evidence=trial_evidence(),
        benched=(BenchedRelease(sequence=NEW[1], version=NEW[0], reason="too_slow"),),
        notice="valid",
    )


def delta_progress(received_bytes: int = 604_000) -> Progress:
    """Give what the delta to the new release came to."""
    return Progress(
        payload=sha("payload"),
        codec="delta+v1",
        size_bytes=590_000,
        verified_bytes=590_000,
        received_bytes=received_bytes,
        saved_bytes=22_200_000,
        rate_bytes_per_s=84_000,
    )


def full_progress() -> Progress:
    """Give what the release before came to, of which nothing was there yet."""
    return Progress(
        payload=sha("full payload"),
        codec="full+zstd",
        size_bytes=20_700_000,
        verified_bytes=20_700_000,
        received_bytes=21_300_000,
        saved_bytes=2_100_000,
        rate_bytes_per_s=80_000,
    )


def probe_evidence() -> Evidence:
    """Give what the probe found: all is well."""
    return Evidence(
        sequence=NEW[1],
        checks=(
            Check(name="loads", passed=True, value=2.4),
            Check(name="golden", passed=True, value=0.31, limit=1.0),
            Check(name="memory_relative", passed=True, value=221e6, limit=314e6, reference=204e6),
            Check(name="latency_p50", passed=True, value=0.0082, limit=0.023, reference=0.0076),
        ),
    )


def trial_evidence() -> Evidence:
    """Give what the trial found: too slow."""
    return Evidence(
        sequence=NEW[1],
        checks=(
            Check(name="errors", passed=True, value=0.0003, limit=0.0102, reference=0.0002),
            Check(name="memory", passed=True, value=231e6, limit=320e6, reference=214e6),
            Check(
                name="latency_p95",
                passed=False,
                value=0.0394,
                limit=0.038,
                reference=0.0126,
                detail="3.0 x the active, and 0.2 ms",
            ),
        ),
    )


def _device_row(device: str, tags: Mapping[str, str]) -> dict[str, Any]:
    link = LinkStatus(
        broker="mqtts://broker.plant.example", protocol="MQTT 5", reason="connected",
        since=NOW_S - 86_400,
    )  # fmt: skip
    return {
        "id": device,
        "first_seen_s": NOW_S - 90 * 86_400,
        "seen_s": NOW_S - 22,
        "counter": 18_204,
        "status_at_s": NOW_S - 22,
        "status_heard_s": NOW_S - 22,
        "clock": "ok",
        "clock_off_s": 0,
        "tags": json.dumps(dict(tags)),
        "software": "slotcast-device 0.1.0",
        "runtime": "onnxruntime 1.18.1",
        "machine": "aarch64, 4 cores",
        "memory_bytes": 1_900_000_000,
        "disk_free_bytes": 3_100_000_000,
        "link": msgspec.json.encode(link).decode(),
        "online": True,
        "online_since_s": NOW_S - 86_400,
        "session": "session",
    }


def model_row(device: str, status: ModelStatus) -> dict[str, Any]:
    """Give the row of a model on a device, as the intake writes it."""
    active, target = status.active, status.target
    return {
        "device": device,
        "model": status.model,
        "state": status.state,
        "reason": status.reason,
        "detail": status.detail,
        "since_s": status.since,
        "changed_s": ENDED_S,
        "active_version": "" if active is None else active.version,
        "active_sequence": 0 if active is None else active.sequence,
        "target_version": "" if target is None else target.version,
        "target_sequence": 0 if target is None else target.sequence,
        "deployment": "" if target is None else target.deployment,
        "group_name": "" if target is None else target.group,
        "floor": status.floor,
        "saved_bytes": 22_200_000,
        "status": msgspec.msgpack.encode(status),
    }


def _history(device: str) -> list[dict[str, Any]]:
    probe, trial = (
        msgspec.msgpack.encode(probe_evidence()),
        msgspec.msgpack.encode(trial_evidence()),
    )
    came = {
        NOW_S - 20 * 86_400: full_progress(),
        BEGAN_S - 130: delta_progress(received_bytes=0),
        BEGAN_S - 24: delta_progress(),
        BEGAN_S - 22: delta_progress(),
    }
    told: tuple[tuple[int, str, str, tuple[str, int], bytes | None], ...] = (
        (NOW_S - 20 * 86_400, "TRIAL", "on_trial", OLD, None),
        (NOW_S - 20 * 86_400 + 14_400, "COMMITTED", "committed", OLD, None),
        (BEGAN_S - 1100, "QUEUED", "window", OLD, None),
        (BEGAN_S - 130, "DOWNLOADING", "downloading", OLD, None),
        (BEGAN_S - 24, "DOWNLOADED", "building", OLD, None),
        (BEGAN_S - 22, "VERIFIED", "probing", OLD, None),
        (BEGAN_S, "TRIAL", "on_trial", NEW, probe),
        (ENDED_S, "ROLLED_BACK", "too_slow", OLD, trial),
    )
    return [
        {
            "at_s": at_s,
            "device_at_s": at_s,
            "device": device,
            "model": MODEL,
            "state": state,
            "reason": reason,
            "version": runs[0],
            "sequence": runs[1],
            "target_version": (OLD if at_s < BEGAN_S - 86_400 else NEW)[0],
            "target_sequence": (OLD if at_s < BEGAN_S - 86_400 else NEW)[1],
            "deployment": ROLLOUT,
            "evidence": evidence,
            "progress": msgspec.msgpack.encode(came[at_s]) if at_s in came else None,
        }
        for at_s, state, reason, runs, evidence in told
    ]


def _summary(end_s: int) -> Summary:
    is_new = BEGAN_S <= end_s < ENDED_S
    version, sequence = NEW if is_new else OLD
    risen = 1 - math.exp(-(end_s - BEGAN_S) / 3600) if is_new else 0.0
    middle_s = 0.0075 * (1 + 0.9 * risen) * (1 + 0.03 * math.sin(end_s / 700))
    counts = [0] * (len(GRID_S) + 1)
    for part in range(200):
        spread = math.exp((part / 200 - 0.5) * (1.2 + 1.6 * risen))
        latency_s = middle_s * spread
        counts[bisect_right(GRID_S, latency_s)] += 1
    return Summary(
        model=MODEL,
        version=version,
        sequence=sequence,
        start=end_s - _EVERY_S,
        end=end_s,
        requests=200,
        errors=1 if end_s % 7 == 0 else 0,
        latency=Latency(
            p50_s=middle_s, p95_s=3 * middle_s, p99_s=4 * middle_s, max_s=5 * middle_s,
            sum_s=200 * middle_s, bounds_s=GRID_S, counts=tuple(counts),
        ),
        rss_bytes=int((231 if is_new else 214) * 1e6 + 1e6 * math.sin(end_s / 900)),
        load_s=2.4 if is_new else 1.9,
    )  # fmt: skip


def _metrics_row(device: str, number: int, part: Summary) -> dict[str, Any]:
    return {
        "device": device,
        "counter": number,
        "number": 0,
        "model": part.model,
        "version": part.version,
        "sequence": part.sequence,
        "heard_s": part.end + 2,
        "start_s": part.start,
        "end_s": part.end,
        "on_trial": False,
        "requests": part.requests,
        "errors": part.errors,
        "figures": pack_summary(part),
    }
