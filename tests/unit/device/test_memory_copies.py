"""What an encrypted slot holds, in memory for one probe, and for the next where that is safe."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_device.application.app_report import AppReport, write_report
from slotcast_device.at_rest.file_format import BLOCK_BYTES
from slotcast_device.config import DeviceConfig
from slotcast_device.core.actions import Answer, AskHook, ProbeSlot, Watch
from slotcast_device.core.state import SlotName
from slotcast_device.jobs import ModelJobs
from slotcast_device.storage.memory_copies import FREE_LEAST, MemoryCopies
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas import process_memory
from slotcast_schemas.errors import SlotDamaged
from slotcast_schemas.messages.release import File, Release, Trial
from slotcast_schemas.probe import ProbeRequest, ProbeResult
from tests.support import messages
from tests.support.at_rest import key_file, slot_files
from tests.support.waiting import wait_until

CONTENT = {
    "model.onnx": random.Random(1).randbytes(3 * BLOCK_BYTES + 100),
    "labels.txt": b"cat\ndog\n",
}
HELD = [
    File(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).digest(), role="model")
    for path, data in CONTENT.items()
]
SIZE_BYTES = sum(map(len, CONTENT.values()))


def files_in_memory() -> set[str]:
    """Name those that this process has open: a new one has another number in its name."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            name = str(link.readlink())
            if "memfd:slotcast-slot" in name:
                found.add(f"{link.stat().st_ino}")
        except FileNotFoundError:  # the one that lists the folder
            continue
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    assert files_in_memory() == set()
    yield
    assert files_in_memory() == set()


class Slot:
    """A slot's files, encrypted or not, and what holds them in memory."""

    def __init__(self, folder: Path) -> None:
        self.files = slot_files(key_file(folder / "slots.key"))
        self.folder = folder / "a"
        self.folder.mkdir()
        for file in HELD:
            self.write(file)
        self.free_bytes = FREE_LEAST * SIZE_BYTES
        self.copies = self.made_copies()

    def made_copies(self, kept_most_s: float = 600.0) -> MemoryCopies:
        return MemoryCopies(self.files, kept_most_s, lambda: self.free_bytes)

    def write(self, file: File, data: bytes | None = None) -> None:
        writer = self.files.create(self.folder / file.path, file)
        writer.write(CONTENT[file.path] if data is None else data)
        writer.close_synced()

    def hold(self, *, keeps: bool = False) -> set[str]:
        """Hold them for a moment; give the files in memory that had it."""
        with self.copies.hold(self.folder, HELD, keeps=keeps) as numbers:
            for path, data in CONTENT.items():
                assert os.pread(numbers[path], len(data) + 1, 0) == data
            return {f"{os.fstat(number).st_ino}" for number in numbers.values()}


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    made = Slot(tmp_path)
    yield made
    made.copies.drop()


def test_what_is_kept_serves_the_next_probe_and_no_third(slot: Slot) -> None:
    first = slot.hold(keeps=True)
    assert files_in_memory() == first
    assert slot.hold() == first
    assert files_in_memory() == set()


def test_nothing_is_kept_unasked_or_of_a_probe_that_broke_off(slot: Slot) -> None:
    slot.hold()
    assert files_in_memory() == set()
    with (
        pytest.raises(ZeroDivisionError),
        slot.copies.hold(slot.folder, HELD, keeps=True),
    ):
        _ = 1 / 0
    assert files_in_memory() == set()


def test_nothing_is_kept_where_memory_is_short(slot: Slot) -> None:
    slot.free_bytes -= 1
    slot.hold(keeps=True)
    assert files_in_memory() == set()


def test_a_block_that_was_changed_meanwhile_is_found(slot: Slot) -> None:
    slot.hold(keeps=True)
    path = slot.folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    with (
        pytest.raises(SlotDamaged, match="block 3 of 4 is not what was written there"),
        slot.copies.hold(slot.folder, HELD),
    ):
        pass


def test_a_file_that_was_written_anew_is_copied_anew(slot: Slot) -> None:
    first = slot.hold(keeps=True)
    slot.write(HELD[1])
    assert not slot.hold() & first


def test_of_a_file_in_the_clear_nothing_says_that_it_is_the_same(slot: Slot) -> None:
    slot.files.keyring.encrypts = False
    slot.write(HELD[1])
    first = slot.hold(keeps=True)
    assert not slot.hold() & first


