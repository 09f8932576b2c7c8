"""The one durable record of a model on this device, `state.json`, replaced atomically.

Everything else under the model's folder can be found again by hashing, so this record is small.
It is JSON for people; `format` guards against a newer software's record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from slotcast_device.core.state import FORMAT, ModelState
from slotcast_device.storage.disk import Disk
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.errors import StateTooNew, StateUnreadable

STATE_MAX_BYTES: Final = 1024 * 1024
"""The most bytes of the record's file that are read."""


def path_in(folder: Path) -> Path:
    """Give where the record lies in a model's folder."""
    return folder / "state.json"


def load(disk: Disk, path: Path, model: str) -> ModelState | None:
    """Read the record; None where there is none yet.

    Args:
        disk: the durable layer.
        path: of the record.
        model: whose record it must be.

    Raises:
        StateTooNew: written by a newer version of this software.
        StateUnreadable: damaged.
        StorageFailed: the disk does not give it.
    """
    data = disk.read(path, STATE_MAX_BYTES)
    if data is None:
        return None
    try:
        found = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        version = msgspec.json.decode(found.get("format", msgspec.Raw(b"0")), type=int)
        if version > FORMAT:
            raise StateTooNew(
                f"{path}: expected format {FORMAT}, got {version}; it was written by a newer"
                " slotcast-device: install that version, or move the file away"
            )
        state = msgspec.json.decode(data, type=ModelState)
    except UNDECODABLE as exc:
        # msgspec lets the last two pass as they are (found by tests/soak/fuzz_state.py).
        raise StateUnreadable(f"{path} is damaged ({exc})") from exc
    if state.model != model:
        raise StateUnreadable(f"{path}: expected the record of {model!r}, got {state.model!r}")
    return state


def save(disk: Disk, path: Path, state: ModelState) -> None:
    """Replace the record, durably.

    Args:
        disk: the durable layer.
        path: of the record.
        state: what it is to say.

    Raises:
        StorageFailed: or a sharper kind; the old record is still whole.
    """
    disk.write_atomic(path, msgspec.json.format(msgspec.json.encode(state), indent=1))
