"""Deltas made to hurt: flipped bits, cut ends, wrong bases, lying numbers, bombs.

A device may only ever see `PayloadCorrupt`, `WrongBase` or `Incompatible`, never more bytes than
were signed, and never much memory. Wrong bytes are found by each section's CRC before the digest of
the whole is.
"""

from __future__ import annotations

import hashlib
import random
import struct
import tracemalloc
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zstandard
from numpy.typing import NDArray

from slotcast_publisher.delta.encode import encode_delta
from slotcast_schemas.codecs.delta import selftest
from slotcast_schemas.codecs.delta.bounded_fields import FieldWriter
from slotcast_schemas.codecs.delta.decoder import decode_delta, decode_sections
from slotcast_schemas.codecs.delta.description_format import pack_description
from slotcast_schemas.codecs.delta.elements import FLOAT32, INT4, INT8, Bits, ElementKind
from slotcast_schemas.codecs.delta.gather import Gather
from slotcast_schemas.codecs.delta.headers import (
    FEATURE_GATHER,
    FEATURE_WEIGHTS,
    HEADER_SIZE,
    SECTION_HEADER_SIZE,
    Header,
    SectionHeader,
)
from slotcast_schemas.codecs.delta.predict import apply_rebase
from slotcast_schemas.codecs.delta.segments import (
    CONTEXT_COUNT,
    SYMBOL_COUNT,
    Copy,
    DecayMap,
    Description,
    LowRank,
    Other,
    OtherStreams,
    Rebase,
    Segment,
    TensorSegment,
    Transposition,
)
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import Incompatible, PayloadCorrupt, RefusedRelease, WrongBase
from tests.support.deltas import apply_delta, bytes_of, kinds_of, model_bytes, write_image

MEMORY_MAX_BYTES = 64_000_000
NOTHING = np.zeros(CONTEXT_COUNT, dtype=np.bool_), np.zeros(SYMBOL_COUNT, dtype=np.bool_)


@cache
def _specimen(rows: int = 0) -> tuple[bytes, bytes, bytes]:
    """A payload with every kind of segment, its base and its image.

    A decay map needs a large tensor, which takes longer: only where `rows` asks for it.
    """
    rng = np.random.default_rng(7)
    weights = {
        name: (rng.standard_normal(shape) * 0.05).astype(np.float32)
        for name, shape in (
            ("a", (70, 40)),
            ("low", (80, 90)),
            ("turned", (40, 30)),
            ("rows", (60, 64)),
            ("columns", (60, 64)),
        )
    }
    weights["decayed"] = (rng.standard_normal((max(rows, 2), 128)) * 0.05).astype(np.float32)
    quantised = rng.integers(-9, 9, (60, 30)).astype(np.int8)
    old: dict[str, NDArray[Any]] = {**weights, "q": quantised}
    decayed = weights["decayed"]
    for _ in range(30):
        decayed = (decayed * np.float32(1 - 2e-7)).astype(np.float32)
    thin = np.outer(rng.random(80), rng.random(90)) * 1e-3
    moved = (weights["a"] + rng.standard_normal((70, 40)) * 1e-4).astype(np.float32)
    new: dict[str, NDArray[Any]] = {
        "a": moved,
        "low": (weights["low"] + thin).astype(np.float32),
        "turned": np.ascontiguousarray(weights["turned"].T),
        "rows": weights["rows"][rng.permutation(60)],
        "columns": np.insert(weights["columns"][:, rng.permutation(64)], 7, rng.random(60), axis=1),
        "decayed": decayed,
        "q": quantised + (rng.random((60, 30)) < 0.1).astype(np.int8),
    }
    with TemporaryDirectory() as folder:
        text = "".join(f"word{index}\n" for index in range(400))
        base, target = (
            write_image(Path(folder) / side, m__onnx=model_bytes(each), vocab__txt=words.encode())
            for side, each, words in (
                ("old", old, text),
                ("new", new, text.replace("word7", "wOrd7").replace("word99", "insertion")),
            )
        )
        report = encode_delta(base, target, Path(folder) / "delta")
        assert kinds_of(report) == {
            "copy",
            "copy, rows or columns moved",
            "copy, transposed",
            *(["float32 decay"] if rows else []),
            "float32 difference",
            "float32 low rank 1",
            "int8 difference",
            "other",
        }
        return (Path(folder) / "delta").read_bytes(), bytes_of(base), bytes_of(target)


