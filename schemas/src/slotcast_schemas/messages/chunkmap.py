"""One part of a chunk map: the SHA-256 of consecutive chunks of a payload.

The offer pins the SHA-256 of each part's bytes, so a part is believed or dropped alone, and so
is each chunk: any sender, any order, any number of times.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.fields import Format, MapPartIndex, Requires, Sha256
from slotcast_schemas.wire import Message

DIGEST_BYTES = 32
"""The bytes of a SHA-256 digest."""


class MapPart(Message, frozen=True, kw_only=True, tag_field="kind", tag="map"):
    """Digests of the chunks `part * 2048` and following, laid end to end."""

    KIND = "map"
    MAX_BYTES = limits.MAP_PART_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    payload: Sha256
    part: MapPartIndex
    digests: Annotated[
        bytes,
        Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES * limits.MAP_PART_CHUNKS),
    ]

    def __post_init__(self) -> None:
        """Check that the digests are whole.

        Raises:
            ValueError: which `wire.decode` turns into `MalformedMessage`.
        """
        if len(self.digests) % DIGEST_BYTES:
            raise ValueError(f"expected whole digests of 32 bytes, got {len(self.digests)} bytes")
