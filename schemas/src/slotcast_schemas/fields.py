"""Types of single fields, shared by all messages: each is bounded once, here."""

from __future__ import annotations

import sys
from typing import Annotated, Final, Literal

from msgspec import Meta

from slotcast_schemas import limits

Format = Literal[1]
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
DeviceId = Annotated[str, Meta(pattern=DEVICE_PATTERN, max_length=64)]
Version = Annotated[str, Meta(min_length=1, max_length=64, pattern=VERSION_PATTERN)]
"""PEP 440, for people; devices compare `sequence`."""
Sequence = Annotated[int, Meta(ge=1, le=limits.SAFE_INTEGER_MAX)]
Sha256 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=0, le=limits.SAFE_INTEGER_MAX)]
SizeBytes = Annotated[int, Meta(ge=0, le=limits.IMAGE_MAX_BYTES)]
UnixTime = Annotated[int, Meta(ge=0, le=limits.SAFE_INTEGER_MAX)]
"""Whole seconds since 1970-01-01 UTC."""
Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]
Ratio = Annotated[float, Meta(ge=0.0, le=1e6)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""Any number, but neither infinity nor NaN: JSON has no word for them. Unknown is null."""
MapPartIndex = Annotated[int, Meta(ge=0, lt=limits.MAP_PARTS_MAX)]
BlockIndex = Annotated[int, Meta(ge=0, lt=limits.BLOCKS_MAX)]
FilePath = Annotated[str, Meta(pattern=PATH_PATTERN, max_length=limits.PATH_MAX_CHARS)]
"""Relative, at most eight levels, no part that begins with a dot: it cannot leave a slot."""
Word = Annotated[str, Meta(pattern=WORD_PATTERN, max_length=64)]
ShortText = Annotated[str, Meta(max_length=128)]
Detail = Annotated[str, Meta(max_length=limits.DETAIL_MAX_CHARS)]
TagKey = Annotated[str, Meta(pattern=TAG_KEY_PATTERN, max_length=64)]
TagValue = Annotated[str, Meta(max_length=128)]
Tags = Annotated[dict[TagKey, TagValue], Meta(max_length=limits.TAGS_MAX)]
