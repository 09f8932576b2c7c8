"""A delta in the long form with fewer bytes around what it says, for every decoder that there is.

Where little changed, the sections of an image have headers and descriptions of their own, and other
bytes a list of the ranges of the base that they were packed against. Told as copies and given bytes
(`flat_script`), in as few sections as the format allows, that is often half as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import zstandard

from slotcast_publisher.delta.flat_script import flatten_each
from slotcast_publisher.delta.layout import image_of
from slotcast_publisher.delta.other import pack
from slotcast_publisher.delta.said_segments import TRIED_MAX, crc32_of, given_bytes, said_by
from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.delta.description_format import pack_description
from slotcast_schemas.codecs.delta.headers import SECTION_IMAGE_MAX, SectionHeader
from slotcast_schemas.codecs.delta.segments import (
    CONTEXT_COUNT,
    MODE_PLAIN,
    SEGMENTS_MAX,
    SYMBOL_COUNT,
    Copy,
    Description,
    Other,
    OtherStreams,
    Segment,
)
from slotcast_schemas.codecs.source import Source


@dataclass(slots=True)
class _Section:
    """Segments that make one section, which begins at `start` in the image."""

    start: int
    segments: list[Segment] = field(default_factory=list)
    size_bytes: int = 0


def shorten(delta: Path, base: Image, target: Image) -> tuple[int, int] | None:
    """Write a delta of which nothing is coded anew, if that makes it shorter.

    Args:
        delta: the delta in the long form; replaced by what is shorter.
        base: files of the release that it starts from.
        target: files of the release that it makes.

    Returns:
        How many bytes it then has, and how many sections; None where it stayed as it was.

    Raises:
        SlotDamaged: a file cannot be read.
        OSError: the delta cannot be written.
    """
    if delta.stat().st_size > TRIED_MAX:
        return None
    payload = delta.read_bytes()
    with image_of(base) as old, image_of(target) as new:
        said = said_by(payload, old, new)
        if said is None:
            return None
        found: list[tuple[bytes, int]] = []
        for flat in flatten_each(old, new, said.segments):
            sections = list(_cut(flat))
            if sections and all(len(each.segments) <= SEGMENTS_MAX for each in sections):
                header = replace(said.header, section_count=len(sections)).pack()
                body = b"".join(_encode(new, section) for section in sections)
                found.append((header + body, len(sections)))
    best = min(found, key=lambda each: len(each[0]), default=None)
    if best is None or len(best[0]) >= len(payload):
        return None
    delta.write_bytes(best[0])
    return len(best[0]), best[1]


def _cut(segments: list[Segment]) -> Iterator[_Section]:
    """As few sections as the format allows; a copy, or other bytes, may lie in two of them."""
    section = _Section(0)
    for segment in segments:
        left: Segment | None = segment
        while left is not None:
            room = SECTION_IMAGE_MAX - section.size_bytes
            part, left = _split(left, room)
            if part is not None:
                section.segments.append(part)
                section.size_bytes += part.size_bytes
            if left is not None:
                yield section
                section = _Section(section.start + section.size_bytes)
    if section.segments:
        yield section


def _split(segment: Segment, room: int) -> tuple[Segment | None, Segment | None]:
    """What of a segment has room, and what has not."""
    if segment.size_bytes <= room:
        return segment, None
    rest_bytes = segment.size_bytes - room
    if room and isinstance(segment, Copy):
        return Copy(room, segment.base_offset), Copy(rest_bytes, segment.base_offset + room)
    if room and isinstance(segment, Other):
        return Other(room), Other(rest_bytes)
    return None, segment


def _encode(target: Source, section: _Section) -> bytes:
    given = given_bytes(target, section.segments, section.start)
    packer, stored = pack(given, is_in_crumbs=True)
    streams = OtherStreams(MODE_PLAIN, [], [(packer, len(stored), len(given))])
    unused = (np.zeros(n, dtype=np.bool_) for n in (CONTEXT_COUNT, SYMBOL_COUNT))
    raw = pack_description(Description(section.segments, streams, *unused))
    packed = zstandard.ZstdCompressor(19).compress(raw)
    sizes = section.size_bytes, len(raw), len(packed), len(stored)
    crc32 = crc32_of(target, section.start, section.start + section.size_bytes)
    header = SectionHeader(*sizes, 0, 0, 0, 12, crc32)
    return header.pack() + packed + stored
