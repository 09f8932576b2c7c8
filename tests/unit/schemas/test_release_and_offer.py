"""Rules of releases, offers, chunk maps and wants, at their very edges."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest

from slotcast_schemas import limits
from slotcast_schemas.errors import MalformedMessage
from slotcast_schemas.messages import MapPart, Offer, Release, Want
from slotcast_schemas.messages.offer import Group
from slotcast_schemas.messages.release import File, Probe
from slotcast_schemas.messages.want import WantedBlock
from slotcast_schemas.wire import Message, decode, encode
from tests.support.messages import map_part, offer, payload, release, sha, want


def refused(message: Message, **changes: Any) -> bool:
    """Say whether a message is malformed once these fields of it are others on the wire."""
    plain = {
        name: msgspec.to_builtins(value, builtin_types=(bytes,)) for name, value in changes.items()
    }
    fields = {**msgpack.unpackb(encode(message), raw=False), **plain}
    try:
        decode(msgpack.packb(fields, use_bin_type=True), type(message))
    except MalformedMessage:
        return True
    return False


def one_file(size_bytes: int) -> Release:
    file = File(path="model.onnx", size_bytes=size_bytes, sha256=sha("m"), role="model")
    return release(files=(file,), image_size_bytes=size_bytes)


@pytest.mark.parametrize(
    "size_bytes", [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, limits.IMAGE_MAX_BYTES]
)
def test_sizes_around_the_powers_of_two_survive(size_bytes: int) -> None:
    assert decode(encode(one_file(size_bytes)), Release).image_size_bytes == size_bytes


@pytest.mark.parametrize("size_bytes", [limits.IMAGE_MAX_BYTES + 1, 2**53, 2**63])
def test_an_image_beyond_the_bound_is_malformed(size_bytes: int) -> None:
    file = {"path": "model.onnx", "size_bytes": size_bytes, "sha256": sha("m")}
    assert refused(one_file(1), files=[file], image_size_bytes=size_bytes)


@pytest.mark.parametrize("sequence", [1, 2**31, 2**32, limits.SAFE_INTEGER_MAX])
def test_sequences_up_to_the_safe_integers_survive(sequence: int) -> None:
    assert decode(encode(release(sequence=sequence)), Release).sequence == sequence


@pytest.mark.parametrize("sequence", [0, -1, limits.SAFE_INTEGER_MAX + 1, 2**64 - 1])
def test_sequences_beyond_them_are_malformed(sequence: int) -> None:
    assert refused(release(), sequence=sequence)


BAD_PATHS = [
    "",
    "/etc/passwd",
    "../x",
    "a/../b",
    "a//b",
    "a/",
    "./a",
    ".hidden",
    "a/.hidden",
    "a\\b",
    "a\x00b",
    "a\n",
    "ä",
    "a/b/c/d/e/f/g/h/i",
    "x" * 201,
    "-rf",
]


def with_path(path: str) -> dict[str, Any]:
    return {
        "files": (File(path=path, size_bytes=1024, sha256=sha("m"), role="model"),),
        "entry": path,
    }


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_could_leave_a_slot_is_malformed(path: str) -> None:
    assert refused(release(), **with_path(path))


@pytest.mark.parametrize("path", ["model.onnx", "a/b/c/d/e/f/g/h", "x" * 200, "_a/0-b"])
def test_plain_paths_are_fine(path: str) -> None:
    assert not refused(release(), **with_path(path))


def test_files_must_add_up_to_the_image() -> None:
    assert refused(release(), image_size_bytes=1025)


def test_two_files_cannot_have_one_path() -> None:
    file = File(path="model.onnx", size_bytes=512, sha256=sha("m"), role="model")
    assert refused(release(), files=(file, file))


def test_a_file_cannot_be_another_files_folder() -> None:
    files = tuple(File(path=p, size_bytes=512, sha256=sha("m")) for p in ("model.onnx", "data"))
    below = msgspec.structs.replace(files[1], path="model.onnx/data")
    assert not refused(release(), files=files)
    assert refused(release(), files=(files[0], below))


def test_entry_and_samples_must_be_among_the_files() -> None:
    assert refused(release(), entry="other.onnx")
    assert refused(release(), probe=Probe(samples="golden.npz"))
    assert not refused(release(), probe=Probe(samples="data/labels.txt"))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": ""},
        {"version": "1.0\n"},
        {"version": "1/0"},
        {"model": "Detector"},
        {"model": "a/b"},
        {"model": "+"},
        {"model": ""},
        {"model": "x" * 65},
        {"files": ()},
        {"notes": "x" * 2001},
        {"probe": Probe(timeout_s=0)},
        {"probe": Probe(min_cosine=1.01)},
        {"probe": Probe(runs=0)},
    ],
    ids=str,
)
def test_a_release_out_of_bounds_is_malformed(changes: dict[str, Any]) -> None:
    assert refused(release(), **changes)


CHUNK = 32_768


@pytest.mark.parametrize(
    ("size_bytes", "count", "last"),
    [
        (1, 1, 1),
        (CHUNK - 1, 1, CHUNK - 1),
        (CHUNK, 1, CHUNK),
        (CHUNK + 1, 2, 1),
        (8 * CHUNK, 8, CHUNK),
        (8 * CHUNK + 1, 9, 1),
        (2**31 - 1, 65_536, CHUNK - 1),
        (2**31, 65_536, CHUNK),
        (2**32, 131_072, CHUNK),
        (2**32 + 1, 131_073, 1),
    ],
)
def test_chunks_are_cut_where_the_size_says(size_bytes: int, count: int, last: int) -> None:
    cut = payload(size_bytes)
    assert cut.chunk_count == count
    assert cut.chunk_bytes(count - 1) == last
    assert (count - 1) * CHUNK + last == size_bytes
    assert cut.block_count == -(-count // limits.BLOCK_CHUNKS)
    assert decode(encode(offer(payloads=(cut,))), Offer).payloads == (cut,)


@pytest.mark.parametrize(
    ("chunks", "parts"),
    [(1, 1), (2048, 1), (2049, 2), (limits.CHUNKS_MAX, limits.MAP_PARTS_MAX)],
)
def test_the_map_has_as_many_parts_as_the_chunks_need(chunks: int, parts: int) -> None:
    assert len(payload(chunks * CHUNK).map_parts) == parts


def test_a_map_with_a_part_too_many_or_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 map parts, got 2"):
        payload(2048 * CHUNK, map_parts=(sha("0"), sha("1")))
    with pytest.raises(ValueError, match="expected 2 map parts, got 1"):
        payload(2048 * CHUNK + 1, map_parts=(sha("0"),))


def test_frames_must_add_up_to_the_payload() -> None:
    assert payload(100, frames=(60, 40)).frames == (60, 40)
    with pytest.raises(ValueError, match="frames"):
        payload(100, frames=(60, 41))


@pytest.mark.parametrize("changes", [{"size_bytes": 0}, {"codec": "Full Zstd"}], ids=str)
def test_a_payload_out_of_bounds_is_malformed(changes: dict[str, Any]) -> None:
    plain = msgspec.to_builtins(payload(), builtin_types=(bytes,))
    assert not refused(offer(), payloads=[plain])
    assert refused(offer(), payloads=[{**plain, **changes}])


@pytest.mark.parametrize("size_bytes", [1023, 127_001])
def test_a_chunk_size_out_of_bounds_is_malformed(size_bytes: int) -> None:
    assert refused(offer(), payloads=(payload(chunk_size_bytes=size_bytes),))


def test_an_unknown_codec_does_not_spoil_the_offer() -> None:
    given = offer(payloads=(payload(codec="quantum+v9"), payload()))
    assert decode(encode(given), Offer) == given


@pytest.mark.parametrize("percent", [-0.1, 100.1])
def test_a_percentage_beyond_its_range_is_malformed(percent: float) -> None:
    assert refused(offer(), groups=(Group(name="g", percent=percent),))


def test_the_largest_offer_fits() -> None:
    ids = tuple(f"device-{number:06}" for number in range(limits.GROUP_IDS_MAX))
    groups = tuple(Group(name=f"g{i}", ids=ids if i < 4 else ()) for i in range(64))
    biggest = payload(limits.CHUNKS_MAX * CHUNK)
    assert not refused(offer(), groups=groups, payloads=(biggest,))


@pytest.mark.parametrize("size", [0, 31, 33, 64 * 1024 + 32])
def test_a_map_part_holds_whole_digests_and_not_too_many(size: int) -> None:
    with pytest.raises((ValueError, MalformedMessage)):
        encode(map_part(digests=bytes(size)))


def test_a_full_map_part_survives() -> None:
    full = map_part(part=511, digests=bytes(32 * limits.MAP_PART_CHUNKS))
    assert decode(encode(full), MapPart) == full
    assert refused(map_part(), part=512)


@pytest.mark.parametrize("missing", [0, 256, -1])
def test_a_want_asks_for_chunks_of_the_block_and_for_some(missing: int) -> None:
    assert refused(want(), blocks=(WantedBlock(block=0, missing=missing),))


def test_the_largest_want_survives() -> None:
    blocks = tuple(WantedBlock(block=limits.BLOCKS_MAX - 1 - i, missing=255) for i in range(512))
    largest = want(map_parts=tuple(range(limits.MAP_PARTS_MAX)), blocks=blocks)
    assert decode(encode(largest), Want) == largest
    assert refused(want(), blocks=(*blocks, blocks[0]))
    assert refused(want(), blocks=(WantedBlock(block=limits.BLOCKS_MAX, missing=1),))
