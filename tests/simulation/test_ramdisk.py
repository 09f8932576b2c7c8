"""The disk that forgets, by itself: what it keeps and what it may lose."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from slotcast_schemas.errors import DiskFull, StorageFailed
from tests.simulation.ramdisk import Loss, PowerCut, RamDisk

HERE = Path("/state")


def made(**options: int) -> RamDisk:
    disk = RamDisk(**options)
    disk.make_dir(HERE)
    return disk


def left(disk: RamDisk, loss: Loss, seed: int = 0) -> RamDisk:
    return disk.cut_power(loss, random.Random(seed))


@pytest.mark.parametrize("loss", Loss)
def test_what_was_written_atomically_is_there_after_any_cut(loss: Loss) -> None:
    disk = made()
    disk.write_atomic(HERE / "record", b"one")

    assert left(disk, loss).read(HERE / "record", 99) == b"one"


@pytest.mark.parametrize("loss", Loss)
def test_a_cut_anywhere_in_an_atomic_write_leaves_the_old_bytes_or_the_new(loss: Loss) -> None:
    seen = set()
    for step in range(1, 20):
        for seed in range(8):
            disk = made()
            disk.write_atomic(HERE / "record", b"old" * 400)
            disk.cut_at = disk.ops + step
            with contextlib.suppress(PowerCut):
                disk.write_atomic(HERE / "record", b"new" * 400)
            seen.add(left(disk, loss, seed).read(HERE / "record", 9999))

    assert seen <= {b"old" * 400, b"new" * 400}
    assert b"new" * 400 in seen


@pytest.mark.parametrize("loss", Loss)
def test_files_that_were_written_together_are_there_after_any_cut(loss: Loss) -> None:
    disk = made()
    disk.write_together(HERE, {"proof": b"p", "record": b"r"})

    after = left(disk, loss)

    assert [after.read(HERE / name, 9) for name in ("proof", "record")] == [b"p", b"r"]


@pytest.mark.parametrize("loss", Loss)
def test_a_cut_while_files_are_written_together_leaves_each_old_or_new(loss: Loss) -> None:
    old, new = b"old" * 400, b"new" * 400
    seen = set()
    for step in range(1, 20):
        for seed in range(8):
            disk = made()
            disk.write_together(HERE, {"proof": old, "record": old})
            disk.cut_at = disk.ops + step
            with contextlib.suppress(PowerCut):
                disk.write_together(HERE, {"proof": new, "record": new})
            after = left(disk, loss, seed)
            seen.add((after.read(HERE / "proof", 9999), after.read(HERE / "record", 9999)))

    assert seen <= {(old, old), (old, new), (new, old), (new, new)}
    assert (new, new) in seen


def test_bytes_that_were_not_synced_may_be_lost_while_their_name_stays() -> None:
    disk = made()
    disk.create(HERE / "file").write(b"x" * 2000)
    disk.sync_dir(HERE)

    found = {
        left(disk, Loss.NAMES_WITHOUT_DATA, seed).read(HERE / "file", 9999) for seed in range(9)
    }

    assert found == {b"", bytes(2000)}


def test_pages_that_were_not_synced_are_old_or_new_each_by_itself() -> None:
    disk = made()
    file = disk.open_random(HERE / "file")
    file.write_at(0, b"o" * 2048)
    file.sync()
    disk.sync_dir(HERE)
    file.write_at(0, b"n" * 2048)

    states = {left(disk, Loss.TORN, seed).read(HERE / "file", 9999) for seed in range(30)}

    assert any(s and b"o" in s and b"n" in s for s in states)
    assert all(s and len(s) == 2048 for s in states)


def test_a_synced_file_in_a_folder_without_a_durable_name_is_lost_with_it() -> None:
    disk = made()
    disk.make_one_dir(HERE / "folder")
    disk.write_atomic(HERE / "folder" / "file", b"x")

    assert left(disk, Loss.NOTHING_UNSYNCED).read(HERE / "folder" / "file", 9) is None


def test_a_folder_made_by_make_dir_keeps_its_synced_files() -> None:
    disk = made()
    disk.make_dir(HERE / "deep" / "folder")
    disk.write_atomic(HERE / "deep" / "folder" / "file", b"x")

    assert left(disk, Loss.NOTHING_UNSYNCED).read(HERE / "deep" / "folder" / "file", 9) == b"x"


def test_nothing_works_once_the_power_is_gone() -> None:
    disk = made()
    left(disk, Loss.EVERYTHING)

    with pytest.raises(PowerCut):
        disk.write_atomic(HERE / "record", b"x")


def test_a_full_disk_says_so_and_has_room_again_after_a_removal() -> None:
    disk = made(capacity_bytes=1000)
    disk.write_atomic(HERE / "a", b"x" * 900)
    with pytest.raises(DiskFull):
        disk.write_atomic(HERE / "b", b"x" * 200)
    disk.remove_tree(HERE / "a")

    disk.write_atomic(HERE / "b", b"x" * 200)

    assert disk.read(HERE / "b", 999) == b"x" * 200


def test_a_step_told_to_fail_fails_once() -> None:
    disk = made()
    disk.fail_at = disk.ops + 1
    with pytest.raises(StorageFailed, match="Input/output"):
        disk.sync_dir(HERE)

    disk.sync_dir(HERE)
