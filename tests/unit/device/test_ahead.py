"""Decoding ahead: hides the rebuild on a fast link, and never does harm on another."""

import hashlib
import random
import threading
from pathlib import Path

import pytest
import zstandard

from slotcast_device.storage.early_decode import (
    FAST_BYTES,
    ContiguousPrefix,
    EarlyDecode,
    FastLinkTest,
)
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import TransferFailed
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.release import File

CHUNK = 32 * 1024


class World:
    """A release of one file, its payload, and a spool that fills chunk by chunk."""

    def __init__(self, tmp_path: Path, *, damaged: bool = False) -> None:
        data = random.Random(1).randbytes(FAST_BYTES + 3 * CHUNK + 7)
        packed = zstandard.compress(data, 1)
        digest = hashlib.sha256(b"another" if damaged else data).digest()
        file = File(path="m.onnx", size_bytes=len(data), sha256=digest, role="model")
        self.release = Release(
            model="m",
            version="1.0",
            sequence=1,
            created=1,
            files=(file,),
            image_size_bytes=len(data),
            image_sha256=digest,
            entry="m.onnx",
        )
        self.payload = Payload(
            codec="full+zstd",
            sha256=bytes(32),
            size_bytes=len(packed),
            chunk_size_bytes=CHUNK,
            map_parts=(bytes(32),),
        )
        self.data, self.packed = data, packed
        self.spool = tmp_path / "data"
        self.ahead = EarlyDecode(
            OsDisk(), tmp_path / "image", self.spool, self.payload, self.release
        )

    def arrive(self, index: int, now_s: float) -> None:
        """Write a chunk and tell of it."""
        chunk = self.packed[index * CHUNK : (index + 1) * CHUNK]
        with self.spool.open("r+b" if self.spool.exists() else "w+b") as file:
            file.seek(index * CHUNK)
            file.write(chunk)
        self.ahead.arrived(index, len(chunk), now_s)


def test_chunks_in_any_order_are_decoded_as_soon_as_they_join_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    order = list(range(world.payload.chunk_count))
    random.Random(2).shuffle(order)
    for index in order:
        world.arrive(index, now_s=0.1)
    folder = world.ahead.finish()
    assert folder is not None
    assert (folder / "m.onnx").read_bytes() == world.data


def test_on_a_slow_link_nothing_is_written_ahead(tmp_path: Path) -> None:
    world = World(tmp_path)
    for index in range(world.payload.chunk_count):
        world.arrive(index, now_s=float(index))
    assert world.ahead.finish() is None
    assert not (tmp_path / "image").exists()


def test_chunks_of_an_earlier_run_count(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.spool.write_bytes(world.packed)
    world.ahead.found({0})
    for index in range(1, world.payload.chunk_count):
        world.arrive(index, now_s=0.1)
    assert world.ahead.finish() is not None


def test_an_image_that_is_not_the_signed_one_is_left_to_the_ordinary_rebuild_to_refuse(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, damaged=True)
    for index in range(world.payload.chunk_count):
        world.arrive(index, now_s=0.1)
    assert world.ahead.finish() is None


def test_a_transfer_that_ends_early_lets_the_decoder_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    for index in range(world.payload.chunk_count - 1):
        world.arrive(index, now_s=0.1)
    world.ahead.cancel()
    assert world.ahead.finish() is None
    assert not [t for t in threading.enumerate() if t.name == "ahead"]


def test_whoever_waits_for_a_prefix_is_told_when_it_will_not_come(tmp_path: Path) -> None:
    prefix = ContiguousPrefix(World(tmp_path).payload)
    prefix.add_all({1})
    prefix.stop()
    with pytest.raises(TransferFailed, match="before the payload was whole"):
        prefix.wait_for(1)


def test_a_link_is_fast_only_once_enough_came_at_that_pace() -> None:
    pace = FastLinkTest()
    assert not pace.is_fast(CHUNK, 0.0)
    assert pace.is_fast(FAST_BYTES, 0.05)
    assert not pace.is_fast(CHUNK, 60.0)
