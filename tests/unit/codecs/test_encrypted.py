"""Encrypted payloads: what goes in comes out, at any place, and nothing sealed elsewhere does."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast_schemas.codecs.encrypted import (
    EncryptedSource,
    plain_frames,
    plain_size_bytes,
    seal_chunks,
    sealed_frames,
    sealed_size_bytes,
)
from slotcast_schemas.codecs.sealed_blocks import TAG_BYTES
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import PayloadCorrupt
from tests.support import messages

CHUNK = 1024
KEY = bytes(range(32))
SIZES = st.integers(1, 5 * CHUNK)


def seal(plain: bytes, key: bytes = KEY) -> bytes:
    read = io.BytesIO(plain).read
    chunks = seal_chunks(read, key, plain_bytes=len(plain), chunk_size_bytes=CHUNK)
    return b"".join(chunks)


def source(sealed: bytes, **changes: Any) -> EncryptedSource:
    given_: dict[str, Any] = {"key": KEY, "size_bytes": len(sealed), "chunk_size_bytes": CHUNK}
    return EncryptedSource(MemorySource(sealed), **{**given_, **changes})


def read_whole(found: EncryptedSource) -> bytes:
    return found.read_at(0, found.size_bytes)


@given(SIZES, st.data())
def test_it_is_read_at_any_place(size_bytes: int, data: st.DataObject) -> None:
    plain = random.Random(size_bytes).randbytes(size_bytes)
    sealed = seal(plain)
    assert len(sealed) == sealed_size_bytes(size_bytes, CHUNK)
    found = source(sealed)
    assert found.size_bytes == size_bytes
    for _ in range(5):
        start = data.draw(st.integers(0, size_bytes))
        end = data.draw(st.integers(start, size_bytes))
        assert found.read_at(start, end - start) == plain[start:end]


@given(st.lists(st.integers(0, 3 * CHUNK), min_size=1, max_size=6).filter(any))
def test_a_frame_is_in_the_chunks_that_its_sealed_frame_names(sizes: list[int]) -> None:
    frames = tuple(sizes)
    sealed = sealed_frames(frames, CHUNK)
    size_bytes = sealed_size_bytes(sum(frames), CHUNK)
    payload = messages.payload(size_bytes, CHUNK, codec="encrypted+full+zstd", frames=sealed)
    assert sum(sealed) == size_bytes
    assert plain_size_bytes(payload) == sum(frames)
    assert plain_frames(payload) == frames
    held, start, at = CHUNK - TAG_BYTES, 0, 0
    for plain, there in zip(frames, sealed, strict=True):
        if plain:
            chunks = range(start // held, (start + plain - 1) // held + 1)
            named = range(at // CHUNK, (at + there - 1) // CHUNK + 1)
            assert set(chunks) <= set(named)
        start, at = start + plain, at + there


@given(st.integers(1, 8 * CHUNK), st.lists(st.integers(0, 8 * CHUNK), max_size=5))
def test_frames_that_nobody_sealed_so_lie_inside_what_the_payload_holds(
    size_bytes: int, cuts: list[int]
) -> None:
    if (size_bytes - 1) % CHUNK < TAG_BYTES:
        size_bytes += TAG_BYTES
    ends = [*sorted(min(cut, size_bytes) for cut in cuts), size_bytes]
    frames = tuple(end - start for start, end in zip([0, *ends[:-1]], ends, strict=True))
    payload = messages.payload(size_bytes, CHUNK, codec="encrypted+full+zstd", frames=frames)
    found = plain_frames(payload)
    assert min(found) >= 0
    assert sum(found) == plain_size_bytes(payload)


def test_it_costs_16_bytes_a_chunk() -> None:
    assert sealed_size_bytes(10_000_000, 32_768) / 10_000_000 < 1.0005


def test_the_same_twice_is_the_same_bytes_and_with_another_key_others() -> None:
    plain = bytes(3000)
    assert seal(plain) == seal(plain)
    assert seal(plain) != seal(plain, bytes(32))
    assert b"\0" * 16 not in seal(plain)


PLAIN = random.Random(1).randbytes(4 * CHUNK - 100)
SEALED = seal(PLAIN)


def test_chunks_that_changed_places_do_not_open() -> None:
    first, second = SEALED[:CHUNK], SEALED[CHUNK : 2 * CHUNK]
    found = source(second + first + SEALED[2 * CHUNK :])
    with pytest.raises(PayloadCorrupt, match="chunk 0"):
        read_whole(found)
    assert found.read_at(3 * CHUNK, 10) == PLAIN[3 * CHUNK : 3 * CHUNK + 10]


@pytest.mark.parametrize("at", [0, CHUNK - 1, CHUNK, len(SEALED) - 1])
def test_a_bit_that_was_turned_is_noticed(at: int) -> None:
    changed = bytearray(SEALED)
    changed[at] ^= 1
    with pytest.raises(PayloadCorrupt, match=f"chunk {at // CHUNK}"):
        read_whole(source(bytes(changed)))


def test_chunks_that_were_left_off_are_noticed() -> None:
    for count in (1, 2, 3):
        with pytest.raises(PayloadCorrupt, match="chunk 0"):
            read_whole(source(SEALED[: count * CHUNK]))


def test_chunks_of_another_size_are_noticed() -> None:
    with pytest.raises(PayloadCorrupt):
        read_whole(source(SEALED, chunk_size_bytes=2 * CHUNK))


@pytest.mark.parametrize("size_bytes", [1, TAG_BYTES, CHUNK + 1, CHUNK + TAG_BYTES])
def test_a_last_chunk_without_room_for_a_byte_is_refused(size_bytes: int) -> None:
    with pytest.raises(PayloadCorrupt, match="expected a last chunk of more than 16 bytes"):
        source(bytes(size_bytes))


def test_what_is_outside_is_no_range() -> None:
    found = source(SEALED)
    for offset, size in ((-1, 1), (0, -1), (found.size_bytes, 1)):
        with pytest.raises(ValueError, match="expected a range inside"):
            found.read_at(offset, size)
    assert found.read_at(found.size_bytes, 0) == b""
