"""Files in memory, and the huge pages that they lie in where the system has such."""

from __future__ import annotations

import mmap
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_device.at_rest import huge_pages
from slotcast_device.at_rest.huge_pages import (
    SAVED_MOST,
    count_until_dear,
    huge_page_bytes,
    take_huge_pages,
)
from slotcast_device.at_rest.memory_file import memory_file
from tests.support.memory_files import assert_sealed

PAGE_BYTES = 2 * 1024 * 1024
CONTENT = random.Random(1).randbytes(2 * PAGE_BYTES + 12_345)


def held(size_bytes: int, content: bytes) -> bytes:
    """Give what a file in memory of this content reads as."""
    with memory_file(size_bytes, lambda write: write(content)) as number:
        return Path(f"/proc/self/fd/{number}").read_bytes()


def mappings() -> list[str]:
    """Give how this process has files in memory mapped: `r--p` for reading, privately."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[1] for line in lines if "slotcast-slot" in line]


@pytest.fixture
def empty_file() -> Iterator[int]:
    number = os.memfd_create("slotcast-slot", os.MFD_CLOEXEC)
    yield number
    os.close(number)


@pytest.mark.parametrize(
    "size_bytes",
    [0, 1, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1, 2 * PAGE_BYTES, len(CONTENT)],
)
def test_a_file_holds_what_was_written_whatever_pages_it_lies_in(size_bytes: int) -> None:
    assert held(size_bytes, CONTENT[:size_bytes]) == CONTENT[:size_bytes]


def test_a_file_of_another_size_than_was_said_is_as_long_as_what_was_written() -> None:
    assert held(len(CONTENT), CONTENT[:100]) == CONTENT[:100]
    assert held(PAGE_BYTES, CONTENT) == CONTENT


def test_a_file_in_huge_pages_is_sealed_and_mapped_by_nobody() -> None:
    with memory_file(len(CONTENT), lambda write: write(CONTENT)) as number:
        assert mappings() == []
        assert_sealed(number)


def test_huge_pages_take_the_place_of_small_ones(empty_file: int) -> None:
    page_bytes = huge_page_bytes()
    if not page_bytes or _linux() < (6, 1) or _is_denied():
        pytest.skip("this system puts no huge pages into files in memory")
    taken_bytes = take_huge_pages(empty_file, 2 * page_bytes + 5)
    assert taken_bytes in {page_bytes, 2 * page_bytes}  # one may be dear, and then is the last
    small_bytes = (2 * page_bytes - taken_bytes) // page_bytes * mmap.PAGESIZE
    assert os.fstat(empty_file).st_blocks * 512 == taken_bytes + small_bytes
    assert os.pread(empty_file, page_bytes, page_bytes) == bytes(page_bytes)


def _linux() -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return tuple(map(int, found.groups())) if found else (0, 0)


def _is_denied() -> bool:
    path = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    return not path.exists() or "[deny]" in path.read_text()


def test_huge_pages_are_taken_while_they_cost_less_than_small_ones() -> None:
    assert count_until_dear([0.1] * 9, 1.0) == 9
    assert count_until_dear([], 1.0) == 0
    assert count_until_dear([1.5, 0.1], 1.0) == 1, "the first one is dear, and the last"
    assert count_until_dear([0.1, 0.1, 2.5, 0.1], 1.0) == 4, "a dear one that others paid for"
    dear = [0.1] * 99 + [2.5] * 9
    assert count_until_dear(dear, 1.0) == 99 + SAVED_MOST, "but not a row, whatever was saved"
    taken = iter(dear)
    count_until_dear(taken, 1.0)
    assert len(list(taken)) == 9 - SAVED_MOST, "nothing is taken after that"


def test_one_small_page_that_was_dear_does_not_make_huge_ones_cheap(
    empty_file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(time, "thread_time", lambda: now_s[0])
    monkeypatch.setattr(huge_pages, "huge_page_bytes", lambda: PAGE_BYTES)

    def collapse(_start: int, _length: int) -> bool:
        now_s[0] += 4e-3
        return True

    def write(_number: int, _data: bytes, offset: int) -> None:
        now_s[0] += 2e-6 if offset else 4e-3

    monkeypatch.setattr(huge_pages, "_collapse", collapse)
    monkeypatch.setattr(os, "pwrite", write)
    assert take_huge_pages(empty_file, 3 * PAGE_BYTES) == PAGE_BYTES


def test_a_system_without_huge_pages_leaves_a_file_empty(
    empty_file: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert huge_page_bytes(tmp_path / "nothing") == 0
    monkeypatch.setattr(huge_pages, "huge_page_bytes", lambda: 0)
    assert take_huge_pages(empty_file, len(CONTENT)) == 0
    assert os.fstat(empty_file).st_size == 0


def test_while_huge_pages_are_asked_for_nothing_is_mapped_to_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[str]] = []

    def refuse(_start: int, _length: int) -> bool:
        seen.append(mappings())
        return False

    monkeypatch.setattr(huge_pages, "huge_page_bytes", lambda: PAGE_BYTES)
    monkeypatch.setattr(huge_pages, "_collapse", refuse)
    assert held(len(CONTENT), CONTENT) == CONTENT
    assert seen == [["r--p"]]


def test_where_no_address_is_left_a_file_lies_in_small_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huge_pages, "huge_page_bytes", lambda: PAGE_BYTES)
    monkeypatch.setattr(huge_pages, "_map", lambda *_: None)
    assert held(len(CONTENT), CONTENT) == CONTENT
