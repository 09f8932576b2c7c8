"""Signed metadata on disk: `REPO/metadata/<version>.<role>.json`, and `timestamp.json`.

The newest version of each role counts. Each file is written whole, and nothing but the notice
makes any of it known to devices, so that a command that was stopped can simply be run again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from slotcast_publisher.durable import write_atomic
from slotcast_publisher.errors import NotFound, RepositoryDamaged

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)
_VERSIONED: Final = re.compile(r"([1-9][0-9]*)\.(.+)\.json")


def to_bytes(metadata: Metadata[T]) -> bytes:
    """Give the bytes that travel: compact, because a notice counts every one."""
    return metadata.to_bytes(JSONSerializer(compact=True))


class MetadataFiles:
    """The repository's signed metadata."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def versions(self, role: str) -> list[int]:
        """Give the versions of a role that are here, in order."""
        if role == Timestamp.type:
            path = self._folder / "timestamp.json"
            return [self.read(role, Timestamp).signed.version] if path.exists() else []
        found = (_VERSIONED.fullmatch(p.name) for p in self._folder.glob(f"*.{role}.json"))
        return sorted(int(match[1]) for match in found if match and match[2] == role)

    def roles(self) -> set[str]:
        """Name every role that has signed metadata, but for the timestamp."""
        found = (_VERSIONED.fullmatch(path.name) for path in self._folder.glob("*.json"))
        return {match[2] for match in found if match}

    def name(self, role: str, version: int) -> str:
        """Name the file, as a TUF client asks for it."""
        return "timestamp.json" if role == Timestamp.type else f"{version}.{role}.json"

    def read_bytes(self, role: str, version: int | None = None) -> bytes:
        """Give the signed bytes, of the newest version unless told.

        Raises:
            NotFound: there is none.
            RepositoryDamaged: it cannot be read.
        """
        if version is None and role != Timestamp.type:
            versions = self.versions(role)
            if not versions:
                raise NotFound(f"no signed metadata of role {role!r} in {self._folder}")
            version = versions[-1]
        path = self._folder / self.name(role, version or 0)
        try:
            return path.read_bytes()
        except FileNotFoundError as exc:
            raise NotFound(f"no signed metadata {path.name} in {self._folder}") from exc
        except OSError as exc:
            raise RepositoryDamaged(f"could not read {path}: {exc}") from exc

    def read(self, role: str, kind: type[T], version: int | None = None) -> Metadata[T]:
        """Give the metadata, of the newest version unless told.

        Args:
            role: the role's name.
            kind: the class that its metadata must be of.
            version: which of its versions.

        Raises:
            NotFound: there is none.
            RepositoryDamaged: it is not metadata of that kind.
        """
        data = self.read_bytes(role, version)
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(data)
        except (DeserializationError, RepositoryError) as exc:
            raise RepositoryDamaged(f"metadata of role {role!r}: {exc}") from exc
        if not isinstance(metadata.signed, kind):
            raise RepositoryDamaged(f"metadata of role {role!r}: expected {kind.type}")
        return metadata

    def write(self, role: str, metadata: Metadata[T]) -> None:
        """Write one version durably.

        Raises:
            StorageFailed: the disk is full, read-only or failing.
        """
        path = self._folder / self.name(role, metadata.signed.version)
        write_atomic(path, to_bytes(metadata))

    def prune(self, role: str, keep: int) -> None:
        """Remove all but the newest versions of a role."""
        for version in self.versions(role)[:-keep]:
            (self._folder / self.name(role, version)).unlink(missing_ok=True)
