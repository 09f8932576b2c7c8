"""The devices that are enrolled: a file each in `REPO/devices/enrolled`.

Beside the repository and not in the fleet's database, which may be deleted and is then filled anew
by what devices report: who may report as whom must not come from there (docs/adr/0165). A file has
the request as it came, so that a later version can read of it what this one does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_publisher.durable import exclusive, fsync_dir, make_dir, storage_errors, write_atomic
from slotcast_publisher.enrolment.key_index import KeyIndex, open_key_index
from slotcast_publisher.enrolment.request import ProvenRequest, read_request
from slotcast_publisher.errors import Conflict, NotFound, RepositoryDamaged
from slotcast_schemas.content_key import read_public_key
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.enrolment import REQUEST_MAX_BYTES
from slotcast_schemas.errors import UsageError
from slotcast_schemas.fields import DeviceId, UnixTime
from slotcast_schemas.plain_files import read_start

FOLDER: Final = Path("devices", "enrolled")
"""Where the files lie in a repository."""

_SUFFIX: Final = ".json"
_FILE_MAX_BYTES: Final = 3 * REQUEST_MAX_BYTES
"""The most bytes of a file that are read: a request, written with more room."""
_INDEX: Final = ".enrolled-keys.db"
"""The index of keys, beside the folder; it may be deleted."""
_LOCK_WAIT_S: Final = 10.0
"""The seconds to wait for another command that enrols."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the folder."""

    format: Literal["slotcast-enrolled/1"] = "slotcast-enrolled/1"
    device: DeviceId
    key: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    enrolled: UnixTime
    request: dict[str, Any]


make_decoders(_Kept)


@dataclass(frozen=True, slots=True)
class EnrolledDevice:
    """A device whose key is known.

    Attributes:
        request: what it asked with, proven again.
        enrolled_s: when it was enrolled, seconds since 1970.
    """

    request: ProvenRequest
    enrolled_s: int

    @property
    def device(self) -> str:
        """The device's id."""
        return self.request.device

    @property
    def key_id(self) -> str:
        """The id of its key."""
        return self.request.key_id


class Registry:
    """The enrolled devices of a repository.

    Args:
        repo: the repository's folder.
    """

    def __init__(self, repo: Path) -> None:
        self.folder = repo / FOLDER
        self._index: KeyIndex | None = None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other commands from enrolling or removing meanwhile.

        Raises:
            StateLocked: another one does so for long.
            StorageFailed: the lock cannot be made.
        """
        lock = self.folder.parent / ".enrolment.lock"
        with exclusive(lock, "the enrolled devices", wait_s=_LOCK_WAIT_S), self._open_index():
            yield

    @contextmanager
    def _open_index(self) -> Iterator[KeyIndex]:
        """Give the index of keys, which is kept at the end of the outermost call."""
        if self._index is not None:
            yield self._index
            return
        make_dir(self.folder.parent)
        with open_key_index(self.folder.parent / _INDEX, self.folder) as index:
            self._index = index
            try:
                yield index
            finally:
                self._index = None

    def enrol(
        self, data: bytes, what: str, *, now_s: float, replaces: bool = False
    ) -> tuple[EnrolledDevice, bool]:
        """Enrol the device of a request; the caller holds `changing`.

        Args:
            data: the request.
            what: what messages call it, such as the file's name.
            now_s: the time, seconds since 1970.
            replaces: whether its key may take the place of another one of the device.

        Returns:
            The device, and whether that is anything new.

        Raises:
            UsageError: the request does not hold.
            Conflict: the device is enrolled with another key, or the key with another device.
            StorageFailed: it cannot be written.
        """
        request = read_request(data, what)
        known = self.find(request.device)
        if known is not None and known.key_id == request.key_id:
            if known.request.enrolment == request.enrolment:
                return known, False
        elif known is not None and not replaces:
            raise Conflict(
                f"{request.device} is enrolled with key {known.key_id[:16]}, and {what} has key"
                f" {request.key_id[:16]}: --replace, if you know that the device has a new one"
            )
        kept = _Kept(
            device=request.device,
            key=request.key_id,
            enrolled=int(now_s),
            request=json.loads(data),
        )
        text = msgspec.json.format(msgspec.json.encode(kept), indent=1)
        with self._open_index() as index:
            self._check_key_is_free(index, request)
            index.note(request.key_id, request.device)
            write_atomic(self._path(request.device), text + b"\n")
        return EnrolledDevice(request, kept.enrolled), True

    def _check_key_is_free(self, index: KeyIndex, request: ProvenRequest) -> None:
        holder = index.holder(request.key_id, self._keys)
        if holder is None or holder == request.device:
            return
        known = self.find(holder)
        if known is not None and known.key_id == request.key_id:
            raise Conflict(
                f"key {request.key_id[:16]} is enrolled for {holder}: two devices have one key, as"
                f" if one were a copy of the other; on {request.device}, run `slotcast-device enrol"
                " --new-key`"
            )

    def remove(self, device: str) -> None:
        """Forget a device's key; the caller holds `changing`.

        Raises:
            NotFound: it is not enrolled.
            StorageFailed: it cannot be removed.
        """
        path = self._path(device)
        with self._open_index(), storage_errors(path):
            try:
                path.unlink()
            except FileNotFoundError as exc:
                raise NotFound(f"{device} is not enrolled") from exc
            fsync_dir(path.parent)

    def find(self, device: str) -> EnrolledDevice | None:
        """Give what is known of a device; None where it is not enrolled.

        Raises:
            RepositoryDamaged: its file is not what this software writes.
        """
        path = self._path(device)
        try:
            data = read_start(path, _FILE_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise RepositoryDamaged(f"{path}: {exc.strerror}") from exc
        try:
            kept = msgspec.json.decode(data, type=_Kept)
            request = read_request(json.dumps(kept.request).encode(), str(path))
        except (*UNDECODABLE, UsageError) as exc:
            raise RepositoryDamaged(f"{path}: {exc}") from exc
        if (request.device, request.device, request.key_id) != (device, kept.device, kept.key):
            raise RepositoryDamaged(
                f"{path}: expected the device {device} and its key, got {kept.device} with"
                f" {kept.key[:16]} and a request of {request.device} with {request.key_id[:16]}"
            )
        return EnrolledDevice(request, kept.enrolled)

    def encryption_key(self, device: str) -> bytes | None:
        """Give the encryption key that a device's file says, which is not proven; None for none."""
        try:
            data = read_start(self._path(device), _FILE_MAX_BYTES)
            said = msgspec.json.decode(data, type=_Kept).request.get("encryption_key")
            return read_public_key(str(said)) if said else None
        except (OSError, *UNDECODABLE, UsageError):
            return None

    def names(self) -> list[str]:
        """Give the ids of all enrolled devices, sorted."""
        if not self.folder.is_dir():
            return []
        names = (path.name for path in self.folder.iterdir())
        return sorted(
            name.removesuffix(_SUFFIX)
            for name in names
            if name.endswith(_SUFFIX) and not name.startswith(".")
        )

    def _keys(self) -> Iterator[tuple[str, str]]:
        """Give key and device of all that are enrolled, each proven again."""
        for one in map(self.find, self.names()):
            if one is not None:
                yield one.key_id, one.device

    def _path(self, device: str) -> Path:
        return self.folder / f"{device}{_SUFFIX}"
