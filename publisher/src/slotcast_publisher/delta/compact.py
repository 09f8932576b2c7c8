"""Small deltas once more, in the compact form: the same copies and the same new bytes, said short.

What a delta in the long form says is read back from it, so nothing is searched for a second time
but in its other bytes. Only deltas of which nothing is coded have a compact form.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from slotcast_publisher.delta.flat_script import flatten
from slotcast_publisher.delta.layout import image_of
from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.delta.compact import (
    SCRIPT_MAX,
    Script,
    pack_compact,
    pack_script,
)
from slotcast_schemas.codecs.delta.description_format import parse_description
from slotcast_schemas.codecs.delta.headers import (
    FEATURE_RECORDS,
    HEADER_SIZE,
    SECTION_HEADER_SIZE,
    Header,
    SectionHeader,
)
from slotcast_schemas.codecs.delta.segments import (
    SEGMENTS_MAX,
    Other,
    Segment,
    TensorSegment,
    other_bytes_of,
)
from slotcast_schemas.codecs.source import Source

TRIED_MAX: Final = 64 * 1024
"""The largest delta that is tried: of a larger one, what the form itself takes is nothing."""

_WINDOWS: Final = (4, 8, 16, 32)
"""The least bytes of copies that are tried."""

_OTHER_MAX: Final = 8 * 1024 * 1024
"""The most other bytes that are told by copies: more are not read into memory at once."""

_READ_BYTES: Final = 1024 * 1024
"""The bytes that are read at once."""


def write_compact(delta: Path, base: Image, target: Image, out: Path) -> int | None:
    """Write to `out` what a delta says, in the compact form; None where that is no smaller.

    Args:
        delta: the delta in the long form.
        base: files of the release that it starts from.
        target: files of the release that it makes.
        out: the compact delta; replaced if it exists. It may be the delta itself.

    Returns:
        Its size in bytes.

    Raises:
        SlotDamaged: a file cannot be read.
        OSError: `out` cannot be written.
    """
    if delta.stat().st_size > TRIED_MAX:
        return None
    payload = delta.read_bytes()
    with image_of(base) as old, image_of(target) as new:
        compact = _compact(payload, old, new)
    if compact is None or len(compact) >= len(payload):
        return None
    out.write_bytes(compact)
    return len(compact)


def _compact(payload: bytes, old: Source, new: Source) -> bytes | None:
    header = Header.parse(
        payload,
        base_size_bytes=old.size_bytes,
        base_sha256=payload[32:64],
        image_size_bytes=new.size_bytes,
    )
    segments = _read_segments(payload, header)
    if segments is None or sum(map(other_bytes_of, segments)) > _OTHER_MAX:
        return None
    crc32 = _crc32(new)
    candidates = []
    for window in _WINDOWS:
        flat = flatten(old, new, segments, window)
        if flat is None or len(flat) > SEGMENTS_MAX:
            continue
        script = pack_script(Script(flat, _given(new, flat), crc32))
        if len(script) < SCRIPT_MAX:
            candidates.append(pack_compact(script, header.base_sha256, crc32))
    return min(candidates, key=len, default=None)


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


def _given(target: Source, segments: list[Segment]) -> bytes:
    """The other bytes, in the order of the image."""
    parts, position = [], 0
    for segment in segments:
        if isinstance(segment, Other):
            parts.append(target.read_at(position, segment.size_bytes))
        position += segment.size_bytes
    return b"".join(parts)


def _crc32(source: Source) -> int:
    crc32 = 0
    for offset in range(0, source.size_bytes, _READ_BYTES):
        size_bytes = min(_READ_BYTES, source.size_bytes - offset)
        crc32 = zlib.crc32(source.read_at(offset, size_bytes), crc32)
    return crc32
