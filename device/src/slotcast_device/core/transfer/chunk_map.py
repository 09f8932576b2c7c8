"""The chunk map of a payload: part by part, each believed only if the offer pins its digest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from slotcast_schemas import limits, wire
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.chunkmap import DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotcast_schemas.messages.offer import Payload


class ChunkMap:
    """What each chunk of a payload must hash to.

    Attributes:
        parts: digests of up to 2048 chunks end to end, by part.
        is_whole: whether every chunk's digest is known.
    """

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self.parts: dict[int, bytes] = {}
        self.is_whole = False

    @classmethod
    def of_digests(cls, payload: Payload, parts: Mapping[int, bytes]) -> ChunkMap:
        """Give the map of parts that were accepted before."""
        chunk_map = cls(payload)
        chunk_map.parts = dict(parts)
        chunk_map._count()
        return chunk_map

    def accept(self, part: int, data: bytes) -> bool:
        """Take a part as it was published; False if it is not the one that the offer pins."""
        if not 0 <= part < len(self._payload.map_parts):
            return False
        if hashlib.sha256(data).digest() != self._payload.map_parts[part]:
            return False
        try:
            message = wire.decode(data, MapPart)
        except RefusedRelease:
            return False
        if (message.part, message.payload) != (part, self._payload.sha256):
            return False
        self.parts[part] = message.digests
        self._count()
        return True

    def _count(self) -> None:
        wanted_bytes = DIGEST_BYTES * self._payload.chunk_count
        self.is_whole = sum(map(len, self.parts.values())) == wanted_bytes

    @property
    def missing(self) -> list[int]:
        """Parts that are not here yet."""
        return [p for p in range(len(self._payload.map_parts)) if p not in self.parts]

    def is_true(self, index: int, data: bytes) -> bool:
        """Whether these are the very bytes of a chunk."""
        part, place = divmod(index, limits.MAP_PART_CHUNKS)
        want = self.parts[part][place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        return len(data) == self._payload.chunk_bytes(index) and (
            hashlib.sha256(data).digest() == want
        )
