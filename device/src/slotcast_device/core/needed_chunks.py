"""What of a payload must be fetched: all of it, but for the frames of files that a slot holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_device.core.state import ModelState, SlotName, other_slot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload


def reusable(release: Release, state: ModelState) -> dict[str, tuple[SlotName, str]]:
    """Find files of a release that either slot holds already, by digest.

    The active slot is preferred: files of the standby slot must be set aside before it is emptied.
    """
    held: dict[tuple[bytes, int], tuple[SlotName, str]] = {}
    for slot in (state.standby, other_slot(state.standby)):
        record = state.slots.get(slot)
        for file in () if record is None else record.files:
            held[file.sha256, file.size_bytes] = (slot, file.path)
    return {
        file.path: held[file.sha256, file.size_bytes]
        for file in release.files
        if (file.sha256, file.size_bytes) in held
    }


def fetch_bytes(
    payload: Payload, release: Release, reuse: Mapping[str, tuple[SlotName, str]]
) -> int:
    """Give how many bytes of a payload must be fetched, in whole chunks.

    Args:
        payload: that is to be fetched.
        release: that it gives.
        reuse: files that a slot holds already, by path in the release.
    """
    return sum(payload.chunk_bytes(i) for i in needed_chunks(payload, release, reuse))


def needed_chunks(
    payload: Payload, release: Release, reuse: Mapping[str, tuple[SlotName, str]]
) -> list[int]:
    """Give the chunks that hold a frame of a file which is not there yet, in order.

    Args:
        payload: that is to be fetched.
        release: that it gives; a payload with frames has one for each of its files.
        reuse: files that a slot holds already, by path in the release.
    """
    if not payload.frames:
        return list(range(payload.chunk_count))
    needed: set[int] = set()
    offset = 0
    for size, file in zip(payload.frames, release.files, strict=True):
        if size and file.path not in reuse:
            first = offset // payload.chunk_size_bytes
            last = (offset + size - 1) // payload.chunk_size_bytes
            needed.update(range(first, last + 1))
        offset += size
    return sorted(needed)
