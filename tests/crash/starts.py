"""Starting the real device on what a power cut left, and what must be true then."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Mapping
from pathlib import Path

import msgspec

from slotcast_device.config import DeviceConfig
from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.jobs import ModelJobs
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slot_files import SlotFiles
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import File

_ON_DISK = act.Inspect | act.CheckSlot | act.KeepProvisioned | act.BuildProvisioned
"""The jobs that need the disk alone."""
NOW = ev.Now(1.0, 1_790_000_000)


def recover(config: DeviceConfig, model: str) -> ModelCore:
    """Start a model's core on its files, and carry out all it asks until it wants the network.

    What would probe a model is left where it is: only the disk matters here.
    """
    core = ModelCore(
        model, config.values.device, config.topics, random.Random(1), keeps_provisioned=True
    )
    files = ModelJobs(config, model, OsDisk())
    todo = list(core.start())
    while todo:
        action = todo.pop(0)
        if isinstance(action, _ON_DISK):
            todo += core.handle(ev.JobDone(action, files.run(action)), NOW)
        elif isinstance(action, act.Step):
            files.carry_out(action)
    files.close()
    return core


def faults_of(
    folder: Path,
    core: ModelCore,
    releases: Mapping[bytes, Release],
    durable: bytes | None,
    files: SlotFiles | None = None,
) -> list[str]:
    """Say what is not as it must be after a start; nothing is a good answer.

    Args:
        folder: the model's.
        releases: what the publisher signed, by digest.
        durable: what of the record was sure to survive the cut.
        files: reads the slots of a device that encrypts them.
    """
    files = files or SlotFiles(OsDisk())
    found = []
    floor = 0 if durable is None else msgspec.json.decode(durable)["floor"]
    if core.state.floor < floor:
        found.append(f"the floor fell from {floor} to {core.state.floor}")
    if core.is_unreadable:
        found.append(f"the device cannot begin: {core.status().detail}")
    if (folder / "state.json.damaged").exists():
        found.append("the record was damaged")
    for slot in core.state.slots:
        found += _faults_of_slot(folder, f"slots/{slot}", releases, files)
    current = folder / "current"
    if current.is_symlink():
        found += _faults_of_slot(folder, str(current.readlink()), releases, files)
    elif floor:
        found.append("`current` is gone")
    if core.status().reason in {"slot_damaged", "switched_by_hand"}:
        found.append(f"{core.status().reason}: {core.status().detail}")
    return found


def _faults_of_slot(
    folder: Path, slot: str, releases: Mapping[bytes, Release], files: SlotFiles
) -> list[str]:
    signed = folder / f"{slot}.release"
    if not signed.exists():
        return [f"{slot} holds no signed release"]
    release = releases.get(hashlib.sha256(signed.read_bytes()).digest())
    if release is None:
        return [f"{slot}.release is damaged"]
    return [
        f"{slot}/{file.path} is not what was signed"
        for file in release.files
        if not (folder / slot / file.path).is_file()
        or hashlib.sha256(_read(files, folder / slot / file.path, file)).digest() != file.sha256
    ]


def _read(files: SlotFiles, path: Path, file: File) -> bytes:
    with contextlib.closing(files.open_read(path, file)) as opened:
        return opened.read_at(0, file.size_bytes + 1)
