"""Payload codecs: how received bytes become an image, on a device and in the publisher's proof.

`full` is the whole image, `delta` is what it takes to make it from a base image.
Both stream from a `Source` to a `Sink` with bounded memory, and trust no number in a payload.
"""

from slotcast_schemas.codecs.delta import decode_delta
from slotcast_schemas.codecs.full import decode_full
from slotcast_schemas.codecs.source import FilesImage, FileSource, MemorySource, Sink, Source

__all__ = [
    "FileSource",
    "FilesImage",
    "MemorySource",
    "Sink",
    "Source",
    "decode_delta",
    "decode_full",
]