def _refused_or_right(payload: bytes, rows: int = 0) -> bool:
    """Whether a payload was refused; if it was not, it must give the very image."""
    _, base, image = _specimen(rows)
    try:
        assert apply_delta(payload, base, len(image)) == image
    except RefusedRelease:
        return True
    return False


def test_the_specimen_itself_is_fine() -> None:
    payload, base, image = _specimen()
    assert apply_delta(payload, base, len(image)) == image


def _flipped(payload: bytes, bit: int) -> bytes:
    changed = bytearray(payload)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flipped_bit_of_the_headers_is_refused() -> None:
    payload, _, _ = _specimen()
    # What packer 4 and form 3 say of themselves; the bits are for decoders that have neither.
    allowed = {64 + each.bit_length() - 1 for each in (FEATURE_WEIGHTS, FEATURE_GATHER)}
    for bit in range(8 * (HEADER_SIZE + SECTION_HEADER_SIZE)):
        assert _refused_or_right(_flipped(payload, bit)) is (bit not in allowed), bit


@pytest.mark.parametrize(("rows", "count"), [(0, 250), (520, 15)])
def test_flipped_bits_anywhere_never_give_wrong_bytes(rows: int, count: int) -> None:
    payload, _, _ = _specimen(rows)
    bits = random.Random(3).sample(range(8 * HEADER_SIZE, 8 * len(payload)), count)
    refused = sum(_refused_or_right(_flipped(payload, bit), rows) for bit in bits)
    # The last bits of a compressed stream may mean nothing; nearly all must be noticed.
    assert refused > 0.99 * count


def test_every_cut_is_refused() -> None:
    payload, _, _ = _specimen()
    cuts = {*range(120), *random.Random(4).sample(range(len(payload)), 300), len(payload) - 1}
    for cut in cuts:
        assert _refused_or_right(payload[:cut]), cut


def test_bytes_too_many_are_refused() -> None:
    payload, base, image = _specimen()
    with pytest.raises(PayloadCorrupt, match="1 of payload left"):
        apply_delta(payload + b"\0", base, len(image))


@pytest.mark.parametrize(("rows", "count"), [(0, 200), (520, 15)])
def test_flipped_bits_of_a_description_never_give_wrong_bytes(rows: int, count: int) -> None:
    """Behind the compression, where the numbers are: zstd's own checks do not help there."""
    payload, _, _ = _specimen(rows)
    start = HEADER_SIZE + SECTION_HEADER_SIZE
    header = SectionHeader.parse(
        payload[HEADER_SIZE:start], image_left_bytes=1 << 30, payload_left_bytes=1 << 30
    )
    end = start + header.description_packed_bytes
    plain = zstandard.decompress(payload[start:end], header.description_size_bytes)
    rng = random.Random(5)
    for _ in range(count):
        changed = bytearray(plain)
        for _ in range(rng.randint(1, 3)):
            changed[min(int(rng.expovariate(1 / 200)), len(plain) - 1)] = rng.randrange(256)
        packed = zstandard.compress(bytes(changed))
        section = replace(header, description_packed_bytes=len(packed)).pack() + packed
        _refused_or_right(payload[:HEADER_SIZE] + section + payload[end:], rows)


