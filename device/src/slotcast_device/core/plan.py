"""What to do about a verified notice: pure decisions, from facts that the shell gathered.

Refusals are raised with their reason; waiting and "nothing to do" are outcomes of their own.
Every check that can be made before a chunk is asked for is made here.
Which sequence is taken is decided by `sequence_floor`, which payload by `payload_choice`, and
whether a release that was rolled back is tried again by `benched_releases`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core.benched_releases import check_benched, is_tried_enough
from slotcast_device.core.content_key import KeyList, find_key_list
from slotcast_device.core.needed_chunks import fetch_bytes, reusable
from slotcast_device.core.payload_choice import NotNow, choose_payload
from slotcast_device.core.sequence_floor import check_sequence
from slotcast_device.core.state import ModelState, SlotName
from slotcast_schemas.codecs.encrypted import is_encrypted
from slotcast_schemas.errors import (
    DiskFull,
    Incompatible,
    SoftwareBroken,
    TooLarge,
)
from slotcast_schemas.groups import group_of
from slotcast_schemas.model_formats import LITERT, ONNX
from slotcast_schemas.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Group, Payload
    from slotcast_schemas.verify import Trusted

DISK_MARGIN_BYTES: Final = 8 * 1024 * 1024
"""The bytes that stay free beside slot and payload, for the record, trust metadata and the log."""

PLAN_AGAIN_S: Final = 600.0
"""The seconds after which a notice is looked at again that waits for a link that is not metered, or
for another day's bytes."""


class Facts(msgspec.Struct, frozen=True):
    """What the plan needs to know of this device, all of it as of now.

    Attributes:
        device: its id.
        tags: by which groups may choose it.
        onnxruntime: its version; empty where it is not installed.
        memory_bytes: memory available to a new model.
        disk_bytes: room left where the state directory is.
        spooled_bytes: what the incoming payload takes already; counts as room for itself.
        full_allowed: whether its owner allows whole images.
        image_max_bytes: the largest image that its owner allows.
        excluded: digests of payloads that did not decode here; they are passed over.
        is_metered: the link costs money now: nothing but deltas is fetched.
        full_bytes_per_day: bound of whole images fetched in a day; 0 for none.
        day: today, in days since 1970-01-01 UTC.
        formats: kinds of model beside ONNX that something here can run.
        undo_bytes_per_s: how much of an image the processor makes of a small payload; 0 where
            that was not measured.
        recipient: the id of its encryption key; empty without one, or for a release in the clear.
        has_content_key: the key of this very release is here already.
        is_tired_of_lists: too many lists had no key for this device today.
        encrypts_slots: slots are encrypted at rest, and no command can read one.
    """

    device: str
    tags: Mapping[str, str]
    onnxruntime: str
    memory_bytes: int
    disk_bytes: int
    spooled_bytes: int = 0
    full_allowed: bool = True
    image_max_bytes: int = 64 * 1024**3
    excluded: frozenset[bytes] = frozenset()
    is_metered: bool = False
    full_bytes_per_day: int = 0
    day: int = 0
    formats: frozenset[str] = frozenset()
    undo_bytes_per_s: float = 0.0
    recipient: bytes = b""
    has_content_key: bool = False
    is_tired_of_lists: bool = False
    encrypts_slots: bool = False


class NothingToDo(msgspec.Struct, frozen=True):
    """The device is where the notice wants it, or the notice is not for it."""

    reason: Reason


class Wait(msgspec.Struct, frozen=True):
    """The update is for this device, and may not begin yet.

    Attributes:
        again_s: after which to plan anew; None where only another notice can change it.
    """

    reason: Reason
    group: str
    again_s: float | None = None


class Canceled(msgspec.Struct, frozen=True):
    """The publisher takes the offer back."""

    group: str


class Install(msgspec.Struct, frozen=True):
    """Build the release into the standby slot.

    Attributes:
        payload: what to fetch; None where every file lies in a slot already.
        base: for a delta, the slot that holds its base.
        reuse: files of the release that a slot holds already, by path: the slot and the path
            there. For a payload with frames, their frames are not fetched.
        why: why this payload and not another whole image; empty where there was no choice.
        keys: the list to fetch the content key from first; None where it is here or not needed.
    """

    slot: SlotName
    group: str
    payload: Payload | None
    base: SlotName | None
    reuse: Mapping[str, tuple[SlotName, str]]
    saved_bytes: int
    why: str = ""
    keys: KeyList | None = None


Plan = NothingToDo | Wait | Canceled | Install
"""What a notice can mean for this device."""


