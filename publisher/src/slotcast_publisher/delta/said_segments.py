"""What a small delta says, read back from it, so that it can be said in fewer bytes.

Only deltas of which nothing is coded can be; their segments are all that there is to say.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Final

from slotcast_schemas.codecs.delta.description_format import parse_description
from slotcast_schemas.codecs.delta.headers import (
    FEATURE_RECORDS,
    HEADER_SIZE,
    SECTION_HEADER_SIZE,
    Header,
    SectionHeader,
)
from slotcast_schemas.codecs.delta.segments import (
    Other,
    Segment,
    TensorSegment,
    other_bytes_of,
)
from slotcast_schemas.codecs.source import Source

TRIED_MAX: Final = 64 * 1024
"""The largest delta that is tried: of a larger one, what the form itself takes is nothing."""

_OTHER_MAX: Final = 8 * 1024 * 1024
"""The most other bytes that are told by copies: more are not read into memory at once."""


_READ_BYTES: Final = 1024 * 1024
"""The bytes that are read at once."""


@dataclass(frozen=True, slots=True)
class DeltaContents:
    """A delta's header, and the segments of all its sections."""

    header: Header
    segments: list[Segment]


def said_by(payload: bytes, old: Source, new: Source) -> DeltaContents | None:
    """Give what a delta in the long form says; None where that is more than copies and bytes.

    Args:
        payload: the delta, which makes the new image.
        old: the image that it starts from.
        new: the image that it makes.
    """
    header = Header.parse(
        payload,
        base_size_bytes=old.size_bytes,
        base_sha256=payload[32:64],
        image_size_bytes=new.size_bytes,
    )
    segments = _read_segments(payload, header)
    if segments is None or sum(map(other_bytes_of, segments)) > _OTHER_MAX:
        return None
    return DeltaContents(header, segments)


def _read_segments(payload: bytes, header: Header) -> list[Segment] | None:
    """The segments of all sections; None where a script cannot say them."""
    if header.features & FEATURE_RECORDS:
        return None
    segments: list[Segment] = []
    offset, left = HEADER_SIZE, header.image_size_bytes
    for _ in range(header.section_count):
        section = SectionHeader.parse(
            payload[offset : offset + SECTION_HEADER_SIZE],
            image_left_bytes=left,
            payload_left_bytes=len(payload),
        )
        offset += SECTION_HEADER_SIZE
        packed = payload[offset : offset + section.description_packed_bytes]
        said = parse_description(packed, section, base_size_bytes=header.base_size_bytes)
        segments += said.segments
        offset += section.body_bytes
        left -= section.image_size_bytes
    if not all(map(_can_be_said, segments)):
        return None
    # The block of an exact tensor, how many elements share a scale, says nothing.
    return [
        replace(each, block=1) if isinstance(each, TensorSegment) else each for each in segments
    ]


def _can_be_said(segment: Segment) -> bool:
    """Whether nothing of a segment is coded, predicted or given for holes."""
    if not isinstance(segment, TensorSegment):
        return True
    return segment.is_exact and segment.predictor is None and not other_bytes_of(segment)


def given_bytes(target: Source, segments: list[Segment], position: int = 0) -> bytes:
    """Give the other bytes of segments, in the order of the image.

    Args:
        target: the new image.
        segments: segments that follow one another.
        position: where in the image the first begins.
    """
    parts = []
    for segment in segments:
        if isinstance(segment, Other):
            parts.append(target.read_at(position, segment.size_bytes))
        position += segment.size_bytes
    return b"".join(parts)


def crc32_of(source: Source, start: int, end: int) -> int:
    """Give the CRC-32 of a part of an image.

    Args:
        source: the image.
        start: where the part begins.
        end: where it ends.
    """
    crc32 = 0
    for offset in range(start, end, _READ_BYTES):
        crc32 = zlib.crc32(source.read_at(offset, min(_READ_BYTES, end - offset)), crc32)
    return crc32
