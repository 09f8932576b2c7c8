"""A device's folder with two releases in it, of which `current`, a slot or the record is then lost.

Real files in a real folder; the core and its file jobs, with no broker.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from slotcast_device.config import DeviceConfig
from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.state import ModelState, SlotName, Update, record_of
from slotcast_device.jobs import ModelJobs
from slotcast_device.storage import inspection
from slotcast_device.storage import state_file as records
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_schemas import wire
from slotcast_schemas.messages import Notice, Release
from slotcast_schemas.messages.release import File, Probe, Trial
from slotcast_schemas.states import State
from tests.support import messages

NOW = ev.Now(1000.0, 1_790_000_000)
DEVICE_TOML = """\
format = 1
device = "cam-1"
models = ["detector"]
[[brokers]]
url = "mqtt://127.0.0.1:9"
"""


def content(number: int) -> dict[str, bytes]:
    """The files of a release."""
    return {"model.onnx": bytes([number]) * 5000, "data/labels.txt": b"cat\n" * number}


def release(number: int) -> Release:
    files = tuple(
        File(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).digest())
        for path, data in content(number).items()
    )
    image = b"".join(content(number).values())
    return messages.release(
        version=str(number),
        sequence=number,
        files=files,
        image_size_bytes=len(image),
        image_sha256=hashlib.sha256(image).digest(),
        rebased=None,
        requires=(),
        probe=Probe(),
        trial=Trial(max_restarts=2),
    )


def notice_of(signed: bytes) -> bytes:
    """The notice that is kept beside a slot, with nothing in it but the release."""
    metadata = {"1.root.json": b"{}"}
    return wire.encode(Notice(model="detector", metadata=metadata, targets={"release": signed}))


def believe_every_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each notice prove what it holds; what truly proves is tried in `test_kept_notices`."""

    def prove(release_bytes: bytes, notice: bytes, model: str, pinned_root: bytes) -> None:
        assert release_bytes in wire.decode(notice, Notice).targets.values()

    monkeypatch.setattr(inspection, "prove_release", prove)


RELEASES = {number: release(number) for number in (1, 2)}
RECORDS = {
    number: record_of(made, hashlib.sha256(wire.encode(made)).digest())
    for number, made in RELEASES.items()
}


class Home:
    """A device's folder, what is done to it, and what a start makes of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "device.toml").write_text(DEVICE_TOML)
        (folder / "root.json").write_text("{}")
        self.config = DeviceConfig(folder / "device.toml")
        self.folder = self.config.model_dir("detector")
        self.current = self.folder / "current"
        self.store = SlotStore(OsDisk(), self.folder)
        self.files = ModelJobs(self.config, "detector", OsDisk())

    def build(self, slot: SlotName, number: int) -> None:
        """Put a release into a slot, as an update does."""
        self.store.clear(slot)
        writer = self.store.build(slot, RELEASES[number])
        writer.write(b"".join(content(number).values()))
        writer.finish()
        signed = wire.encode(RELEASES[number])
        self.store.seal(slot, signed, notice_of(signed))

    def save(self, active: SlotName | None = "b", floor: int = 2, **update: Any) -> None:
        """Write the record."""
        given: dict[str, Any] = {"state": State.COMMITTED, "reason": "committed"}
        given |= {"slot": "b", "fallback": "a"}
        state = ModelState(
            model="detector",
            floor=floor,
            active=active,
            slots={"a": RECORDS[1], "b": RECORDS[2]},
            update=Update(
                version="2",
                sequence=2,
                release_sha256=RECORDS[2].release_sha256,
                **{**given, **update},
            ),
        )
        records.save(OsDisk(), self.folder / "state.json", state)

    def start(self) -> ModelCore:
        """Start the core, and do what it asks of the disk until it wants a model to run."""
        core = ModelCore("detector", "cam-1", self.config.topics, random.Random(1))
        self.do(core, core.start())
        return core

    def do(self, core: ModelCore, actions: list[act.Action]) -> list[act.Action]:
        """Carry out what concerns the disk; give all that was asked, in order."""
        todo, asked = list(actions), []
        while todo:
            action = todo.pop(0)
            asked.append(action)
            if isinstance(action, (act.Inspect, act.CheckSlot)):
                todo += core.handle(ev.JobDone(action, self.files.run(action)), NOW)
            elif isinstance(action, act.Step):
                self.files.carry_out(action)
        return asked

    def glance(self, core: ModelCore) -> list[act.Action]:
        """Look as the running agent does every second, and do what follows."""
        found = self.files.glance(core.state)
        return [] if found is None else self.do(core, core.handle(found, NOW))

    def opens(self) -> int | None:
        """Give the release that an application finds, whole; None where there is none."""
        for number in RELEASES:
            for path, data in content(number).items():
                file = self.current / path
                if not file.is_file() or file.read_bytes() != data:
                    break
            else:
                return number
        return None

    def loses_current(self, how: str) -> None:
        """Do to `current` what a hand, a copy or a file system check does."""
        target = self.current.resolve()
        self.current.unlink()
        match how:
            case "a link to a folder elsewhere":
                elsewhere = self.folder.parents[2] / "elsewhere"
                shutil.copytree(target, elsewhere)
                self.current.symlink_to(elsewhere)
            case "a link to no slot":
                self.current.symlink_to("slots/c")
            case "the whole path of a slot":
                self.current.symlink_to(target)
            case "a folder of files, as cp -rL makes it":
                shutil.copytree(target, self.current)
            case "an empty folder":
                self.current.mkdir()
            case "a file, as a copy without links makes it":
                self.current.write_bytes(b"slots/b")


LOST = (
    "nothing",
    "a link to a folder elsewhere",
    "a link to no slot",
    "the whole path of a slot",
    "a folder of files, as cp -rL makes it",
    "an empty folder",
    "a file, as a copy without links makes it",
)


def home_of_two(folder: Path) -> Home:
    """Make a device that has committed two releases: 1 lies in slot a; 2, which is active, in b."""
    made = Home(folder)
    made.build("a", 1)
    made.build("b", 2)
    made.store.activate("b")
    made.save()
    return made


def lose_slot(home: Home, slot: SlotName, how: str) -> None:
    """Take a slot's folder, its signed release, or change its bytes."""
    match how:
        case "folder":
            shutil.rmtree(home.store.path(slot))
        case "release":
            (home.store.folder / f"{slot}.release").unlink()
        case "bytes":
            file = home.store.path(slot) / "model.onnx"
            file.chmod(0o644)
            file.write_bytes(b"?" * 5000)