def test_a_copy_of_other_files_is_not_taken_for_these(slot: Slot) -> None:
    first = slot.hold(keeps=True)
    with slot.copies.hold(slot.folder, HELD[:1]) as numbers:
        assert list(numbers) == ["model.onnx"]
    assert not files_in_memory() & first


def test_what_is_kept_goes_when_its_time_is_over(slot: Slot) -> None:
    slot.copies = slot.made_copies(kept_most_s=0.01)
    slot.hold(keeps=True)
    wait_until(lambda: not files_in_memory(), "the memory to be given back")


# --- an installation ------------------------------------------------------------------------------

PASSED = ProbeResult(passed=True, reason="passed", detail="", checks=())
FAILED = ProbeResult(passed=False, reason="probe_crashed", detail="", checks=(), blames_model=True)
DEVICE_TOML = """\
format = 1
device = "cam-1"
models = ["detector"]
[[brokers]]
url = "mqtt://127.0.0.1:1"
[at_rest]
key_file = "slots.key"
"""


class Device:
    """A device with a release in its encrypted slot b, and a prober that notes what it is given."""

    def __init__(self, folder: Path) -> None:
        key_file(folder / "slots.key")
        (folder / "device.toml").write_text(DEVICE_TOML)
        (folder / "root.json").write_text("{}")
        config = DeviceConfig(folder / "device.toml")
        self.result = PASSED
        self.given: list[set[str]] = []
        self.jobs = ModelJobs(config, "detector", OsDisk(), prober=self.probe)
        self.jobs.prepare()
        self.reports = config.model_dir("detector") / "app"
        self.release = made_release()
        writer = self.jobs.store.build("b", self.release)
        writer.write(b"".join(CONTENT.values()))
        writer.finish()

    def probe(self, request: ProbeRequest, *, cancel: threading.Event) -> ProbeResult:
        del cancel
        numbers = request.candidate.memory.values()
        self.given.append({f"{os.fstat(number).st_ino}" for number in numbers})
        return self.result

    def probe_slot(self, slot: SlotName = "b") -> None:
        self.jobs.run(ProbeSlot(slot, self.release, None))

    def look(self) -> None:
        self.jobs.run(Watch("b", None, self.release, 1.0, 0))


def made_release() -> Release:
    return messages.release(
        files=tuple(HELD), image_size_bytes=SIZE_BYTES, trial=Trial(duration_s=60.0)
    )


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(process_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(process_memory, "_CGROUP", tmp_path / "cgroup")
    (tmp_path / "meminfo").write_text("MemAvailable: 1000000 kB\n")
    made = Device(tmp_path)
    yield made
    made.jobs.close()


def test_the_probe_after_the_switch_gets_what_the_one_before_it_had(device: Device) -> None:
    device.probe_slot()
    device.jobs.store.activate("b")
    device.look()
    before, after = device.given
    assert before == after
    assert files_in_memory() == set()
    device.look()
    assert device.given[2] != before


def test_nothing_is_in_memory_while_the_owner_is_asked(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def ask(*_: object) -> Answer:
        seen.append(files_in_memory())
        return Answer("go")

    monkeypatch.setattr(type(device.jobs.owner), "ask", ask)
    device.probe_slot()
    assert files_in_memory()
    device.jobs.run(AskHook("before_switch", device.release))
    assert seen == [set()]


def test_nothing_is_kept_of_a_release_that_will_not_be_switched_to(device: Device) -> None:
    device.result = FAILED
    device.probe_slot()
    assert files_in_memory() == set()


def test_nothing_is_kept_where_an_application_will_load_the_release(device: Device) -> None:
    write_report(
        device.reports,
        AppReport(instance="one", phase="serving", slot="a", sequence=1, uptime_s=1.0),
    )
    device.probe_slot()
    assert files_in_memory() == set()


def test_a_look_that_needs_no_probe_gives_the_memory_back(device: Device) -> None:
    device.probe_slot()
    write_report(
        device.reports,
        AppReport(instance="one", phase="serving", slot="b", sequence=7, uptime_s=1.0, requests=1),
    )
    device.look()
    assert len(device.given) == 1
    assert files_in_memory() == set()


def test_an_agent_that_ends_gives_the_memory_back(device: Device) -> None:
    device.probe_slot()
    assert files_in_memory()
    device.jobs.close()
    assert files_in_memory() == set()
