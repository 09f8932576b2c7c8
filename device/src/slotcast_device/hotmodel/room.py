"""Is there memory for a second session beside the one that serves?"""

from __future__ import annotations

from typing import Final

from slotcast_device.hotmodel.source import Opened
from slotcast_schemas import process_memory
from slotcast_schemas.errors import ModelFailed
from slotcast_schemas.reasons import Reason

LOAD_PEAK: Final = 2.0
"""The memory that loading takes at most, in sizes of the files (onnxruntime issues 15429 and
23775)."""

MEMORY_RESERVE_BYTES: Final = 32 * 1024 * 1024
"""The bytes of memory that stay free beside two sessions, for the application itself."""


class MemoryShort(ModelFailed):
    """Old and new model do not fit into memory together, and stopping is not allowed."""

    reason = Reason.MEMORY_SHORT


def what_is_missing(opened: Opened) -> str | None:
    """Say what memory loading a release would take, and what is free; None where that is enough."""
    release = opened.release
    said_bytes = 0 if release is None else release.runtime.memory_bytes
    needed_bytes = said_bytes or int(opened.size_bytes * LOAD_PEAK)
    if opened.key is not None:  # an encrypted file is held in the clear while it is loaded
        needed_bytes += opened.size_bytes
    free_bytes = process_memory.available_bytes()
    if free_bytes >= needed_bytes + MEMORY_RESERVE_BYTES:
        return None
    return (
        f"expected {needed_bytes + MEMORY_RESERVE_BYTES} bytes free for loading beside the"
        f" old model, got {free_bytes}"
    )
