"""The `full` payload: the whole image, as it is, in zstd frames, or in frames that know floats.

Decoding streams: a window or a section bounds memory, whatever the image's size.
Whether the image is the one that was signed is left to the caller, who hashes what the sink gets.
"""

from __future__ import annotations

from typing import IO, Final, Literal, cast

import zstandard

from slotcast_schemas.codecs.full_weights import decode_frames
from slotcast_schemas.codecs.source import Sink, Source
from slotcast_schemas.errors import PayloadCorrupt

Compression = Literal["zstd", "none", "weights"]
"""How a full payload is packed: each file a zstd frame, not at all, or a frame of weights."""

FULL_CODECS: Final[dict[str, Compression]] = {
    "full+zstd": "zstd",
    "full+none": "none",
    "full+weights": "weights",
}
"""How the payload of each codec of whole images is packed, by the name that offers have for it."""

WINDOW_MAX_BYTES: Final = 8 * 1024 * 1024
"""The most that a frame may make a device hold (RFC 8878, 3.1.1.1.2); ours mostly need 256 KiB."""

_STEP_BYTES: Final = 512 * 1024
"""Large enough that a decoding thread and a receiving one meet seldom: each step gives the
interpreter's lock away four times."""


class _Reader:
    """The payload as the file that zstandard's stream reader wants."""

    def __init__(self, payload: Source) -> None:
        self._payload = payload
        self._offset = 0

    def read(self, size: int) -> bytes:
        take = min(size, self._payload.size_bytes - self._offset)
        data = self._payload.read_at(self._offset, take)
        self._offset += take
        return data


def decode_full(
    payload: Source, *, image_size_bytes: int, sink: Sink, compression: Compression
) -> None:
    """Give the image to `sink`, in order, exactly `image_size_bytes` of it.

    Args:
        payload: the received payload.
        image_size_bytes: the signed size; never exceeded, whatever the payload says.
        sink: gets the bytes, in pieces of at most 512 KiB; each is valid until the call returns.
        compression: how the offer says that the payload is packed.

    Raises:
        PayloadCorrupt: the payload does not decode to exactly that many bytes.
        Incompatible: it needs what this decoder has not; frames of weights alone may.
    """
    if compression == "none":
        _copy(payload, image_size_bytes, sink)
        return
    if compression == "weights":
        decode_frames(payload, image_size_bytes=image_size_bytes, sink=sink)
        return
    try:
        _decompress(payload, image_size_bytes, sink)
    except zstandard.ZstdError as exc:
        raise PayloadCorrupt(f"expected one zstd frame of the image, got: {exc}") from exc


def _copy(payload: Source, image_size_bytes: int, sink: Sink) -> None:
    if payload.size_bytes != image_size_bytes:
        raise PayloadCorrupt(
            f"expected a payload of {image_size_bytes} bytes, got {payload.size_bytes}"
        )
    for offset in range(0, image_size_bytes, _STEP_BYTES):
        sink(payload.read_at(offset, min(_STEP_BYTES, image_size_bytes - offset)))


def _decompress(payload: Source, image_size_bytes: int, sink: Sink) -> None:
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES)
    # Reading across frames makes bytes after the frame show: as an error, or as output too many.
    # Output is asked for in small pieces, so that 4 bytes of a run cannot become 128 KiB at once.
    reader = decompressor.stream_reader(
        cast("IO[bytes]", _Reader(payload)), read_size=_STEP_BYTES, read_across_frames=True
    )
    left = image_size_bytes
    buffer = memoryview(bytearray(min(_STEP_BYTES, left)))
    while left > 0:
        size = reader.readinto(buffer[:left])
        if not size:
            raise PayloadCorrupt(
                f"expected {image_size_bytes} bytes of image, got {image_size_bytes - left}"
            )
        left -= size
        sink(buffer[:size])
    if reader.read(1):
        raise PayloadCorrupt(f"expected {image_size_bytes} bytes of image, got more")
