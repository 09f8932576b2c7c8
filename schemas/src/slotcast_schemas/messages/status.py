"""The status: what a device says of each of its models; also what `slotcast-device status` prints.

It is a function of durable state, sent again on each connect with a growing counter, so it is
true after any crash. Retained: the last one is what a late reader sees.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.fields import (
    SLOT_PATTERN,
    Count,
    Detail,
    DeviceId,
    FilePath,
    Finite,
    Format,
    MaybeSha256,
    ModelName,
    Requires,
    Sequence,
    Sha256,
    ShortText,
    Signature,
    SizeBytes,
    Tags,
    UnixTime,
    Version,
    Word,
)
from slotcast_schemas.states import State
from slotcast_schemas.wire import Message


class StatusFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a slot."""

    path: FilePath
    size_bytes: SizeBytes
    sha256: Sha256


class SlotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A release that a slot holds whole and verified."""

    slot: Annotated[str, Meta(pattern=SLOT_PATTERN)]
    version: Version
    sequence: Sequence
    files: Annotated[tuple[StatusFile, ...], Meta(max_length=limits.FILES_MAX)] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The release that the last notice asked this device to run.

    Attributes:
        release_sha256: of the signed release; empty from devices that do not say.
    """

    version: Version
    sequence: Sequence
    deployment: Annotated[str, Meta(max_length=64)] = ""
    group: ShortText = ""
    release_sha256: MaybeSha256 = b""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the transfer is, in verified bytes, and what it cost.

    `saved_bytes` is what the chosen payload spares against the whole image; `received_bytes`
    counts every chunk that arrived, so duplicates and corrupt ones show as the difference.
    """

    payload: Sha256
    codec: ShortText
    size_bytes: SizeBytes
    verified_bytes: SizeBytes
    received_bytes: Count = 0
    reused_bytes: SizeBytes = 0
    saved_bytes: SizeBytes = 0
    rate_bytes_per_s: Count = 0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of evidence of a probe or a trial: what was looked at, found and allowed."""

    name: Word
    passed: bool
    value: Finite | None = None
    limit: Finite | None = None
    reference: Finite | None = None
    """The same figure of the old model, on this device, at the same time."""
    detail: Detail = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe or a trial found."""

    sequence: Sequence
    checks: Annotated[tuple[Check, ...], Meta(max_length=64)] = ()


class BenchedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release that was rolled back here and is not tried again by itself."""

    sequence: Sequence
    version: Version
    reason: Word
    attempt: Count = 1


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where one model stands on this device.

    Attributes:
        notice: the last good notice is `valid`, or `stale`: past the end of a signature, and no
            newer one came. `none` before the first one, and from devices that do not say.
        notice_expires: when the first of its signatures ends.
        notice_sha256: of that notice's bytes, as they came: what all of this is said of; empty
            before the first one, and from devices that do not say.
        provisioned: the version that the device can be set back to by its owner; empty for none.
    """

    model: ModelName
    state: State
    reason: Word
    detail: Detail = ""
    since: UnixTime = 0
    floor: Count = 0
    target: Target | None = None
    active: SlotStatus | None = None
    standby: SlotStatus | None = None
    progress: Progress | None = None
    evidence: Evidence | None = None
    benched: Annotated[tuple[BenchedRelease, ...], Meta(max_length=16)] = ()
    notice: Word = "none"
    notice_expires: UnixTime = 0
    notice_sha256: MaybeSha256 = b""
    provisioned: ShortText = ""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What the device is and can take, as far as rollouts and people care.

    Attributes:
        runtime: that runs ONNX models, and its version.
        codecs: of payloads, that it decodes.
        formats: of models, that it runs.
        features: that a release may require of it.
        image_max_bytes: the largest image that its owner allows; 0 from devices that do not say.
    """

    software: ShortText = ""
    runtime: ShortText = ""
    machine: ShortText = ""
    memory_bytes: Count = 0
    disk_free_bytes: Count = 0
    tags: Tags = {}
    codecs: Annotated[tuple[ShortText, ...], Meta(max_length=32)] = ()
    formats: Annotated[tuple[Word, ...], Meta(max_length=72)] = ()
    features: Annotated[tuple[Word, ...], Meta(max_length=limits.REQUIRES_MAX)] = ()
    image_max_bytes: Count = 0


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the device stands with its broker, as far as it knows.

    `reason` is `connected`, or the word for what is wrong: `link_down`, `broker_refused`,
    `id_in_use` (also for a while after it was pushed off by another client with its id), or
    `starting` before the first answer. `since` is when that began. `limits` names, in words, what
    the broker was found not to allow, `left` which brokers misbehaved and are left alone for a
    while, each with the word for it. `received_bytes` came since the agent's start, over all
    brokers and with MQTT's own bytes, and `useless_bytes` of them were wanted by nobody.
    `certificate_serial`, in hexadecimal, and `certificate_ends` are of the certificate that the
    device shows its broker; empty and 0 where it shows none.
    """

    broker: ShortText = ""
    protocol: ShortText = ""
    reason: Word = "starting"
    detail: Detail = ""
    since: UnixTime = 0
    limits: Annotated[tuple[ShortText, ...], Meta(max_length=16)] = ()
    left: Annotated[tuple[ShortText, ...], Meta(max_length=16)] = ()
    received_bytes: Count = 0
    useless_bytes: Count = 0
    certificate_serial: ShortText = ""
    certificate_ends: UnixTime = 0


class Status(Message, frozen=True, kw_only=True, tag_field="kind", tag="status"):
    """All of a device's models, and the device.

    Attributes:
        counter: grows with every status of this device, across restarts; a reader drops an
            older one.
        clock: `ok`; `behind` when the device's clock is earlier than a time it saw signed, by more
            than five minutes; `ahead` when it is past the end of the pinned root.
        signature: by the device's own key (`slotcast_schemas.signed_report`); null from devices
            that sign nothing. Stays the last field, whatever comes before it.
    """

    KIND = "status"
    MAX_BYTES = limits.STATUS_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    device: DeviceId
    counter: Count
    time: UnixTime
    clock: Word = "ok"
    inventory: Inventory = Inventory()
    models: Annotated[tuple[ModelStatus, ...], Meta(max_length=limits.MODELS_PER_DEVICE_MAX)]
    link: LinkStatus | None = None
    signature: Signature | None = None
