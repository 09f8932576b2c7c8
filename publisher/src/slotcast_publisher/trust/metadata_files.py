"""Signed metadata on disk: `<version>.<role>.json` in one folder for a set of roles.

    REPO/metadata/                   every root, and the set of roles that models may share
    REPO/metadata/models/<model>/    the set of roles of one model
    REPO/metadata/signed-at          when anything was last signed

The newest version of each role counts. Each file is written whole, and nothing but the notice
makes any of it known to devices, so that a command that was stopped can simply be run again.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from slotcast_publisher.durable import make_dir, write_atomic
from slotcast_publisher.errors import NotFound, RepositoryDamaged
from slotcast_schemas.plain_files import read_regular

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)
_VERSIONED: Final = re.compile(r"([1-9][0-9]*)\.(.+)\.json")


def to_bytes(metadata: Metadata[T]) -> bytes:
    """Give the bytes that travel: compact, because a notice counts every one."""
    return metadata.to_bytes(JSONSerializer(compact=True))


class MetadataFiles:
    """The signed metadata of one set of roles.

    Args:
        folder: where it is.
        roots: where the roots are, which all sets have in common; here unless given.
    """

    def __init__(self, folder: Path, roots: Path | None = None) -> None:
        self._folder = folder
        self._roots = roots or folder

    @property
    def timestamp_file(self) -> Path:
        """The file that is written last, whenever anything of what devices see has changed."""
        return self._folder / "timestamp.json"

    def versions(self, role: str) -> list[int]:
        """Give the versions of a role that are here, in order."""
        if role == Timestamp.type:
            if not self.timestamp_file.exists():
                return []
            return [self.read(role, Timestamp).signed.version]
        found = map(_VERSIONED.fullmatch, _names(self._place(role)))
        return sorted(int(match[1]) for match in found if match and match[2] == role)

    def roles(self) -> set[str]:
        """Name every role that has signed metadata, but for the timestamp."""
        found = map(_VERSIONED.fullmatch, _names(self._folder))
        roots = {Root.type} if self._roots != self._folder else set()
        return roots | {match[2] for match in found if match}

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
                raise NotFound(f"no signed metadata of role {role!r} in {self._place(role)}")
            version = versions[-1]
        path = self._place(role) / self.name(role, version or 0)
        try:
            return read_regular(path)
        except FileNotFoundError as exc:
            raise NotFound(f"no signed metadata {path.name} in {path.parent}") from exc
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
        path = self._place(role) / self.name(role, metadata.signed.version)
        if not path.parent.exists():
            make_dir(path.parent)
        write_atomic(path, to_bytes(metadata))

    def prune(self, role: str, keep: int) -> None:
        """Remove all but the newest versions of a role."""
        for version in self.versions(role)[:-keep]:
            (self._place(role) / self.name(role, version)).unlink(missing_ok=True)

    def _place(self, role: str) -> Path:
        return self._roots if role == Root.type else self._folder


def _names(folder: Path) -> list[str]:
    """Give the names in a folder; none where it is not there, or its owner keeps it closed."""
    if not folder.is_dir():
        return []
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except PermissionError:
        return []


class SignedAt:
    """When anything of a repository was last signed, whichever model it was for.

    By it a clock that went back is noticed, and a service sees with one look whether anything
    changed. It is memory, not truth: without it, each timestamp says the same of its own roles.

    Args:
        path: its file, which is written anew by each timestamp.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def read(self) -> datetime | None:
        """Give the time; None where nothing is known of it."""
        try:
            return datetime.fromisoformat(read_regular(self._path).decode("ascii").strip())
        except (OSError, ValueError):
            return None

    def write(self, when: datetime) -> None:
        """Note a signature.

        Raises:
            StorageFailed: the disk is full, read-only or failing.
        """
        write_atomic(self._path, when.isoformat(timespec="seconds").encode("ascii"))
