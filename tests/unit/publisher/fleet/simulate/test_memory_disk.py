"""A simulated device's disk: what a disk does, and blocks that many disks hold once."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast_publisher.fleet.simulate.memory_disk import BLOCK_BYTES, MemoryDisk, SharedBlocks
from slotcast_schemas.errors import DiskFull, SlotDamaged, StorageFailed

FOLDER = Path("/d")
DATA = random.Random(1).randbytes(3 * BLOCK_BYTES + 5)


def disk(capacity_bytes: int = 1 << 30, shared: SharedBlocks | None = None) -> MemoryDisk:
    made = MemoryDisk(capacity_bytes, SharedBlocks() if shared is None else shared)
    made.make_dir(FOLDER)
    return made


def writes() -> st.SearchStrategy[list[tuple[int, bytes]]]:
    offsets = st.integers(0, 2 * BLOCK_BYTES + 10)
    sizes = st.sampled_from([1, 7, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 3])
    pieces = st.tuples(sizes, st.integers(0, 255)).map(lambda p: bytes([p[1]]) * p[0])
    return st.lists(st.tuples(offsets, pieces), max_size=6)


@given(writes(), st.integers(0, 3 * BLOCK_BYTES), st.integers(0, 2 * BLOCK_BYTES))
def test_a_file_is_what_was_written_wherever(
    pieces: list[tuple[int, bytes]], offset: int, size: int
) -> None:
    expected = bytearray()
    file = disk().open_random(FOLDER / "f")
    for place, piece in pieces:
        expected.extend(bytes(max(0, place + len(piece) - len(expected))))
        expected[place : place + len(piece)] = piece
        file.write_at(place, piece)
    assert file.read_at(0, 1 << 30) == expected
    assert file.read_at(offset, size) == expected[offset : offset + size]


def test_what_many_disks_hold_alike_is_held_once_and_let_go_with_the_last() -> None:
    shared = SharedBlocks()
    disks = [disk(shared=shared) for _ in range(10)]
    for each in disks:
        each.write_atomic(FOLDER / "f", DATA)
    assert len(shared) == 4
    disks[0].open_random(FOLDER / "f").write_at(0, b"other")
    assert disks[1].read(FOLDER / "f", 1 << 30) == DATA
    assert len(shared) == 5
    for each in disks:
        each.remove_tree(FOLDER)
    assert len(shared) == 0


def test_a_process_that_has_died_writes_no_more_and_the_next_finds_everything() -> None:
    old = disk()
    old.write_atomic(FOLDER / "f", DATA)
    file = old.open_random(FOLDER / "f")
    new = old.reopen()
    attempts: tuple[Callable[[], None], ...] = (
        lambda: file.write_at(0, b"x"),
        lambda: old.write_atomic(FOLDER / "f", b"x"),
        lambda: old.remove_tree(FOLDER),
        lambda: old.unlink(FOLDER / "f"),
    )
    for write in attempts:
        with pytest.raises(StorageFailed, match="has ended"):
            write()
    assert new.read(FOLDER / "f", 1 << 30) == DATA


def test_a_full_disk_says_so_and_room_comes_back() -> None:
    small = disk(2 * len(DATA) - 1)
    small.write_atomic(FOLDER / "f", DATA)
    with pytest.raises(DiskFull):
        small.write_atomic(FOLDER / "g", DATA)
    assert small.read(FOLDER / "g", 1 << 30) is None
    small.remove_tree(FOLDER / "f")
    small.remove_tree(FOLDER / "g.tmp")
    small.write_atomic(FOLDER / "g", DATA)
    assert small.free_bytes(FOLDER) == len(DATA) - 1


def test_an_image_is_files_laid_end_to_end() -> None:
    made = disk()
    made.write_atomic(FOLDER / "a", DATA)
    made.write_atomic(FOLDER / "b", b"12345")
    image = made.open_image([(FOLDER / "a", len(DATA)), (FOLDER / "b", 5)])
    assert image.read_at(len(DATA) - 2, 5) == DATA[-2:] + b"123"
    with pytest.raises(ValueError, match="inside"):
        image.read_at(len(DATA), 6)
    with pytest.raises(SlotDamaged):
        made.open_image([(FOLDER / "b", 6)])
