"""The compact form of a delta: copies of the base and bytes between them, in a few dozen bytes.

Where little changed, what the long form says of itself is most of a delta: its sections, their
streams and checks. This form has one script for the whole image and one packer for the whole script
(docs/delta-format.md, section 13). Tensors may be transposed or gathered, but nothing is coded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from slotcast_schemas.codecs.delta.bounded_fields import FieldReader, FieldWriter
from slotcast_schemas.codecs.delta.gather_format import read_gather_maps, write_map
from slotcast_schemas.codecs.delta.script_packers import (
    PACK_DICTIONARY,
    SCRIPT_MAX,
    pack_smallest,
    pack_with_dictionary,
    unpack,
)
from slotcast_schemas.codecs.delta.segment_format import read_segment, write_segment
from slotcast_schemas.codecs.delta.segments import (
    SEGMENTS_MAX,
    Copy,
    Other,
    Segment,
    TensorSegment,
    other_bytes_of,
)
from slotcast_schemas.codecs.source import Source
from slotcast_schemas.errors import Incompatible, PayloadCorrupt, WrongBase

COMPACT: Final = 0x80
"""The bit of the first byte that tells this form from the long one, which begins with an S."""

_HEAD: Final = struct.Struct("<B8sI")
HEAD_SIZE: Final = _HEAD.size
"""The bytes before the script: the form, the base's digest as far as it goes, a CRC-32."""

_BASE_CHECK_BYTES: Final = 8
"""The first bytes of the base's digest that are checked. The signed offer names all of it; these
tell a mistake, before a byte is written."""

_REST: Final = 1
"""Stands for a copy of all that is left of the image."""

_TENSOR: Final = 0
"""Stands for a tensor, which follows as it does in the long form."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a compact delta says.

    Attributes:
        segments: of the whole image, in order; tensors are exact, have no predictor, and blocks
            of one element, which say nothing.
        given: the other bytes, in the order of the image.
        crc32: of the image.
    """

    segments: list[Segment]
    given: bytes
    crc32: int


def is_compact(payload: Source) -> bool:
    """Say whether a delta is of this form."""
    return payload.size_bytes > 0 and payload.read_at(0, 1)[0] >= COMPACT


def pack_compact(
    raw: bytes, base_sha256: bytes, crc32: int, dictionary: bytes | None = None
) -> bytes:
    """Give the delta's bytes, packed by whichever packer gives the fewest.

    Args:
        raw: its script, of fewer bytes than `SCRIPT_MAX`.
        base_sha256: the digest of the image that it starts from.
        crc32: of the image that it makes.
        dictionary: the base's `dictionary_of`, to pack with that alone.
    """
    if dictionary is None:
        packer, packed = pack_smallest(raw)
    else:
        packer, packed = PACK_DICTIONARY, pack_with_dictionary(raw, dictionary)
    return _HEAD.pack(COMPACT | packer, base_sha256[:_BASE_CHECK_BYTES], crc32) + packed


def pack_script(script: Script) -> bytes:
    """Give the script's bytes, before they are packed."""
    writer = FieldWriter()
    expected_offset = 0
    for index, segment in enumerate(script.segments):
        is_last = index == len(script.segments) - 1
        if isinstance(segment, TensorSegment):
            writer.uint(_TENSOR)
            expected_offset = write_segment(writer, segment, expected_offset)
        elif isinstance(segment, Copy):
            writer.uint(_REST if is_last else segment.size_bytes << 1 | 1)
            writer.sint(segment.base_offset - expected_offset)
            expected_offset = segment.base_offset + segment.size_bytes
        else:
            writer.uint(segment.size_bytes << 1)
    for segment in script.segments:
        if isinstance(segment, TensorSegment) and segment.gather is not None:
            write_map(writer, segment.gather.rows)
            write_map(writer, segment.gather.columns)
    writer.raw(script.given)
    return bytes(writer.data)


def read_compact(
    payload: Source, base: Source, *, base_sha256: bytes, image_size_bytes: int
) -> Script:
    """Read a compact delta and check it against what the caller has and expects.

    Args:
        payload: the delta.
        base: the image that is there.
        base_sha256: the digest of the image that is there.
        image_size_bytes: the size of the image that is signed.

    Raises:
        PayloadCorrupt: it does not unpack, or a number is out of its bounds.
        Incompatible: it is of a form, or packed in a way, that came later.
        WrongBase: it starts from another image.
        SlotDamaged: the base cannot be read.
    """
    if not HEAD_SIZE <= payload.size_bytes < HEAD_SIZE + SCRIPT_MAX:
        raise PayloadCorrupt(
            f"expected a compact delta of {HEAD_SIZE} and fewer than {SCRIPT_MAX} bytes,"
            f" got {payload.size_bytes}"
        )
    form, base_check, crc32 = _HEAD.unpack(payload.read_at(0, HEAD_SIZE))
    if not COMPACT <= form <= COMPACT | PACK_DICTIONARY:
        raise Incompatible(
            f"expected a compact delta of form {COMPACT:#x} to {COMPACT | PACK_DICTIONARY:#x}, got"
            f" {form:#x}; update the device's software or send it a full payload"
        )
    if base_check != base_sha256[:_BASE_CHECK_BYTES]:
        raise WrongBase(
            f"expected a delta from base {base_sha256.hex()}, got one from {base_check.hex()}..."
        )
    packed = payload.read_at(HEAD_SIZE, payload.size_bytes - HEAD_SIZE)
    reader = FieldReader(unpack(form & ~COMPACT, packed, base))
    segments = _read_segments(reader, base.size_bytes, image_size_bytes)
    given = reader.rest()
    total = sum(other_bytes_of(segment) for segment in segments)
    if len(given) != total:
        raise PayloadCorrupt(f"expected {total} other bytes, got {len(given)}")
    return Script(segments, given, crc32)


def _read_segments(
    reader: FieldReader, base_size_bytes: int, image_size_bytes: int
) -> list[Segment]:
    segments: list[Segment] = []
    left, expected_offset = image_size_bytes, 0
    while left:
        if len(segments) >= SEGMENTS_MAX:
            raise PayloadCorrupt(f"expected at most {SEGMENTS_MAX} segments, got more")
        segment, expected_offset = _read_segment(reader, left, expected_offset, base_size_bytes)
        segments.append(segment)
        left -= segment.size_bytes
    for segment in segments:
        if isinstance(segment, TensorSegment):
            segment.gather = read_gather_maps(reader, segment.gather)
    return segments


def _read_segment(
    reader: FieldReader, left: int, expected_offset: int, base_size_bytes: int
) -> tuple[Segment, int]:
    number = reader.uint("segment", 2 * left + 1)
    if number == _TENSOR:
        tensor, end = read_segment(reader, left, expected_offset, base_size_bytes)
        if not isinstance(tensor, TensorSegment) or not _is_plain(tensor):
            raise PayloadCorrupt("expected an exact tensor without a predictor, got another")
        return tensor, end
    size_bytes = left if number == _REST else number >> 1
    if not number & 1:
        return Other(size_bytes), expected_offset
    offset = expected_offset + reader.sint("base offset")
    if not 0 <= offset <= base_size_bytes - size_bytes:
        raise PayloadCorrupt(
            f"expected a copy within {base_size_bytes} bytes, got {size_bytes} at {offset}"
        )
    return Copy(size_bytes, offset), offset + size_bytes


def _is_plain(tensor: TensorSegment) -> bool:
    return tensor.is_exact and tensor.predictor is None and tensor.block == 1
