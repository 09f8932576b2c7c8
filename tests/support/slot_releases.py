"""Releases put into slots as a build leaves them, without a broker and without a publisher."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from slotcast_schemas import wire
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import File

if TYPE_CHECKING:
    from slotcast_device.core.state import SlotName
    from slotcast_device.storage.slots import SlotStore


def put_release(store: SlotStore, slot: SlotName, files: dict[str, bytes], **more: Any) -> Release:
    """Empty a slot and seal a release in it.

    Args:
        store: the model's slots.
        slot: one that is not active.
        files: by path; the first is what the runtime opens.
        more: fields of the release.
    """
    image = b"".join(files.values())
    given: dict[str, Any] = {
        "model": "clf",
        "version": "1",
        "sequence": 1,
        "created": 1,
        "files": tuple(
            File(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).digest())
            for path, data in files.items()
        ),
        "image_size_bytes": len(image),
        "image_sha256": hashlib.sha256(image).digest(),
        "entry": next(iter(files)),
    }
    release = Release(**{**given, **more})
    store.clear(slot)
    for path, data in files.items():
        (store.path(slot) / path).write_bytes(data)
    store.seal(slot, wire.encode(release))
    return release