@pytest.mark.parametrize("change", ["bytes", "size", "record"])
def test_a_wrong_base_is_refused_before_the_first_byte(change: str) -> None:
    payload, base, image = _specimen()
    given: list[bytes | memoryview] = []
    other = {"bytes": b"\1" + base[1:], "size": base + b"\0", "record": base}[change]
    record = bytes(32) if change == "record" else hashlib.sha256(other).digest()
    with pytest.raises(WrongBase, match="expected a delta from base"):
        decode_delta(
            MemorySource(payload),
            MemorySource(other),
            image_size_bytes=len(image),
            base_sha256=record,
            sink=given.append,
        )
    assert not given


def test_another_size_than_the_signed_one_is_refused_before_the_first_byte() -> None:
    payload, base, image = _specimen()
    for size_bytes in (0, len(image) - 1, len(image) + 1, 1 << 40):
        with pytest.raises(PayloadCorrupt, match="expected an image of"):
            apply_delta(payload, base, size_bytes)


def test_an_unknown_feature_is_named() -> None:
    payload, base, image = _specimen()
    changed = payload[:8] + struct.pack("<Q", 8) + payload[16:]
    with pytest.raises(Incompatible, match="got 0x8; update the device"):
        apply_delta(changed, base, len(image))


def test_a_machine_that_rounds_otherwise_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    payload, base, image = _specimen()
    selftest.vector_digest.cache_clear()

    def contracted(kind: ElementKind, rebase: Rebase, old: Bits, difference: Bits) -> Bits:
        right = apply_rebase(kind, rebase, old, difference)
        return np.bitwise_xor(right, 1, dtype=kind.unsigned)  # one in the last place

    monkeypatch.setattr(selftest, "apply_rebase", contracted)
    with pytest.raises(Incompatible, match="send it full payloads"):
        apply_delta(payload, base, len(image))
    selftest.vector_digest.cache_clear()


BASE = bytes(range(256)) * 64


def _crafted(
    segments: list[Segment], other: OtherStreams | None = None, *, size_bytes: int | None = None
) -> bytes:
    """A payload with one section of these segments and no coded symbols."""
    streams = other or OtherStreams(0, [], [(0, 0, 0)])
    raw = pack_description(Description(segments, streams, *NOTHING))
    return _with_description(raw, sum(segment.size_bytes for segment in segments), size_bytes)


def _with_description(raw: bytes, covered: int, size_bytes: int | None = None) -> bytes:
    packed = zstandard.compress(raw)
    size = covered if size_bytes is None else size_bytes
    section = SectionHeader(size, len(raw), len(packed), 0, 0, 0, 0, 12, 0)
    sha256 = hashlib.sha256(BASE).digest()
    return Header(len(BASE), size, sha256, 1).pack() + section.pack() + packed


def _tensor(**changes: object) -> TensorSegment:
    tensor = TensorSegment(1024, 0, FLOAT32, block=256, is_exact=True)
    for name, value in changes.items():
        setattr(tensor, name, value)
    return tensor


def _factors(rows: int, columns: int, rank: int = 1) -> LowRank:
    return LowRank(np.ones((rows, rank), np.float32), np.ones((rank, columns), np.float32))


def _gather(**changes: Any) -> Gather:
    """An honest one: a matrix of 16 by 16, of which both rows and columns are turned round."""
    backwards = np.arange(16, dtype=np.int32)[::-1].copy()
    gather = Gather(16, 16, 1, is_turned=False, rows=backwards, columns=backwards)
    return replace(gather, **changes)


def _places(count: int, place: int) -> NDArray[np.int32]:
    return np.full(count, place, dtype=np.int32)


