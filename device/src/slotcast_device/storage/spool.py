"""Chunks received and not yet used: `incoming/<payload>/`, found again by hashing.

    incoming/<payload>/map.<n>   parts of the chunk map, each as published
    incoming/<payload>/data      the payload, sparse

No note says which chunks are there: after a restart or a power cut each is hashed and compared
with the signed map, so what is claimed is what is held, whatever was synced. One payload is kept
per model; another's is removed, so nothing grows.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from slotcast_device.core.transfer.chunk_map import ChunkMap
from slotcast_device.storage.disk import Disk
from slotcast_schemas import limits
from slotcast_schemas.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slotcast_device.storage.disk import RandomFile
    from slotcast_schemas.messages.offer import Payload


class Spool:
    """The chunks of one payload on disk.

    Args:
        disk: the durable layer.
        model_folder: the model's folder in the state directory.
        payload: whose chunks they are.

    Raises:
        StorageFailed: from every method, if the disk does not do it.
    """

    def __init__(self, disk: Disk, model_folder: Path, payload: Payload) -> None:
        self._disk = disk
        self._incoming = model_folder / "incoming"
        self._folder = self._incoming / payload.sha256.hex()
        self._payload = payload
        self._data: RandomFile | None = None
        self._is_name_durable = False

    @property
    def data_path(self) -> Path:
        """Where the payload's bytes are."""
        return self._folder / "data"

    @property
    def is_empty(self) -> bool:
        """Whether not a byte of the payload is there."""
        return not self._disk.size_bytes(self.data_path)

    def open(self) -> None:
        """Make room for this payload, and remove what other payloads left."""
        self._disk.make_own_dir(self._incoming)
        for name in self._disk.names(self._incoming):
            if name != self._folder.name:
                self._disk.remove_tree(self._incoming / name)
        self._disk.make_own_dir(self._folder)

    def store_map(self, part: int, data: bytes) -> None:
        """Keep a part of the chunk map, so that a restart need not ask for it again.

        Without a sync: a part is believed by its digest, and one that a power cut tore is asked
        for again, which costs a thousandth of the payload.
        """
        writer = self._disk.create(self._folder / f"map.{part}")
        try:
            writer.write(data)
        finally:
            writer.close()

    def map_parts(self) -> dict[int, bytes]:
        """Give the parts that are there and are the ones the offer pins."""
        found = {}
        for part, digest in enumerate(self._payload.map_parts):
            try:
                data = self._disk.read(self._folder / f"map.{part}", limits.MAP_PART_MAX_BYTES)
            except StorageFailed:  # unreadable, or too large: it is asked for again
                continue
            if data is not None and hashlib.sha256(data).digest() == digest:
                found[part] = data
        return found

    def store_chunk(self, index: int, data: bytes) -> None:
        """Write one verified chunk at its place."""
        if self._data is None:
            self._data = self._disk.open_random(self.data_path)
            self._is_name_durable = False
        self._data.write_at(index * self._payload.chunk_size_bytes, data)

    def sync(self) -> None:
        """Bound what a power cut can take: what is synced need not be fetched again."""
        if self._data is not None:
            self._data.sync()
            if not self._is_name_durable:
                self._disk.sync_dir(self._folder)
                self._is_name_durable = True

    def present(
        self, digests: Mapping[int, bytes], stop: Callable[[], bool] = lambda: False
    ) -> set[int]:
        """Hash what is on disk and give the chunks that are there.

        Args:
            digests: the payload's map by part: digests of 2048 chunks end to end.
            stop: asked between chunks; True ends early, with what was found so far.
        """
        size = self._disk.size_bytes(self.data_path)
        if not size:
            return set()
        found = set()
        chunk_map = ChunkMap.of_digests(self._payload, digests)
        file = self._disk.open_read(self.data_path)
        try:
            for index in range(-(-size // self._payload.chunk_size_bytes)):
                if index >= self._payload.chunk_count or stop():
                    break
                offset = index * self._payload.chunk_size_bytes
                data = file.read_at(offset, self._payload.chunk_bytes(index))
                if chunk_map.is_true(index, data):
                    found.add(index)
        finally:
            file.close()
        return found

    def chunk(self, index: int) -> bytes:
        """Give one chunk that was collected."""
        file = self._disk.open_read(self.data_path)
        try:
            size_bytes = self._payload.chunk_bytes(index)
            return file.read_at(index * self._payload.chunk_size_bytes, size_bytes)
        finally:
            file.close()

    def close(self) -> None:
        """Release the file; what was written stays."""
        if self._data is not None:
            self._data.close()
            self._data = None

    def remove(self) -> None:
        """Remove the payload: it is in a slot now, or no longer wanted."""
        self.close()
        self._disk.remove_tree(self._folder)