def make_plan(trusted: Trusted, state: ModelState, facts: Facts) -> Plan:
    """Decide what a verified notice means for this device now.

    Args:
        trusted: the notice, with offer and release.
        state: what the device knows of the model.
        facts: what else counts, of the device as it is now.

    Raises:
        RefusedRelease: the release is not acceptable here; the kind says why.
        SoftwareBroken: no release could be run here.
        DiskFull: it would be, with more room.
    """
    offer, release = trusted.offer, trusted.release
    group = group_of(offer, facts.device, facts.tags)
    if _is_running_already(trusted, state):
        return NothingToDo(Reason.UP_TO_DATE)
    if group is None:
        return NothingToDo(Reason.NOT_IN_GROUP)
    if "canceled" in {offer.state, group.state}:
        return Canceled(group.name)
    if state.set_back:
        return Wait(Reason.SET_BACK, group.name)
    check_sequence(trusted, state)
    check_benched(trusted, state)
    _check_requirements(release, facts)
    if "paused" in {offer.state, group.state}:
        return Wait(Reason.PAUSED, group.name)
    if is_tried_enough(trusted, state, facts.day):
        return Wait(Reason.TRIED_ENOUGH, group.name, PLAN_AGAIN_S)
    try:
        return _plan_install(trusted, group, state, facts)
    except NotNow as exc:
        return Wait(exc.reason, group.name, PLAN_AGAIN_S)


def _is_running_already(trusted: Trusted, state: ModelState) -> bool:
    record = state.active_record
    return record is not None and record.release_sha256 == trusted.release_sha256


def _check_requirements(release: Release, facts: Facts) -> None:
    _check_runtime(release, facts)
    if release.image_size_bytes > facts.image_max_bytes:
        raise TooLarge(
            f"expected an image of at most {facts.image_max_bytes} bytes,"
            f" got {release.image_size_bytes}; raise policy.image_max_bytes to allow it"
        )
    if release.runtime.memory_bytes > facts.memory_bytes:
        raise TooLarge(
            f"needs {release.runtime.memory_bytes} bytes of memory,"
            f" this device has {facts.memory_bytes} available"
        )


def _check_runtime(release: Release, facts: Facts) -> None:
    model_format = release.runtime.format
    if model_format != ONNX:
        if model_format not in facts.formats:
            raise Incompatible(_no_runtime(model_format, facts))
        return
    if not facts.onnxruntime:
        raise SoftwareBroken("onnxruntime is not installed on this device; install it anew")
    if not _is_runtime_fit(release.runtime.onnxruntime, facts.onnxruntime):
        raise Incompatible(
            f"needs onnxruntime {release.runtime.onnxruntime}, this device has {facts.onnxruntime}"
        )


def _no_runtime(model_format: str, facts: Facts) -> str:
    """Say what a device lacks to run a kind of model, and who must act."""
    has = ", ".join(sorted({ONNX, *facts.formats}))
    way = f"its owner can name a command for it in device.toml ([formats.{model_format}])"
    if model_format == LITERT:
        way = "install slotcast-device[litert] there"
    elif facts.encrypts_slots:
        way = "its slots are encrypted ([at_rest]), and no command of the owner's can read such"
    return f"the model is of format {model_format!r}, this device runs {has}; {way}"


def _is_runtime_fit(specifier: str, version: str) -> bool:
    if not specifier:
        return True
    # Here, for it is half a megabyte, and few releases ask for a version.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion) as exc:
        raise Incompatible(f"onnxruntime requirement {specifier!r} cannot be read") from exc


def _plan_install(trusted: Trusted, group: Group, state: ModelState, facts: Facts) -> Install:
    release = trusted.release
    reuse = reusable(release, state)
    payload, base, why = None, None, ""
    if len(reuse) < len(release.files):
        payload, base, why = choose_payload(trusted, state, facts, reuse)
    keys = None
    if payload is not None and is_encrypted(payload) and not facts.has_content_key:
        keys = find_key_list(trusted, facts)
    spooled = 0 if payload is None else payload.size_bytes
    room = facts.disk_bytes + facts.spooled_bytes + _count_freed_bytes(state)
    need = release.image_size_bytes + spooled + DISK_MARGIN_BYTES
    if room < need:
        way = " (policy.keep_provisioned = false gives some)" if state.provisioned else ""
        raise DiskFull(
            f"needs {need} bytes for slot and payload, {room} are free; free some room{way}"
        )
    fetched = 0 if payload is None else fetch_bytes(payload, release, reuse)
    return Install(
        slot=state.standby,
        group=group.name,
        payload=payload,
        base=base,
        reuse=reuse,
        saved_bytes=max(0, release.image_size_bytes - fetched),
        why=why,
        keys=keys,
    )


def _count_freed_bytes(state: ModelState) -> int:
    """Give what emptying the standby slot will free."""
    record = state.slots.get(state.standby)
    return 0 if record is None else record.size_bytes