LIES: dict[str, Segment] = {
    "a gathered matrix past the end": _tensor(gather=_gather(), base_offset=len(BASE) - 1020),
    "a gathered matrix of overflowing size": _tensor(gather=_gather(base_rows=1 << 18)),
    "a gathered matrix without rows": _tensor(gather=_gather(base_rows=0)),
    "a gathered row past the last": _tensor(gather=_gather(rows=_places(16, 16))),
    "a gathered row before the first": _tensor(gather=_gather(rows=_places(16, -2))),
    "a gathered column past the last": _tensor(gather=_gather(columns=_places(16, 16))),
    "gathered rows that do not divide": _tensor(gather=_gather(columns=_places(15, 0))),
    "a gathered unit of nothing": _tensor(gather=_gather(unit=0)),
    "a gathered unit too long": _tensor(gather=_gather(unit=257, columns=_places(1, 0))),
    "a few columns out of very many": _tensor(
        gather=_gather(base_rows=1, base_columns=65, columns=_places(1, 0), rows=_places(256, 0))
    ),
    "fewer gathered rows than said": _tensor(gather=_gather(rows=_places(15, 0))),
    "gathered halves": _tensor(kind=INT4, size_bytes=128, gather=_gather()),
    "holes without bytes": _tensor(gather=_gather(rows=_places(16, -1))),
    "a low rank of rows other than gathered": _tensor(gather=_gather(), predictor=_factors(32, 8)),
    "a copy past the end": Copy(100, len(BASE) - 99),
    "a copy from before the start": Copy(100, -1),
    "a copy from beyond 64 bits": Copy(100, 1 << 66),
    "a tensor past the end": _tensor(base_offset=len(BASE) - 1023),
    "a part of an element": _tensor(size_bytes=1022),
    "a block of nothing": _tensor(block=0),
    "a block larger than the tensor": _tensor(block=257),
    "a matrix past the end": _tensor(transposed=Transposition(16, 1 << 20, 0)),
    "a matrix of overflowing size": _tensor(transposed=Transposition(16, 1 << 61, 0)),
    "a matrix without rows": _tensor(transposed=Transposition(0, 16, 0)),
    "a row that is not there": _tensor(transposed=Transposition(16, 20, 5)),
    "rows that do not divide": _tensor(transposed=Transposition(15, 20, 0)),
    "a transposed tensor of halves": _tensor(kind=INT4, transposed=Transposition(16, 128, 0)),
    "a low rank of integers": _tensor(kind=INT8, predictor=_factors(32, 32)),
    "a low rank of too many": _tensor(predictor=_factors(16, 16, 33)),
    "a low rank of other rows": _tensor(predictor=_factors(16, 17)),
    "a decay of integers": _tensor(
        kind=INT8, predictor=DecayMap(7, np.zeros(128, np.int32), np.zeros(4, np.bool_))
    ),
    "a decay of all bits": _tensor(
        predictor=DecayMap(23, np.zeros(1 << 14, np.int32), np.zeros(1, np.bool_))
    ),
    "a rebase of integers": _tensor(kind=INT8, predictor=Rebase(np.float32(1))),
    "a coded tensor without symbols": _tensor(is_exact=False, scales=np.zeros(1, np.int16)),
    "other bytes that are not there": Other(100),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_segment_is_refused(lie: str) -> None:
    with pytest.raises(PayloadCorrupt):
        apply_delta(_crafted([LIES[lie]]), BASE, LIES[lie].size_bytes)


def test_an_honest_crafted_segment_is_not() -> None:
    """Or the lies above would prove nothing; only its CRC, which is set to 0, is wrong."""
    honest = (
        Copy(100, 5),
        _tensor(),
        _tensor(predictor=_factors(16, 16)),
        _tensor(gather=_gather()),
        _tensor(gather=_gather(is_turned=True), predictor=_factors(16, 16)),
        _tensor(gather=_gather(unit=4, base_columns=4, columns=_places(4, 3))),
    )
    for segment in honest:
        with pytest.raises(PayloadCorrupt, match="CRC"):
            apply_delta(_crafted([segment]), BASE, segment.size_bytes)


def test_segments_must_cover_the_section_exactly() -> None:
    for size_bytes in (99, 101):
        with pytest.raises(PayloadCorrupt):
            apply_delta(_crafted([Copy(100, 0)], size_bytes=size_bytes), BASE, size_bytes)


def _streams(*streams: tuple[int, int, int], mode: int = 0) -> OtherStreams:
    return OtherStreams(mode, [(0, 10)], list(streams))


@pytest.mark.parametrize(
    "streams",
    [
        _streams((0, 1, 100)),
        _streams((0, 0, 1 << 50)),
        _streams((9, 0, 100)),
        _streams((0, 0, 100), mode=4),
        OtherStreams(0, [(len(BASE), 1)], [(0, 0, 100)]),
        OtherStreams(0, [(0, 1 << 60)], [(0, 0, 100)]),
    ],
)
def test_lying_streams_are_refused(streams: OtherStreams) -> None:
    with pytest.raises(PayloadCorrupt):
        apply_delta(_crafted([Other(100)], streams), BASE, 100)


def test_a_million_segments_are_refused_by_their_number() -> None:
    writer = FieldWriter()
    writer.uint(1_000_000)
    with pytest.raises(PayloadCorrupt, match="segments: expected 0 to 65536"):
        apply_delta(_with_description(bytes(writer.data), 100), BASE, 100)


def _peak_bytes(payload: bytes, size_bytes: int) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(PayloadCorrupt):
            apply_delta(payload, BASE, size_bytes)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_bombs_are_refused_in_bounded_memory() -> None:
    zeros = zstandard.compress(bytes(1 << 30))
    sha256 = hashlib.sha256(BASE).digest()
    size_bytes = 1 << 24
    head = Header(len(BASE), size_bytes, sha256, 1).pack()
    for said in (1 << 30, 8 << 20, 100):
        section = SectionHeader(size_bytes, said, len(zeros), 0, 0, 0, 0, 12, 0)
        assert _peak_bytes(head + section.pack() + zeros, size_bytes) < MEMORY_MAX_BYTES
    for mode, packer in ((0, 1), (0, 2), (0, 3), (2, 1)):
        streams = OtherStreams(mode, [(0, len(BASE))], [(packer, len(zeros), 8 << 20)])
        raw = pack_description(Description([Other(8 << 20)], streams, *NOTHING))
        packed = zstandard.compress(raw)
        section = SectionHeader(8 << 20, len(raw), len(packed), len(zeros), 0, 0, 0, 12, 0)
        payload = Header(len(BASE), 8 << 20, sha256, 1).pack() + section.pack() + packed + zeros
        assert _peak_bytes(payload, 8 << 20) < MEMORY_MAX_BYTES


class _Huge:
    """A base of many GiB: a float32 counter, as if it were on disk."""

    size_bytes = 6 << 30

    def read_at(self, offset: int, size: int) -> bytes:
        assert 0 <= offset <= offset + size <= self.size_bytes
        first, last = offset // 4, (offset + size + 3) // 4
        data = np.arange(first, last, dtype=np.uint32).tobytes()
        return data[offset % 4 :][:size]


def test_offsets_beyond_4_gib_are_read_where_they_are() -> None:
    base = _Huge()
    far = (5 << 30) + 4
    turned = Transposition(8, 1 << 24, (1 << 24) - 2)
    segments: list[Segment] = [
        Copy(1000, far + 1),
        TensorSegment(4000, far, FLOAT32, block=1000, is_exact=True),
        TensorSegment(64, far, FLOAT32, block=16, transposed=turned, is_exact=True),
    ]
    streams = OtherStreams(0, [], [(0, 0, 0)])
    raw = pack_description(Description(segments, streams, *NOTHING))
    packed = zstandard.compress(raw)
    rows = [
        np.frombuffer(base.read_at(far + 4 * ((1 << 24) * row + (1 << 24) - 2), 8), np.uint32)
        for row in range(8)
    ]
    wanted = base.read_at(far + 1, 1000) + base.read_at(far, 4000) + np.array(rows).T.tobytes()
    header = SectionHeader(len(wanted), len(raw), len(packed), 0, 0, 0, 0, 12, zlib.crc32(wanted))
    out = bytearray()
    payload = MemorySource(header.pack() + packed)
    decode_sections(payload, 0, 1, base, len(wanted), out.extend)
    assert bytes(out) == wanted
