"""Any bytes as `state.json` are a record that saves to itself again, or a `StorageFailed`."""

from __future__ import annotations

from pathlib import Path

from slotcast_device.core.state import ModelState, SlotRecord, Update
from slotcast_device.storage import state_file as records
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.messages.status import BenchedRelease, StatusFile
from slotcast_schemas.states import State
from tests.simulation.ramdisk import RamDisk

PATH = Path("/state.json")


def _disk(data: bytes) -> RamDisk:
    disk = RamDisk()
    disk.create(PATH).write(data)
    return disk


def seeds() -> list[bytes]:
    """Give an empty record and one with everything in it."""
    file = StatusFile(path="model.onnx", size_bytes=9, sha256=b"f" * 32)
    slot = SlotRecord(
        version="1",
        sequence=1,
        release_sha256=b"r" * 32,
        sha256=b"i" * 32,
        size_bytes=9,
        entry="model.onnx",
        files=(file,),
    )
    update = Update(
        version="2",
        sequence=2,
        release_sha256=b"s" * 32,
        state=State.TRIAL,
        reason="on_trial",
        slot="b",
        fallback="a",
    )
    benched = BenchedRelease(sequence=3, version="3", reason="errors", attempt=1)
    full = ModelState(
        model="clf",
        floor=1,
        active="b",
        slots={"a": slot, "b": slot},
        update=update,
        benched=(benched,),
    )
    found = []
    for state in (ModelState(model="clf"), full):
        disk = RamDisk()
        records.save(disk, PATH, state)
        found.append(disk.peek(PATH) or b"")
    return found


def one_input(data: bytes) -> None:
    """Load, and save again."""
    disk = _disk(data)
    try:
        state = records.load(disk, PATH, "clf")
    except StorageFailed:
        return
    assert state is not None
    records.save(disk, PATH, state)
    assert records.load(disk, PATH, "clf") == state
