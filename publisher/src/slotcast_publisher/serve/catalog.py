"""What is offered now: notices to announce, and payloads whose pieces may be sent again.

A catalog never changes; a new look at the repository makes a new one, of which only what changed
is read (`changes`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slotcast_publisher.durable import storage_errors
from slotcast_publisher.errors import RepositoryDamaged
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.wants import WantedPiece
from slotcast_schemas import wire
from slotcast_schemas.messages import Notice
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.plain_files import open_regular
from slotcast_schemas.trust import offer_target


@dataclass(frozen=True, slots=True)
class Announcement:
    """A notice as it is signed now.

    Attributes:
        notice: its bytes.
        offer: the digest of the offer in it.
        rollout: which it is of.
        expires_s: when the first signature that it rests on ends, in seconds since 1970.
    """

    notice: bytes
    offer: str
    rollout: str = ""
    expires_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Stored:
    """An offered payload, of which model it is, and where its bytes are."""

    model: str
    payload: Payload
    file: Path
    maps: tuple[Path, ...]

    def read(self, piece: WantedPiece) -> bytes:
        """Give the bytes of a piece, checked where they can be.

        Raises:
            RepositoryDamaged: what is there is not what was signed.
            StorageFailed: it cannot be read.
        """
        path = self.maps[piece.number] if piece.is_map else self.file
        offset = 0 if piece.is_map else piece.number * self.payload.chunk_size_bytes
        size = -1 if piece.is_map else self.payload.chunk_bytes(piece.number)
        with storage_errors(path), open_regular(path) as reader:
            reader.seek(offset)
            data = reader.read(size)
        if not self._is_true(piece, data):
            raise RepositoryDamaged(f"{path}: not the bytes that were signed; release again")
        return data

    def _is_true(self, piece: WantedPiece, data: bytes) -> bool:
        if piece.is_map:
            return hashlib.sha256(data).digest() == self.payload.map_parts[piece.number]
        return len(data) == self.payload.chunk_bytes(piece.number)


@dataclass(frozen=True, slots=True)
class Catalog:
    """One look at a repository."""

    announcements: Mapping[str, Announcement]
    payloads: Mapping[bytes, Stored]


def look_at(repo: Repository, model: str) -> tuple[Announcement, dict[bytes, Stored]]:
    """Give a model's notice, and the payloads of the offer in it, unless that is canceled.

    Raises:
        NotFound: nothing is offered.
        SlotcastError: the notice would not be believed, or the repository is damaged.
    """
    notice, said = repo.prove_notice(model)
    offer_bytes = wire.decode(notice, Notice).targets[offer_target(model)]
    offer = said.offer
    announcement = Announcement(
        notice,
        hashlib.sha256(offer_bytes).hexdigest(),
        offer.deployment,
        said.expires.timestamp(),
    )
    if offer.state == "canceled" or repo.store.is_without_files(model, offer.version):
        return announcement, {}
    folder = repo.store.folder(model, offer.version)
    return announcement, {
        payload.sha256: Stored(
            model,
            payload,
            folder.payload_file(payload),
            tuple(folder.map_file(payload, part) for part in range(len(payload.map_parts))),
        )
        for payload in offer.payloads
    }
