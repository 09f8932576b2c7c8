"""What the API gives of devices: views made of what the database knows, and no framework.

Times are ISO 8601 in UTC, with null for never; digests are hex digits. Texts of devices are data:
whoever shows them escapes them. The API's other types are in `types`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from slotcast_publisher.fleet.database.device_json import (
    device_fields,
    figures_fields,
    history_fields,
)
from slotcast_publisher.fleet.database.listing import KnownDevice
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.messages.status import LinkStatus

Time = str | None
"""A time as ISO 8601 has it, in UTC; null for never."""


class FileView(Struct, frozen=True, kw_only=True):
    """A file in a slot; `sha256` in hex digits."""

    path: str
    size_bytes: int
    sha256: str


class SlotView(Struct, frozen=True, kw_only=True):
    """A release that a slot holds whole and verified."""

    slot: str
    version: str
    sequence: int
    files: tuple[FileView, ...] = ()


class TargetView(Struct, frozen=True, kw_only=True):
    """The release that a device was last asked to run, and by which rollout.

    `release_sha256` is of the signed release, in hex digits; empty from devices that do not say.
    """

    version: str
    sequence: int
    deployment: str = ""
    group: str = ""
    release_sha256: str = ""


class ProgressView(Struct, frozen=True, kw_only=True):
    """How far a transfer is, in verified bytes."""

    payload: str
    codec: str
    size_bytes: int
    verified_bytes: int
    received_bytes: int = 0
    reused_bytes: int = 0
    saved_bytes: int = 0
    rate_bytes_per_s: int = 0


class CheckView(Struct, frozen=True, kw_only=True):
    """One line of evidence: what was looked at, found and allowed, and what the old model had."""

    name: str
    passed: bool
    value: float | None = None
    limit: float | None = None
    reference: float | None = None
    detail: str = ""


class EvidenceView(Struct, frozen=True, kw_only=True):
    """What a probe or a trial found."""

    sequence: int
    checks: tuple[CheckView, ...] = ()


class BenchedView(Struct, frozen=True, kw_only=True):
    """A release that was rolled back on a device, and is not tried again by itself."""

    sequence: int
    version: str
    reason: str
    attempt: int = 1


class ModelView(Struct, frozen=True, kw_only=True):
    """A model on a device: what runs, what is wanted, and in what state it is.

    `notice_sha256` is of the last good notice, as it came to the device, in hex digits;
    `provisioned` the version that the device's owner can set it back to, empty for none.
    """

    model: str
    runs: SlotView | None
    wanted: TargetView | None
    state: str
    reason: str
    detail: str
    since: Time
    notice_expires: Time
    floor: int
    standby: SlotView | None
    progress: ProgressView | None
    evidence: EvidenceView | None
    benched: tuple[BenchedView, ...]
    notice: str
    notice_sha256: str = ""
    provisioned: str = ""


class HeardModel(Struct, frozen=True, kw_only=True):
    """What only the database knows of a model on a device."""

    changed_at: Time
    saved_bytes: int


class HeardDevice(Struct, frozen=True, kw_only=True):
    """What only the database knows of a device.

    `refused_why` is the word for why a report in its name was last refused: `unsigned`,
    `bad_signature` or `replayed`; empty for never.
    """

    seen_at: Time
    first_seen_at: Time
    online_since: Time
    clock_off_s: int | None
    twins_seen_at: Time
    twins_why: str
    started_anew_at: Time
    metrics_lost: int
    models: dict[str, HeardModel]
    status_heard_at: Time = None
    refused_at: Time = None
    refused_why: str = ""
    refused_count: int = 0


class Abilities(Struct, frozen=True, kw_only=True):
    """What a device can take: codecs of payloads, formats of models, features of releases."""

    codecs: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    image_max_bytes: int = 0


class DeviceView(Struct, frozen=True, kw_only=True):
    """A device: what its last status says, and when it was heard.

    `signed` says of that status `yes`: by the key that the device is enrolled with; `not_enrolled`:
    by one that nobody enrolled; or `unsigned`. `abilities` is null from devices that do not say.
    """

    device: str
    online: bool
    status_at: Time
    clock: str
    tags: dict[str, str]
    software: str
    runtime: str
    machine: str
    memory_bytes: int
    disk_free_bytes: int
    link: LinkStatus | None
    models: tuple[ModelView, ...]
    heard: HeardDevice
    signed: str = "unsigned"
    abilities: Abilities | None = None


class RunRelease(Struct, frozen=True, kw_only=True):
    """A release that ran; an empty version for none."""

    version: str
    sequence: int


class WantedRelease(Struct, frozen=True, kw_only=True):
    """A release that was asked for, and by which rollout; an empty version for none."""

    version: str
    sequence: int
    deployment: str


class ChangeView(Struct, frozen=True, kw_only=True):
    """An entry of a device's history."""

    at: Time
    device_at: Time
    model: str
    state: str
    reason: str
    detail: str
    runs: RunRelease
    wanted: WantedRelease
    evidence: EvidenceView | None
    progress: ProgressView | None = None


class FiguresView(Struct, frozen=True, kw_only=True):
    """What was reported of a release."""

    model: str
    version: str
    sequence: int
    last_at: Time
    requests: int
    errors: int
    nonfinite: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    memory_bytes: int
    load_s: float
    output_mean: float | None
    output_std: float | None


class DeviceHistory(Struct, frozen=True, kw_only=True):
    """What is known of a device beyond its last status; nothing from before `since`."""

    since: Time
    changes: tuple[ChangeView, ...]
    figures: tuple[FiguresView, ...]


class DeviceDetail(DeviceView, frozen=True, kw_only=True):
    """A device with its history and figures."""

    history: DeviceHistory


class DevicePage(Struct, frozen=True, kw_only=True):
    """A part of a list of devices; `next` is what `after` takes for the next, null for the last.

    `total` counts all that are asked for.
    """

    devices: tuple[DeviceView, ...]
    total: int
    next: str | None


class FigurePoint(Struct, frozen=True, kw_only=True):
    """A release in one hour."""

    at: Time
    version: str
    sequence: int
    requests: int
    errors: int
    nonfinite: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    memory_bytes: int


class FigureSeries(Struct, frozen=True, kw_only=True):
    """Figures over time, an hour a point, by time."""

    model: str
    device: str | None
    points: tuple[FigurePoint, ...]


make_decoders(DeviceView, DeviceDetail)


def device_view(device: KnownDevice) -> DeviceView:
    """Give a device as the API shows it."""
    return msgspec.convert(plain(device_fields(device)), DeviceView)


def device_detail(
    device: KnownDevice, since: Time, changes: Sequence[Any], figures: Sequence[Any]
) -> DeviceDetail:
    """Give a device with what is known beyond its last status.

    Args:
        device: as the database knows it.
        since: nothing is known from before.
        changes: of `listing.history_of`.
        figures: of `listing.figures_of_device`.
    """
    history = {
        "since": since,
        "changes": history_fields(changes),
        "figures": figures_fields(figures),
    }
    return msgspec.convert(plain(device_fields(device) | {"history": history}), DeviceDetail)


def plain(value: Any) -> Any:
    """Give fields with digests as hex digits."""
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    return value
