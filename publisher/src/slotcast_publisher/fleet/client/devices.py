"""Devices of a remote page, as `slotcast fleet` knows those of its own database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from slotcast_publisher.fleet.client.connection import Connection, part
from slotcast_publisher.fleet.database.listing import (
    DevicesWanted,
    HistoryEntry,
    KnownDevice,
    KnownModel,
)
from slotcast_publisher.fleet.web.api.device_types import (
    DeviceDetail,
    DevicePage,
    DeviceView,
    ProgressView,
)
from slotcast_publisher.fleet.web.api.types import Counts
from slotcast_schemas.messages.status import Evidence, ModelStatus, Progress

PAGE: Final = 500
"""The number of devices that are asked for at once."""


def counts(connection: Connection, wanted: DevicesWanted) -> Counts:
    """Count the devices that are asked for.

    Args:
        connection: to the page.
        wanted: which devices.
    """
    return connection.get("/counts", Counts, _parameters(wanted))


def devices(
    connection: Connection, wanted: DevicesWanted, limit: int | None
) -> Iterator[DeviceView]:
    """Give the devices that are asked for, by their ids.

    Args:
        connection: to the page.
        wanted: which devices.
        limit: the most of them; None for all.
    """
    after, left = None, limit
    while left is None or left > 0:
        number = PAGE if left is None else min(PAGE, left)
        asked = {**_parameters(wanted), "limit": number, "after": after}
        page = connection.get("/devices", DevicePage, asked)
        yield from page.devices
        left = None if left is None else left - len(page.devices)
        after = page.next
        if after is None:
            return


def device(connection: Connection, device_id: str) -> DeviceDetail:
    """Give one device with its history and figures.

    Args:
        connection: to the page.
        device_id: its id.

    Raises:
        NotFound: it is not known there.
    """
    return connection.get(f"/devices/{part(device_id)}", DeviceDetail)


def _parameters(wanted: DevicesWanted) -> dict[str, str | int | Sequence[str] | None]:
    """Give what an address says to ask for these."""
    return {
        "model": wanted.model,
        "version": wanted.version,
        "state": wanted.state,
        "reason": wanted.reason,
        "tag": [f"{key}={value}" for key, value in wanted.tags.items()] or None,
        "q": " ".join(wanted.words) or None,
        "online": _word(wanted.online),
        "rollout": wanted.deployment,
        "group": wanted.group,
        "shares_id": _word(wanted.shares_id),
        "seen_since": _time(wanted.seen_since_s),
        "unseen_since": _time(wanted.unseen_since_s),
    }


def _word(is_so: bool | None) -> str | None:  # noqa: FBT001 - a value, not a switch
    return None if is_so is None else str(is_so).lower()


def _time(at_s: int | None) -> str | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat()


# --- back to what the database gives --------------------------------------------------------------


def known_device(view: DeviceView) -> KnownDevice:
    """Give a device as the database of its own machine would give it."""
    heard = view.heard
    row = {
        "id": view.device,
        "online": view.online,
        "status_at_s": seconds(view.status_at),
        "status_heard_s": seconds(heard.status_heard_at),
        "seen_s": seconds(heard.seen_at),
        "clock": view.clock,
        "clock_off_s": heard.clock_off_s,
        "software": view.software,
        "runtime": view.runtime,
        "machine": view.machine,
        "memory_bytes": view.memory_bytes,
        "disk_free_bytes": view.disk_free_bytes,
        "twins_seen_s": seconds(heard.twins_seen_at),
        "twins_why": heard.twins_why,
        "started_anew_s": seconds(heard.started_anew_at),
        "signed": view.signed,
        "refused_s": seconds(heard.refused_at),
        "refused_why": heard.refused_why,
        "refused_count": heard.refused_count,
    }
    return KnownDevice(row, view.tags, view.link, [_known_model(view, m) for m in view.models])


def _known_model(view: DeviceView, model: Any) -> KnownModel:
    fields = msgspec.to_builtins(model)
    fields["active"] = _with_digests(fields.pop("runs"))
    fields["standby"] = _with_digests(fields["standby"])
    fields["target"] = _with_digest(fields.pop("wanted"), "release_sha256")
    fields = _with_digest(fields, "notice_sha256") or {}
    fields["since"] = seconds(fields["since"]) or 0
    fields["notice_expires"] = seconds(fields["notice_expires"]) or 0
    if fields["progress"] is not None:
        fields["progress"]["payload"] = bytes.fromhex(fields["progress"]["payload"])
    status = msgspec.convert(fields, ModelStatus, builtin_types=(bytes,))
    heard = view.heard.models[model.model]
    return KnownModel(status, seconds(heard.changed_at) or 0, heard.saved_bytes)


def _with_digest(fields: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    """Give fields with one of them, a digest, as bytes."""
    return None if fields is None else {**fields, name: bytes.fromhex(fields[name])}


def _with_digests(slot: dict[str, Any] | None) -> dict[str, Any] | None:
    """Give a slot with digests as bytes."""
    if slot is not None:
        files = slot["files"]
        slot["files"] = [{**file, "sha256": bytes.fromhex(file["sha256"])} for file in files]
    return slot


def seconds(time: str | None) -> int | None:
    """Give a time in seconds since 1970; None for never."""
    return None if time is None else int(datetime.fromisoformat(time).timestamp())


def changes_of(view: DeviceDetail) -> list[HistoryEntry]:
    """Give the history of a device as the database of its own machine would give it."""
    return [
        HistoryEntry(
            at_s=seconds(change.at) or 0,
            device_at_s=seconds(change.device_at) or 0,
            model=change.model,
            state=change.state,
            reason=change.reason,
            detail=change.detail,
            version=change.runs.version,
            sequence=change.runs.sequence,
            target_version=change.wanted.version,
            target_sequence=change.wanted.sequence,
            deployment=change.wanted.deployment,
            evidence=None
            if change.evidence is None
            else msgspec.convert(msgspec.to_builtins(change.evidence), Evidence),
            progress=_progress(change.progress),
        )
        for change in view.history.changes
    ]


def _progress(view: ProgressView | None) -> Progress | None:
    if view is None:
        return None
    fields = msgspec.to_builtins(view) | {"payload": bytes.fromhex(view.payload)}
    return msgspec.convert(fields, Progress, builtin_types=(bytes,))
