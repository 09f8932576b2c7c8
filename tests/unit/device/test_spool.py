"""Chunks on disk: found again by hashing, never by a note."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.spool import Spool
from slotcast_schemas import limits, wire
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Payload

SIZE = 1024
CHUNKS = [random.Random(n).randbytes(SIZE) for n in range(9)] + [b"the last one is short"]
DIGESTS = b"".join(hashlib.sha256(chunk).digest() for chunk in CHUNKS)
SHA256 = hashlib.sha256(b"".join(CHUNKS)).digest()
MAP = wire.encode(MapPart(payload=SHA256, part=0, digests=DIGESTS))
PAYLOAD = Payload(
    codec="full+none",
    sha256=SHA256,
    size_bytes=sum(map(len, CHUNKS)),
    chunk_size_bytes=SIZE,
    map_parts=(hashlib.sha256(MAP).digest(),),
)


def opened(folder: Path) -> Spool:
    spool = Spool(OsDisk(), folder, PAYLOAD)
    spool.open()
    return spool


def test_what_was_stored_is_found_again_in_any_order(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for index in (7, 0, 9):
        spool.store_chunk(index, CHUNKS[index])
    spool.close()
    assert opened(tmp_path).present({0: DIGESTS}) == {0, 7, 9}


def test_a_spool_is_empty_until_a_chunk_comes(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.store_map(0, MAP)
    assert spool.is_empty
    spool.store_chunk(0, CHUNKS[0])
    assert not opened(tmp_path).is_empty


@pytest.mark.parametrize("place", [0, 500, SIZE - 1])
def test_a_chunk_that_rotted_or_was_torn_is_not_there(tmp_path: Path, place: int) -> None:
    spool = opened(tmp_path)
    for index, chunk in enumerate(CHUNKS):
        spool.store_chunk(index, chunk)
    spool.close()
    with spool.data_path.open("r+b") as file:
        file.seek(4 * SIZE + place)
        byte = file.read(1)
        file.seek(4 * SIZE + place)
        file.write(bytes([byte[0] ^ 1]))
    assert opened(tmp_path).present({0: DIGESTS}) == set(range(10)) - {4}


def test_a_file_cut_short_or_too_long_costs_only_what_is_not_there(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for index, chunk in enumerate(CHUNKS):
        spool.store_chunk(index, chunk)
    spool.close()
    data = spool.data_path.read_bytes()
    spool.data_path.write_bytes(data[: 5 * SIZE + 10])
    assert spool.present({0: DIGESTS}) == set(range(5))
    spool.data_path.write_bytes(data + b"more" * SIZE)
    assert spool.present({0: DIGESTS}) == set(range(10))


def test_a_scan_that_is_stopped_tells_what_it_had_found(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for index, chunk in enumerate(CHUNKS):
        spool.store_chunk(index, chunk)
    answers = iter([False, False, True])
    assert spool.present({0: DIGESTS}, lambda: next(answers)) == {0, 1}


def test_only_maps_that_the_offer_pins_are_taken_from_disk(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    assert spool.map_parts() == {}
    spool.store_map(0, MAP)
    assert spool.map_parts() == {0: MAP}
    spool.store_map(0, MAP[:-1] + b"\0")
    assert spool.map_parts() == {}


def test_a_map_on_disk_that_is_too_large_is_asked_for_again(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.store_map(0, bytes(limits.MAP_PART_MAX_BYTES + 1))
    assert spool.map_parts() == {}


def test_one_payload_is_kept_and_what_another_left_goes(tmp_path: Path) -> None:
    (tmp_path / "incoming" / "abandoned").mkdir(parents=True)
    (tmp_path / "incoming" / "abandoned" / "data").write_bytes(b"old")
    spool = opened(tmp_path)
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == [SHA256.hex()]
    spool.remove()
    assert list((tmp_path / "incoming").iterdir()) == []
