"""Changes a device's files while it is off, and starts it without a broker.

    change_slot(device, "a")
    assert_nothing_serves(device)

What is put into a slot fits its record and its release to the byte; nobody signed it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Final

import msgspec

from slotcast_device.core import actions as act
from slotcast_device.core.events import JobDone, Now
from slotcast_device.core.model import ModelCore
from slotcast_device.jobs import ModelJobs
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas import wire
from slotcast_schemas.messages import Release
from tests.support.fleet import Device, model_bytes

LARGE_BYTES: Final = 1 << 21
"""More than any file beside a slot has."""


def evil_bytes() -> bytes:
    """A model that is as good as any, and that nobody signed."""
    return model_bytes(66)


def change_slot(device: Device, slot: str) -> None:
    """Put an unsigned model into a slot, with a release and a record that fit it to the byte."""
    folder, data = device.folder(), evil_bytes()
    model, release_file = folder / "slots" / slot / "model.onnx", folder / f"slots/{slot}.release"
    model.chmod(0o644)
    model.write_bytes(data)
    digest = hashlib.sha256(data).digest()
    release = wire.decode(release_file.read_bytes(), Release)
    file = msgspec.structs.replace(release.files[0], size_bytes=len(data), sha256=digest)
    release = msgspec.structs.replace(
        release, files=(file,), image_size_bytes=len(data), image_sha256=digest
    )
    release_file.chmod(0o644)
    release_file.write_bytes(wire.encode(release))
    record = json.loads((folder / "state.json").read_text())
    held = record["slots"][slot]
    held["sha256"] = held["files"][0]["sha256"] = _base64(digest)
    held["size_bytes"] = held["files"][0]["size_bytes"] = len(data)
    held["release_sha256"] = _base64(hashlib.sha256(wire.encode(release)).digest())
    (folder / "state.json").write_text(json.dumps(record))


def _base64(data: bytes) -> str:
    return str(msgspec.to_builtins(data))


def assert_nothing_serves(device: Device, disk: OsDisk | None = None) -> None:
    """Start the core without a broker; nothing is opened, and the status says so.

    The provisioned release, which would serve instead, is not kept.
    """
    shutil.rmtree(device.folder() / "provisioned", ignore_errors=True)
    core = start_alone(device, disk)
    assert not (device.folder() / "current").exists()
    assert core.status().active is None


def start_alone(device: Device, disk: OsDisk | None = None) -> ModelCore:
    """Start the core without a broker, and carry out what it decides at once.

    Args:
        device: that was off.
        disk: its own; a real one unless given.
    """
    core = ModelCore("clf", "cam-1", device.config.topics, random.Random(1))
    jobs = ModelJobs(device.config, "clf", disk or OsDisk())
    todo = core.start()
    while todo:
        action = todo.pop(0)
        if isinstance(action, (act.Inspect, act.BuildProvisioned)):
            todo += core.handle(JobDone(action, jobs.run(action)), Now(1.0, 1_800_000_000))
        elif isinstance(action, act.Step):
            jobs.carry_out(action)
    return core


def plant(path: Path, kind: str, folder: Path) -> Path:
    """Leave something in the place of a file; gives the file of somebody else that it leads to."""
    victim = folder / "victim"
    victim.write_bytes(b"of somebody else")
    match kind:
        case "link":
            path.symlink_to(victim)
        case "hard link":
            path.hardlink_to(victim)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "large":
            path.write_bytes(bytes(LARGE_BYTES))
    return victim
