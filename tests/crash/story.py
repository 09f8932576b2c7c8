"""An update of the real device process, traced; and every disk that a power cut may leave of it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slotcast_device.config import DeviceConfig
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slot_files import SlotFiles, SlotsKeyring
from slotcast_schemas import wire
from slotcast_schemas.messages import Release
from tests.crash import trace
from tests.crash.replay import State, states
from tests.crash.starts import faults_of, recover
from tests.support import models as zoo
from tests.support.at_rest import turn_on
from tests.support.fleet import Device, Publisher

MODEL: Final = "clf"


@dataclass(frozen=True, slots=True)
class Story:
    """One traced run.

    Attributes:
        state_dir: where the device keeps its state.
        before: a copy of the state directory as it was, elsewhere.
        ops: what the process did to it.
        releases: what was signed, by digest.
        version: what the device must run in the end.
    """

    device: Device
    state_dir: Path
    before: Path
    ops: list[trace.Op]
    releases: dict[bytes, Release]
    version: str

    def states(self, torn: Mapping[int, int] | None = None) -> Iterator[State]:
        """Give what cuts leave: all of them, or those of a sample (`replay.sample`)."""
        record = self.device.folder(MODEL) / "state.json"
        return states(self.before, self.state_dir, self.ops, record, torn)

    def put(self, state: State, to: Path) -> DeviceConfig:
        """Make a real folder of what a cut left, and a configuration that works on it."""
        shutil.rmtree(to, ignore_errors=True)
        state.disk.export(self.state_dir, to)
        config = self.device.config
        config.state_dir = to
        return config

    def moved(self, state: State, to: Path) -> Device:
        """Give a device of the same name and trust whose state is what a cut left."""
        shutil.copytree(self.device.config_path.parent, to, ignore=shutil.ignore_patterns("state"))
        state.disk.export(self.state_dir, to / "state")
        return Device(to / "device.toml")

    def faults(self, state: State, to: Path, *, lose: str | None = None) -> list[str]:
        """Start the device's core on what a cut left, and say what is wrong then.

        Args:
            state: what the cut left.
            to: where to put it.
            lose: a name in the model's folder that is taken away before the start.
        """
        config = self.put(state, to)
        if lose is not None:
            (config.model_dir(MODEL) / lose).unlink(missing_ok=True)
        core = recover(config, MODEL)
        files = SlotFiles(OsDisk(), SlotsKeyring.of(config))
        return faults_of(config.model_dir(MODEL), core, self.releases, state.durable, files)


def publisher(folder: Path, url: str) -> Publisher:
    """Make a publisher with three small releases of two files each, in two folders."""
    made = Publisher.make(folder / "repo", url, prefix=folder.name)
    for number in (1, 2, 3):
        model = zoo.classifier(seed=1, hidden=48, drift=0.01 * number)
        labels = f"labels of {number}\n".encode() * 300
        made.release(MODEL, str(number), {"model.onnx": model, "data/labels.txt": labels})
    return made


def tell(made: Publisher, folder: Path, *versions: str, key: Path | None = None) -> Story:
    """Install versions one after the other, the last one under strace.

    Args:
        made: has the releases.
        folder: for the device and the trace.
        versions: what to install.
        key: of the slots, where the device encrypts them.

    Raises:
        RuntimeError: the traced process did not end well.
    """
    *first, last = versions
    device = _installed(made, folder, first, key)

    def publish_last() -> None:
        made.publish(MODEL, last)

    return _traced(made, device, folder, ["run", "--once", "--timeout", "600"], last, publish_last)


def tell_turned_on(made: Publisher, folder: Path, key: Path) -> Story:
    """Install two versions in the clear, then start with slots to be encrypted, under strace.

    Args:
        made: has the releases.
        folder: for the device and the trace.
        key: of the slots.

    Raises:
        RuntimeError: the traced process did not end well.
    """
    device = _installed(made, folder, ["1", "2"])
    command = ["run", "--once", "--timeout", "600"]
    return _traced(made, device, folder, command, "2", lambda: turn_on(device, key))


def tell_reset(made: Publisher, folder: Path, *versions: str) -> Story:
    """Install versions one after the other, then set the device back to the first under strace.

    Raises:
        RuntimeError: the traced process did not end well.
    """
    device = _installed(made, folder, versions)
    return _traced(made, device, folder, ["reset-to-provisioned"], versions[0])


def _installed(
    made: Publisher, folder: Path, versions: Sequence[str], key: Path | None = None
) -> Device:
    device = made.provision("cam", folder / "device", models=(MODEL,))
    if key is not None:
        turn_on(device, key)
    for version in versions:
        made.publish(MODEL, version)
        device.run_once()
    return device


def _traced(
    made: Publisher,
    device: Device,
    folder: Path,
    command: list[str],
    version: str,
    prepare: Callable[[], None] = lambda: None,
) -> Story:
    before = folder / "before"
    state_dir = device.config.state_dir
    state_dir.mkdir(exist_ok=True)
    shutil.copytree(state_dir, before, symlinks=True)
    prepare()
    arguments = [*command, "--config", str(device.config_path)]
    code = trace.traced(["-m", "slotcast_device", *arguments], folder / "strace")
    if code:
        raise RuntimeError(f"the traced device ended with {code}")
    ops = trace.read(folder / "strace", state_dir)
    releases = {}
    for version in ("1", "2", "3"):
        signed = made.repo.store.folder(MODEL, version).signed_bytes()
        releases[hashlib.sha256(signed).digest()] = wire.decode(signed, Release)
    return Story(device, state_dir, before, ops, releases, version)
