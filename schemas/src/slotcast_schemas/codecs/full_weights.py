"""The `full+weights` payload: a frame for each file, of sections that know floats.

The small way to send a whole image where `full+zstd` is the easy one; docs/weights-format.md.
Decoding streams, a section at a time, so memory does not grow with the image.
"""

from __future__ import annotations

import struct
from typing import Final

from slotcast_schemas.codecs.delta.headers import SECTION_HEADER_SIZE
from slotcast_schemas.codecs.delta.weights import decode_section, read_section_header
from slotcast_schemas.codecs.source import Sink, Source
from slotcast_schemas.errors import Incompatible, PayloadCorrupt

MAGIC: Final = b"SLOTWGT1"
"""The bytes that every frame begins with."""

KNOWN_FEATURES: Final = 0
"""The bits of the features that this decoder has; a frame that needs another is refused."""

_FRAME: Final = struct.Struct("<8sQQ")
FRAME_HEADER_SIZE: Final = _FRAME.size
"""The bytes of the header that a frame begins with."""


def pack_frame_header(size_bytes: int) -> bytes:
    """Give the header of a frame that makes so many bytes."""
    return _FRAME.pack(MAGIC, 0, size_bytes)


def decode_frames(payload: Source, *, image_size_bytes: int, sink: Sink) -> None:
    """Give the image to `sink`, in order, exactly `image_size_bytes` of it.

    Args:
        payload: the received frames, end to end.
        image_size_bytes: the signed size; never exceeded, whatever the payload says.
        sink: gets the bytes, in pieces of at most 256 KiB.

    Raises:
        PayloadCorrupt: the payload does not decode to exactly that many bytes.
        Incompatible: it needs what this decoder, or this machine's arithmetic, has not.
    """
    offset, left = 0, image_size_bytes
    while offset < payload.size_bytes:
        size_bytes = _frame_size(payload, offset, left)
        left -= size_bytes
        offset = _decode_frame(payload, offset + FRAME_HEADER_SIZE, size_bytes, sink)
    if left:
        raise PayloadCorrupt(f"expected {image_size_bytes} bytes of image, got {left} fewer")


def _frame_size(payload: Source, offset: int, left: int) -> int:
    if payload.size_bytes - offset < FRAME_HEADER_SIZE:
        raise PayloadCorrupt(f"expected a frame at {offset} of {payload.size_bytes} bytes")
    magic, features, size_bytes = _FRAME.unpack(payload.read_at(offset, FRAME_HEADER_SIZE))
    if magic != MAGIC:
        raise PayloadCorrupt(f"expected a frame to start with {MAGIC!r}, got {magic!r}")
    if features & ~KNOWN_FEATURES:
        raise Incompatible(
            f"expected features within {KNOWN_FEATURES:#x}, got {features:#x};"
            " update the device's software"
        )
    if size_bytes > left:
        raise PayloadCorrupt(f"expected at most {left} more bytes of image, got {size_bytes}")
    return int(size_bytes)


def _decode_frame(payload: Source, offset: int, left: int, sink: Sink) -> int:
    """Decode a frame's sections, which make `left` bytes; give where the frame ends."""
    while left > 0:
        end = payload.size_bytes
        header = read_section_header(payload, offset, image_left_bytes=left, end=end)
        for piece in decode_section(payload, offset, image_left_bytes=left, end=end):
            sink(piece)
        left -= header.image_size_bytes
        offset += SECTION_HEADER_SIZE + header.body_bytes
    return offset
