"""The messages of a payload: its chunks and the parts of its map, read when they are sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slotcast_publisher.delivery.push import Item, Journal
from slotcast_publisher.durable import storage_errors
from slotcast_publisher.store import ReleaseFolder
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.plain_files import open_regular
from slotcast_schemas.topics import Topics


@dataclass(frozen=True, slots=True)
class PayloadItems:
    """The messages of one payload."""

    chunks: list[Item]
    maps: list[Item]

    @property
    def all(self) -> list[Item]:
        """Chunks first."""
        return [*self.chunks, *self.maps]

    @property
    def ends(self) -> list[Item]:
        """First and last chunk, first and last part of the map."""
        return [self.chunks[0], self.chunks[-1], self.maps[0], self.maps[-1]]


def chunk_items(
    topics: Topics, folder: ReleaseFolder, payload: Payload, journal: Journal | None
) -> list[Item]:
    """Give a payload's chunks, to be read when they are sent.

    Args:
        topics: the topics below the repository's prefix.
        folder: the release.
        payload: which of its payloads.
        journal: what the broker has acknowledged of it; None to count nothing as sent.
    """
    file = folder.payload_file(payload)
    return [
        Item(
            topics.chunk(payload.sha256, index),
            payload.chunk_bytes(index),
            _slice(file, index * payload.chunk_size_bytes, payload.chunk_bytes(index)),
            journal,
            index,
        )
        for index in range(payload.chunk_count)
    ]


def map_items(
    topics: Topics, folder: ReleaseFolder, payload: Payload, journal: Journal | None
) -> list[Item]:
    """Give the parts of a payload's chunk map, numbered on from its chunks.

    Args:
        topics: the topics below the repository's prefix.
        folder: the release.
        payload: which of its payloads.
        journal: what the broker has acknowledged of it; None to count nothing as sent.
    """
    found = []
    for part in range(len(payload.map_parts)):
        file = folder.map_file(payload, part)
        with storage_errors(file):
            size_bytes = file.stat().st_size
        topic = topics.map_part(payload.sha256, part)
        read = _slice(file, 0, size_bytes)
        found.append(Item(topic, size_bytes, read, journal, payload.chunk_count + part))
    return found


def _slice(file: Path, offset: int, size_bytes: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with storage_errors(file), open_regular(file) as reader:
            reader.seek(offset)
            return reader.read(size_bytes)

    return read
