"""The copy of the provisioned release on disk: when it is made, of what, and when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_device.core.plan import DISK_MARGIN_BYTES
from slotcast_device.core.state import SlotRecord
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.provisioned import ProvisionedStore
from slotcast_device.storage.slots import SlotStore
from slotcast_schemas.errors import PayloadCorrupt, SlotDamaged
from tests.support.slot_releases import put_release

FILES = {"model.onnx": b"weights" * 1000, "labels.txt": b"cat\n"}
SIZE_BYTES = sum(len(data) for data in FILES.values())


class RoomyDisk(OsDisk):
    """A disk with just so much room."""

    room_bytes = 10**9

    def free_bytes(self, path: Path) -> int:
        """Give what the test says."""
        del path
        return self.room_bytes


class Home:
    """One model's folder, with a release in slot a."""

    def __init__(self, folder: Path) -> None:
        self.disk = RoomyDisk()
        self.store = SlotStore(self.disk, folder)
        put_release(self.store, "a", FILES)
        self.kept = ProvisionedStore(self.disk, folder)

    @property
    def record(self) -> SlotRecord:
        """What slot a holds."""
        found = self.store.found("a")
        assert found is not None
        return found

    def keep(self) -> str:
        """Keep it; gives why not."""
        return self.kept.keep(self.store, "a", self.record).why


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.store.keep_proof("a", b"the notice")
    return home


def test_what_is_kept_is_built_into_a_slot_to_the_byte_with_its_proof(home: Home) -> None:
    assert home.keep() == ""
    built = home.kept.build(home.store, "b")
    assert built.record == home.record
    assert home.store.proof("b") == b"the notice"
    for path, data in FILES.items():
        assert (home.store.path("b") / path).read_bytes() == data
    found = home.kept.found()
    assert found is not None
    assert (found.version, found.release_sha256) == ("1", home.record.release_sha256)


def test_it_is_kept_only_where_room_for_the_next_update_is_left(home: Home) -> None:
    home.disk.room_bytes = 3 * SIZE_BYTES + DISK_MARGIN_BYTES - 1
    assert "too few beside the next update" in home.keep()
    assert home.kept.found() is None
    home.disk.room_bytes += 1
    assert home.keep() == ""


def test_without_a_proof_nothing_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert "no proof" in home.keep()
    assert not (tmp_path / "provisioned").exists()


def test_half_a_copy_is_nothing_and_the_next_one_is_whole(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "provisioned"
    (folder / "files").mkdir(parents=True)
    (folder / "files/model.onnx").write_bytes(b"half")
    (folder / "files/stray").write_bytes(b"of another release")
    assert home.kept.found() is None
    with pytest.raises(SlotDamaged):
        home.kept.build(home.store, "b")
    assert home.keep() == ""
    assert sorted(path.name for path in (folder / "files").iterdir()) == sorted(FILES)
    home.kept.remove()
    assert not folder.exists()


def test_a_slot_that_is_damaged_is_not_kept_and_a_damaged_copy_is_not_built(
    home: Home, tmp_path: Path
) -> None:
    assert home.keep() == ""
    for path in (home.store.path("a"), tmp_path / "provisioned" / "files"):
        model = path / "model.onnx"
        model.chmod(0o644)
        model.write_bytes(b"changed" * 1000)
    with pytest.raises(PayloadCorrupt):
        home.kept.build(home.store, "b")
    assert home.store.release("b") is None
    with pytest.raises(PayloadCorrupt):
        home.keep()
    assert home.kept.found() is None
