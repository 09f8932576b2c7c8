"""A device as plain fields: what `slotcast fleet --json` prints, and what the API gives.

What only the database knows, and no retained message tells again, is in `heard` and `history`: all
else is the same after the database was lost and made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from slotcast_publisher.fleet.database.listing import (
    FiguresOfRelease,
    HistoryEntry,
    KnownDevice,
    KnownModel,
)
from slotcast_publisher.fleet.database.signed_words import signed_of


def device_fields(device: KnownDevice) -> dict[str, Any]:
    """Give a device and its models."""
    row = device.row
    return {
        "device": device.id,
        "online": row["online"],
        "status_at": iso(row["status_at_s"]),
        "clock": row["clock"],
        "tags": dict(device.tags),
        "software": row["software"],
        "runtime": row["runtime"],
        "machine": row["machine"],
        "memory_bytes": row["memory_bytes"],
        "disk_free_bytes": row["disk_free_bytes"],
        "signed": signed_of(row),
        "abilities": json.loads(row["abilities"]) or None,
        "link": None if device.link is None else msgspec.to_builtins(device.link),
        "models": [model_fields(model) for model in device.models],
        "heard": {
            "seen_at": iso(row["seen_s"]),
            "first_seen_at": iso(row["first_seen_s"]),
            "online_since": iso(row["online_since_s"]) if row["online"] else None,
            "clock_off_s": row["clock_off_s"],
            "twins_seen_at": iso(row["twins_seen_s"]),
            "twins_why": row["twins_why"],
            "started_anew_at": iso(row["started_anew_s"]),
            "metrics_lost": row["metrics_lost"],
            "refused_at": iso(row["refused_s"]),
            "refused_why": row["refused_why"],
            "refused_count": row["refused_count"],
            "status_heard_at": iso(row["status_heard_s"]),
            "models": {
                model.status.model: {
                    "changed_at": iso(model.changed_s),
                    "saved_bytes": model.saved_bytes,
                }
                for model in device.models
            },
        },
    }


def model_fields(model: KnownModel) -> dict[str, Any]:
    """Give what runs, what is wanted, and in what state it is."""
    fields: dict[str, Any] = _plain(model.status)
    return {
        "model": fields.pop("model"),
        "runs": fields.pop("active"),
        "wanted": fields.pop("target"),
        "state": fields.pop("state"),
        "reason": fields.pop("reason"),
        "detail": fields.pop("detail"),
        "since": iso(fields.pop("since")),
        "notice_expires": iso(fields.pop("notice_expires")),
        **fields,
    }


def history_fields(changes: Iterable[HistoryEntry]) -> list[dict[str, Any]]:
    """Give a device's history."""
    return [
        {
            "at": iso(change.at_s),
            "device_at": iso(change.device_at_s),
            "model": change.model,
            "state": change.state,
            "reason": change.reason,
            "detail": change.detail,
            "runs": {"version": change.version, "sequence": change.sequence},
            "wanted": {
                "version": change.target_version,
                "sequence": change.target_sequence,
                "deployment": change.deployment,
            },
            "evidence": None if change.evidence is None else _plain(change.evidence),
            "progress": None if change.progress is None else _plain(change.progress),
        }
        for change in changes
    ]


def figures_fields(found: Sequence[FiguresOfRelease]) -> list[dict[str, Any]]:
    """Give a device's figures of releases."""
    return [
        {
            "model": each.model,
            "version": each.version,
            "sequence": each.sequence,
            "last_at": iso(each.last_s),
            "requests": each.figures.requests,
            "errors": each.figures.errors,
            "nonfinite": each.figures.nonfinite,
            "latency_p50_s": quantile_s(each, 0.5),
            "latency_p95_s": quantile_s(each, 0.95),
            "memory_bytes": each.figures.memory_bytes,
            "load_s": each.figures.load_s,
            "output_mean": each.figures.output_mean,
            "output_std": each.figures.output_std,
        }
        for each in found
    ]


def quantile_s(each: FiguresOfRelease, share: float) -> float | None:
    """Give a latency, in seconds, that a share of the requests does not exceed."""
    found = each.figures.latency.quantile(share)
    return None if found is None else found.value_s


def iso(at_s: int | None) -> str | None:
    """Give a time as ISO 8601 has it, in UTC; None for never, or one that no calendar has."""
    if not at_s:
        return None
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def _plain(message: msgspec.Struct) -> Any:
    """Give a message as plain values; digests as hex digits."""
    return msgspec.to_builtins(message, builtin_types=(bytes,))
