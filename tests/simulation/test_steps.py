"""Single steps of the device on a disk that forgets: what they promise is there after any cut."""

from __future__ import annotations

import contextlib
import hashlib
import random
from pathlib import Path

import pytest

from slotcast_device.core.state import SlotName
from slotcast_device.storage.slots import SlotStore
from slotcast_device.storage.spool import Spool
from slotcast_schemas.errors import StorageFailed
from tests.simulation.ramdisk import Loss, PowerCut, RamDisk
from tests.support.messages import payload

FOLDER = Path("/state/models/clf")
CHUNKS = [bytes([number]) * 1024 for number in range(8)]
OFFER = payload(8 * 1024, 1024)
DIGESTS = {0: b"".join(hashlib.sha256(chunk).digest() for chunk in CHUNKS)}


def spool_with(disk: RamDisk, count: int) -> Spool:
    disk.make_dir(FOLDER)
    spool = Spool(disk, FOLDER, OFFER)
    spool.open()
    for number in range(count):
        spool.store_chunk(number, CHUNKS[number])
    return spool


@pytest.mark.parametrize("loss", Loss)
def test_chunks_that_were_synced_are_found_again_after_any_cut(loss: Loss) -> None:
    disk = RamDisk()
    spool_with(disk, 5).sync()

    left = Spool(disk.cut_power(loss, random.Random(1)), FOLDER, OFFER)

    assert left.present(DIGESTS) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("seed", range(20))
def test_what_is_found_after_a_torn_write_is_true(seed: int) -> None:
    disk = RamDisk()
    spool = spool_with(disk, 4)
    spool.sync()
    for number in (4, 5, 6):
        spool.store_chunk(number, CHUNKS[number])

    left = Spool(disk.cut_power(Loss.TORN, random.Random(seed)), FOLDER, OFFER)
    found = left.present(DIGESTS)

    assert {0, 1, 2, 3} <= found <= {0, 1, 2, 3, 4, 5, 6}
    for number in found:
        data = left._disk.open_read(left.data_path).read_at(number * 1024, 1024)
        assert data == CHUNKS[number]


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("slot", ["a", "b", None])
def test_where_current_was_pointed_is_where_it_points_after_any_cut(
    slot: SlotName | None, loss: Loss
) -> None:
    for seed in range(4):
        disk = RamDisk()
        disk.make_dir(FOLDER)
        store = SlotStore(disk, FOLDER)
        store.activate("a")
        store.activate(slot)

        left = SlotStore(disk.cut_power(loss, random.Random(seed)), FOLDER)

        assert left.current() == slot


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("cut", range(1, 12))
def test_a_folder_in_the_place_of_current_is_replaced_through_any_cut(cut: int, loss: Loss) -> None:
    for seed in range(4):
        disk = RamDisk()
        disk.make_dir(FOLDER)
        disk.put_dir(FOLDER / "current")
        disk.cut_at = disk.ops + cut
        with contextlib.suppress(PowerCut):
            SlotStore(disk, FOLDER).activate("a")

        left = SlotStore(disk.cut_power(loss, random.Random(seed)), FOLDER)

        assert left.link().slot in {None, "a"}
        left.activate("a")
        assert left.link().is_right


@pytest.mark.parametrize("failing", range(6))
def test_a_folder_whose_name_could_not_be_synced_is_synced_by_the_next_call(failing: int) -> None:
    """Found by the soak: the folder is there, so a later call took it for durable."""
    disk = RamDisk()
    disk.fail_at = failing
    with contextlib.suppress(StorageFailed):
        disk.make_dir(FOLDER)
    disk.fail_at = None
    disk.make_dir(FOLDER)
    disk.write_atomic(FOLDER / "state.json", b"{}")

    after = disk.cut_power(Loss.NOTHING_UNSYNCED, random.Random(1))

    assert after.read(FOLDER / "state.json", 100) == b"{}"
