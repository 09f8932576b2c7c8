"""Types of single fields, shared by all messages: each is bounded once, here."""

from __future__ import annotations

import sys
from typing import Annotated, Final, Literal

from msgspec import Meta

from slotcast_schemas import limits

Format = Literal[1]
"""The version of the message format, which every message bears."""

Requires = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
    Meta(max_length=limits.REQUIRES_MAX),
]
"""Names of features without which a reader must refuse the message."""

MODEL_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}\Z"
DEVICE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
PATH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,7}\Z"
VERSION_PATTERN = r"^[0-9A-Za-z.!+_-]+\Z"
WORD_PATTERN = r"^[a-z][a-z0-9_]*\Z"
TAG_KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z"
FILE_NAME_PATTERN = r"^[A-Za-z0-9._-]+\Z"
SLOT_PATTERN = r"^[ab]\Z"

ALLOWED: Final = {
    MODEL_PATTERN: "up to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
    DEVICE_PATTERN: "up to 64 of A-Z, a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
    PATH_PATTERN: (
        f"up to {limits.PATH_MAX_CHARS} of A-Z, a-z, 0-9, '.', '_', '-', and '/' between at most"
        " eight parts, each beginning with a letter, a digit or '_'"
    ),
    VERSION_PATTERN: "a PEP 440 version such as 1.4.0 or 2.0rc1",
    WORD_PATTERN: "a word of a-z, 0-9 and '_', beginning with a letter",
    TAG_KEY_PATTERN: "up to 64 of A-Z, a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
    SLOT_PATTERN: "a or b",
    FILE_NAME_PATTERN: "a file name of A-Z, a-z, 0-9, '.', '_', '-'",
}
"""What people are told that a pattern allows (`slotcast_schemas.explain`)."""

ModelName = Annotated[str, Meta(pattern=MODEL_PATTERN, max_length=64)]
"""The name of a model."""

DeviceId = Annotated[str, Meta(pattern=DEVICE_PATTERN, max_length=64)]
"""The id of a device."""

Version = Annotated[str, Meta(min_length=1, max_length=64, pattern=VERSION_PATTERN)]
"""A version as PEP 440 has it, for people; devices compare `sequence`."""
Sequence = Annotated[int, Meta(ge=1, le=limits.SAFE_INTEGER_MAX)]
"""The place of a release in the order of its model's releases, from 1 on."""

Sha256 = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""A SHA-256 digest, 32 bytes."""

Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
"""A signature of a device's identity key (`slotcast_schemas.identity`)."""

MaybeSha256 = Annotated[bytes, Meta(max_length=32)]
"""A SHA-256 digest, or nothing where it is not known."""

Count = Annotated[int, Meta(ge=0, le=limits.SAFE_INTEGER_MAX)]
"""A number of things."""

SizeBytes = Annotated[int, Meta(ge=0, le=limits.IMAGE_MAX_BYTES)]
"""A size in bytes, of an image at most."""

UnixTime = Annotated[int, Meta(ge=0, le=limits.SAFE_INTEGER_MAX)]
"""A time in whole seconds since 1970-01-01 UTC."""
Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]
"""A time in seconds."""

Ratio = Annotated[float, Meta(ge=0.0, le=1e6)]
"""How many times one value is another."""

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
"""A part of a whole, from 0 to 1."""

Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""Any number, but neither infinity nor NaN, for which JSON has no word. Null stands for unknown."""
MapPartIndex = Annotated[int, Meta(ge=0, lt=limits.MAP_PARTS_MAX)]
"""The number of a part of a chunk map, from 0 on."""

BlockIndex = Annotated[int, Meta(ge=0, lt=limits.BLOCKS_MAX)]
"""The number of a block of chunks, from 0 on."""

FilePath = Annotated[str, Meta(pattern=PATH_PATTERN, max_length=limits.PATH_MAX_CHARS)]
"""A relative path of at most eight levels of which none begins with a dot: it cannot leave a
slot."""
Word = Annotated[str, Meta(pattern=WORD_PATTERN, max_length=64)]
"""A word that programs compare, such as a reason."""

ShortText = Annotated[str, Meta(max_length=128)]
"""A text for people of at most 128 characters."""

Detail = Annotated[str, Meta(max_length=limits.DETAIL_MAX_CHARS)]
"""A text for people that says what happened."""

TagKey = Annotated[str, Meta(pattern=TAG_KEY_PATTERN, max_length=64)]
"""The name of one of a device's tags."""

TagValue = Annotated[str, Meta(max_length=128)]
"""The value of one of a device's tags."""

Tags = Annotated[dict[TagKey, TagValue], Meta(max_length=limits.TAGS_MAX)]
"""A device's tags, which groups of an offer may ask for."""
