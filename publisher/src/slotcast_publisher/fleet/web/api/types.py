"""What the API gives: the types from which its OpenAPI document is made, and no framework.

Commands that ask a remote page read these, too (`fleet.client`). Times are ISO 8601 in UTC, with
null for never; digests are hex digits. Texts of devices are data: whoever shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

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


# --- devices --------------------------------------------------------------------------------------


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
    """The release that a device was last asked to run, and by which rollout."""

    version: str
    sequence: int
    deployment: str = ""
    group: str = ""


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
    """A model on a device: what runs, what is wanted, and in what state it is."""

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


class HeardModel(Struct, frozen=True, kw_only=True):
    """What only the database knows of a model on a device."""

    changed_at: Time
    saved_bytes: int


class Heard(Struct, frozen=True, kw_only=True):
    """What only the database knows of a device."""

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


class DeviceView(Struct, frozen=True, kw_only=True):
    """A device: what its last status says, and when it was heard."""

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
    heard: Heard


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


# --- counts ---------------------------------------------------------------------------------------


class VersionCount(Struct, frozen=True, kw_only=True):
    """How many devices run a version of a model; an empty version for none."""

    model: str
    version: str
    devices: int


class StateCount(Struct, frozen=True, kw_only=True):
    """How many devices are in a state, and for which reason."""

    model: str
    state: str
    reason: str
    devices: int


class Counts(Struct, frozen=True, kw_only=True):
    """The devices that are asked for, counted. Nothing is known from before `since`."""

    devices: int
    online: int
    versions: tuple[VersionCount, ...]
    states: tuple[StateCount, ...]
    since: Time


class FleetCounts(Struct, frozen=True, kw_only=True):
    """The whole fleet in numbers.

    `unseen` are offline and were not heard of for a day; `shared_ids` are ids under which two
    devices were noticed.
    """

    devices: int
    online: int
    unseen: int
    shared_ids: int
    clocks_off: int
    models: tuple[str, ...]
    alarms: int
    since: Time


class TagCount(Struct, frozen=True, kw_only=True):
    """How many devices have a tag."""

    key: str
    value: str
    devices: int


class TagList(Struct, frozen=True, kw_only=True):
    """The most common tags."""

    tags: tuple[TagCount, ...]


# --- models and releases --------------------------------------------------------------------------


class FileOfRelease(Struct, frozen=True, kw_only=True):
    """A file of a release; `sha256` in hex digits."""

    path: str
    role: str
    size_bytes: int
    sha256: str


class PayloadView(Struct, frozen=True, kw_only=True):
    """One way to bring a release to a device; `base` names the release that a delta starts from."""

    sha256: str
    codec: str
    size_bytes: int
    base_sequence: int | None
    saved_share: float


class ReleaseView(Struct, frozen=True, kw_only=True):
    """A release as the repository holds it, and how many devices run it."""

    model: str
    version: str
    sequence: int
    image_size_bytes: int
    image_sha256: str
    offered: bool
    devices: int


class ReleaseDetail(ReleaseView, frozen=True, kw_only=True):
    """A release with its files, its payloads and what it does over all devices."""

    files: tuple[FileOfRelease, ...]
    payloads: tuple[PayloadView, ...]
    figures: FiguresView | None
    devices_with_figures: int


class ReleaseList(Struct, frozen=True, kw_only=True):
    """A model's releases, the newest first."""

    releases: tuple[ReleaseView, ...]


class ModelSummary(Struct, frozen=True, kw_only=True):
    """A model: what is offered, and what runs where."""

    model: str
    offered: str | None
    devices: int
    versions: tuple[VersionCount, ...]
    states: tuple[StateCount, ...]


class ModelList(Struct, frozen=True, kw_only=True):
    """The models of repository and fleet, by name."""

    models: tuple[ModelSummary, ...]


class FiguresList(Struct, frozen=True, kw_only=True):
    """What releases do over all devices, the newest first."""

    figures: tuple[FiguresView, ...]


# --- events and alarms ----------------------------------------------------------------------------


class EventView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened; `word` is a device's state, a word of a rollout's log, or `raised`
    or `cleared` of an alarm.
    """

    id: str
    kind: Literal["device", "rollout", "alarm"]
    at: Time
    word: str
    text: str = ""
    device: str = ""
    model: str = ""
    rollout: str = ""
    group: str = ""
    who: str = ""
    reason: str = ""
    version: str = ""


class EventPage(Struct, frozen=True, kw_only=True):
    """A part of what happened, the newest first; `next` is what `after` takes, null for the last.

    `stream_after` is where a stream of events goes on behind the newest there is.
    """

    events: tuple[EventView, ...]
    next: str | None
    stream_after: str


class AlarmView(Struct, frozen=True, kw_only=True):
    """What needs a person, or did; `subject` is `*` where it counts many."""

    kind: str
    subject: str
    stands: bool
    raised_at: Time
    updated_at: Time
    cleared_at: Time
    count: int
    subjects: tuple[str, ...]
    text: str
    names: dict[str, str]


class AlarmList(Struct, frozen=True, kw_only=True):
    """Alarms: those that stand, the oldest first, then those that ended last."""

    alarms: tuple[AlarmView, ...]


make_decoders(DeviceView, DeviceDetail)

# --- making them ----------------------------------------------------------------------------------


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
