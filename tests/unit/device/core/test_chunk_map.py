"""The chunk map: which parts are believed, and which bytes are a chunk's."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from slotcast_device.core.transfer.chunk_map import ChunkMap
from slotcast_schemas import wire
from slotcast_schemas.limits import MAP_PART_CHUNKS
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Payload
from tests.support import messages

SHORT = b"the last chunk is short"
CHUNKS = [b"%4d" % number * 256 for number in range(MAP_PART_CHUNKS + 1)]
CHUNKS.append(SHORT)
DIGESTS = [hashlib.sha256(chunk).digest() for chunk in CHUNKS]
SHA256 = messages.sha("a payload in two parts")


def part(number: int, **changes: Any) -> bytes:
    """Give a part of the map as it is published."""
    first = number * MAP_PART_CHUNKS
    digests = b"".join(DIGESTS[first : first + MAP_PART_CHUNKS])
    given: dict[str, Any] = {"payload": SHA256, "part": number, "digests": digests}
    return wire.encode(MapPart(**{**given, **changes}))


def payload(*parts: bytes) -> Payload:
    """Give a payload of these chunks whose offer pins these parts."""
    return messages.payload(
        (len(CHUNKS) - 1) * 1024 + len(SHORT),
        1024,
        sha256=SHA256,
        map_parts=tuple(hashlib.sha256(data).digest() for data in parts),
    )


PARTS = (part(0), part(1))


def test_a_map_is_whole_once_every_part_is_there_in_whatever_order() -> None:
    chunk_map = ChunkMap(payload(*PARTS))
    assert chunk_map.missing == [0, 1]
    assert chunk_map.accept(1, PARTS[1])
    assert (chunk_map.is_whole, chunk_map.missing) == (False, [0])
    assert chunk_map.accept(0, PARTS[0])
    assert (chunk_map.is_whole, chunk_map.missing) == (True, [])
    assert chunk_map.parts == {
        0: b"".join(DIGESTS[:MAP_PART_CHUNKS]),
        1: b"".join(DIGESTS[MAP_PART_CHUNKS:]),
    }


def test_a_map_that_was_accepted_before_needs_no_digest_of_its_parts() -> None:
    whole = ChunkMap(payload(*PARTS))
    for number, data in enumerate(PARTS):
        whole.accept(number, data)
    again = ChunkMap.of_digests(payload(*PARTS), whole.parts)
    assert again.is_whole
    assert again.is_true(MAP_PART_CHUNKS, CHUNKS[MAP_PART_CHUNKS])
    assert again.parts == whole.parts
    assert again.parts is not whole.parts
    assert not ChunkMap.of_digests(payload(*PARTS), {0: whole.parts[0]}).is_whole


@pytest.mark.parametrize(
    ("number", "data", "pinned"),
    [
        (-1, PARTS[1], PARTS),
        (2, PARTS[1], PARTS),
        (0, PARTS[1], PARTS),
        (0, b"no map at all", (b"no map at all", PARTS[1])),
        (0, PARTS[1], (PARTS[1], PARTS[1])),
        (0, part(0, payload=bytes(32)), (part(0, payload=bytes(32)), PARTS[1])),
    ],
    ids=["below", "above", "not pinned", "no map", "of another place", "of another payload"],
)
def test_a_part_that_is_not_the_one_of_its_place_is_not_believed(
    number: int, data: bytes, pinned: tuple[bytes, bytes]
) -> None:
    chunk_map = ChunkMap(payload(*pinned))
    assert not chunk_map.accept(number, data)
    assert chunk_map.parts == {}


def test_a_chunk_is_true_in_its_place_alone() -> None:
    chunk_map = ChunkMap(payload(*PARTS))
    for number, data in enumerate(PARTS):
        chunk_map.accept(number, data)
    places = [0, 1, MAP_PART_CHUNKS - 1, MAP_PART_CHUNKS, MAP_PART_CHUNKS + 1]
    for place in places:
        assert [n for n in places if chunk_map.is_true(n, CHUNKS[place])] == [place]
    assert not chunk_map.is_true(0, CHUNKS[0][:-1])


def test_bytes_of_another_length_are_no_chunk_though_the_map_has_their_digest() -> None:
    """A publisher's mistake: such a chunk would be written over its neighbour's place."""
    long = b"x" * 1500
    digests = hashlib.sha256(long).digest() + b"".join(DIGESTS[1:MAP_PART_CHUNKS])
    first = part(0, digests=digests)
    chunk_map = ChunkMap(payload(first, PARTS[1]))
    assert chunk_map.accept(0, first)
    assert not chunk_map.is_true(0, long)
