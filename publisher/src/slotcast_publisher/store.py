"""Where a repository keeps models, releases, payloads and offers, and how they become durable.

    REPO/slotcast.toml                              settings
    REPO/keys.json, keys/                           the key ring
    REPO/metadata/                                  signed metadata (`metadata_files`)
    REPO/models/<model>/releases/<version>/         one release; the folder appears whole
        release.msgpack                             the bytes that are signed
        given.json                                  what it was made from
        files/                                      the files, read-only
        payloads.json                               what each payload is and saves
        payloads/<sha256>/payload.bin, map/<part>   one payload; the folder appears whole
    REPO/models/<model>/adopted/<version>.release   signed elsewhere; its files are not here
    REPO/models/<model>/offers/<sha256>.offer       the bytes that are signed
    REPO/push/<broker>/*.acked                      what a broker has acknowledged
    REPO/push/<broker>/ledger.json                  what it was given when, and what is unused

A power cut leaves folders whose names begin with a dot; the next command removes them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from slotcast_publisher.durable import commit_dir, link_tree, storage_errors, write_atomic
from slotcast_publisher.errors import Conflict, NotFound, RepositoryDamaged
from slotcast_schemas import fields, wire
from slotcast_schemas.codecs.encrypted import is_encrypted
from slotcast_schemas.content_key import KEYS_CODEC
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import RefusedRelease, UsageError
from slotcast_schemas.messages import Offer, Release
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.plain_files import read_regular

_MODEL: Final = re.compile(fields.MODEL_PATTERN)
"""What a model may be called."""

_STAGING: Final = ".staging"
"""The folder in which a release or a payload is built before it gets its name."""

_OFFERS_KEPT: Final = 3
"""The number of a model's offers that are kept: the present one, and some to look back at."""

_FileStamp = tuple[int, int, int]
"""The inode, the size in bytes and the time of change in nanoseconds, by which a file that was
written anew is told from the one before."""


class PayloadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One payload that was built and proven."""

    payload: Payload
    image_size_bytes: int
    build_s: float

    @property
    def is_image(self) -> bool:
        """Whether it gives the image, and is no list of wrapped content keys."""
        return self.payload.codec != KEYS_CODEC

    @property
    def saved_share(self) -> float:
        """Share of the image that need not travel."""
        return 1 - self.payload.size_bytes / max(1, self.image_size_bytes)


class PayloadList(msgspec.Struct, frozen=True, kw_only=True):
    """What `payloads.json` says: which builders are through, what they made, what became of it.

    `fate` is how the release was last offered: devices may hold what was offered and not
    withdrawn, so deltas start from that first. `wrapped_for` is a digest of the recipients that the
    list of wrapped keys is for; empty where there is none.
    """

    done: tuple[str, ...] = ()
    payloads: tuple[PayloadRecord, ...] = ()
    fate: Literal["kept", "offered", "withdrawn"] = "kept"
    wrapped_for: str = ""


make_decoders(PayloadList)


class ReleaseFolder:
    """One release on disk.

    Args:
        path: its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loaded: tuple[_FileStamp, Release] | None = None

    @property
    def files_dir(self) -> Path:
        """The folder of the release's files."""
        return self.path / "files"

    def signed_bytes(self) -> bytes:
        """Give the bytes that are signed.

        Raises:
            RepositoryDamaged: they cannot be read.
        """
        try:
            return read_regular(self.path / "release.msgpack")
        except OSError as exc:
            raise RepositoryDamaged(f"could not read the release in {self.path}: {exc}") from exc

    def load(self) -> Release:
        """Read the release; it is decoded again only if its file changed since the last time.

        Raises:
            RepositoryDamaged: it is not what was written.
        """
        stamp = _stamp(self.path / "release.msgpack")
        if self._loaded is None or self._loaded[0] != stamp:
            try:
                self._loaded = (stamp, wire.decode(self.signed_bytes(), Release))
            except RefusedRelease as exc:
                raise RepositoryDamaged(f"{self.path}/release.msgpack: {exc}") from exc
        return self._loaded[1]

    def given(self) -> dict[str, Any]:
        """Say what the release was made from."""
        found: dict[str, Any] = _read_json(self.path / "given.json", dict[str, Any])
        return found

    def images(self) -> list[tuple[str, Path]]:
        """Give each file's path in the release and on disk, in manifest order."""
        return [(file.path, self.files_dir / file.path) for file in self.load().files]

    def payloads(self) -> list[PayloadRecord]:
        """Give the payloads that were built and proven."""
        return list(self._list().payloads)

    def is_built_by(self, builder: str) -> bool:
        """Say whether a builder is through, whatever it found worth offering."""
        return builder in self._list().done

    def mark_built(self, builder: str) -> None:
        """Note that a builder is through."""
        now = self._list()
        done = tuple(dict.fromkeys([*now.done, builder]))
        self._save(msgspec.structs.replace(now, done=done))

    @property
    def is_held(self) -> bool:
        """Whether devices may run it: it was offered, and not withdrawn since."""
        return self._list().fate == "offered"

    def set_fate(self, fate: Literal["offered", "withdrawn"]) -> None:
        """Note that the release is offered, or taken back."""
        now = self._list()
        if now.fate != fate:
            self._save(msgspec.structs.replace(now, fate=fate))

    def _list(self) -> PayloadList:
        path = self.path / "payloads.json"
        if not path.exists():
            return PayloadList()
        found: PayloadList = _read_json(path, PayloadList)
        return found

    def _save(self, found: PayloadList) -> None:
        data = msgspec.json.format(msgspec.json.encode(found), indent=1)
        write_atomic(self.path / "payloads.json", data)

    def payload_dir(self, sha256: bytes) -> Path:
        """Name the folder of one payload."""
        return self.path / "payloads" / sha256.hex()

    def payload_file(self, payload: Payload) -> Path:
        """Name the file that holds one payload's bytes."""
        return self.payload_dir(payload.sha256) / "payload.bin"

    def map_file(self, payload: Payload, part: int) -> Path:
        """Name the file that holds one part of a payload's chunk map, as published."""
        return self.payload_dir(payload.sha256) / "map" / str(part)

    def staging(self) -> Path:
        """Give an empty folder in which a payload can be built."""
        path = self.path / _STAGING
        with storage_errors(path):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        return path

    def drop_staging(self) -> None:
        """Remove what a build left behind."""
        shutil.rmtree(self.path / _STAGING, ignore_errors=True)

    def add_payload(self, staged: Path, record: PayloadRecord) -> None:
        """Take a payload in: its folder first, then its line in `payloads.json`, which counts.

        Raises:
            Conflict: the release is encrypted and the payload is not, or the other way round.
        """
        is_sealed = self.load().encryption is not None
        if is_encrypted(record.payload) != is_sealed:
            raise Conflict(
                f"{self.path.name} is released {'encrypted' if is_sealed else 'in the clear'}, and"
                f" a payload of codec {record.payload.codec} is not: nothing of it is kept"
            )
        final = self.payload_dir(record.payload.sha256)
        if final.exists():
            shutil.rmtree(staged)
        else:
            commit_dir(staged, final)
        self._record(record)

    def share_payload(self, other: ReleaseFolder, record: PayloadRecord) -> None:
        """Take over a payload of a release that has the same image."""
        source, final = (folder.payload_dir(record.payload.sha256) for folder in (other, self))
        if not final.exists():
            staged = self.staging() / "payload"
            link_tree(source, staged)
            commit_dir(staged, final)
            self.drop_staging()
        self._record(record)

    @property
    def wrapped_for(self) -> str:
        """A digest of the recipients that the list of wrapped keys is for; empty without one."""
        return self._list().wrapped_for

    def set_wrapped_keys(
        self, wrapped_for: str, staged: Path | None, record: PayloadRecord | None
    ) -> None:
        """Put a list of wrapped keys in the place of the one before.

        That one's folder stays until the next: it may be offered still.

        Args:
            wrapped_for: a digest of the recipients.
            staged: the folder of the list, as `add_payload` takes it; None without a recipient.
            record: what the list is.
        """
        if staged is not None and record is not None:
            commit_dir(staged, self.payload_dir(record.payload.sha256))
        before = self._list()
        kept = [r for r in before.payloads if r.payload.codec != KEYS_CODEC]
        new = () if record is None else (record,)
        self._save(msgspec.structs.replace(before, payloads=(*kept, *new), wrapped_for=wrapped_for))
        known = {r.payload.sha256.hex() for r in (*before.payloads, *new)}
        for path in (self.path / "payloads").glob("*"):
            if path.name not in known and not path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)

    def _record(self, record: PayloadRecord) -> None:
        now = self._list()
        kept = [r for r in now.payloads if r.payload.sha256 != record.payload.sha256]
        self._save(msgspec.structs.replace(now, payloads=(*kept, record)))


class Store:
    """The models of one repository.

    Args:
        repo: the repository's folder.
    """

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self._folders: dict[str, dict[str, ReleaseFolder]] = {}

    def models(self) -> list[str]:
        """Name the models that have a release."""
        folders = (self.repo / "models").glob("*")
        return sorted(
            p.name for p in folders if (p / "releases").exists() or (p / "adopted").exists()
        )

    def versions(self, model: str) -> list[str]:
        """Name a model's releases, by growing sequence."""
        return [folder.path.name for folder in self.releases(model)]

    def folder(self, model: str, version: str) -> ReleaseFolder:
        """Give the folder of one release.

        Raises:
            NotFound: it does not exist; names those that do.
        """
        path = self._releases(model) / version
        if not path.is_dir():
            if self.is_without_files(model, version):
                raise NotFound(
                    f"{model} {version} was taken over from another copy of this repository, which"
                    f" has its files; release a new version"
                )
            known = ", ".join(self.versions(model))
            if not known:
                models = ", ".join(self.models()) or "none"
                raise NotFound(f"no release of {model!r}; there are releases of: {models}")
            raise NotFound(f"no release {version!r} of {model!r}; there are: {known}")
        return self._known(model).setdefault(version, ReleaseFolder(path))

    def releases(self, model: str) -> list[ReleaseFolder]:
        """Give the folders of all releases of a model, by growing sequence."""
        known = self._known(model)
        paths = [p for p in self._releases(model).glob("*") if not p.name.startswith(".")]
        present = {path.name: known.get(path.name) or ReleaseFolder(path) for path in paths}
        self._folders[model] = present  # without those that are gone
        return sorted(present.values(), key=lambda folder: (folder.load().sequence, folder.path))

    def _known(self, model: str) -> dict[str, ReleaseFolder]:
        """Give the folders that were given before; each remembers the release that it decoded."""
        return self._folders.setdefault(model, {})

    def staging(self, model: str) -> Path:
        """Give an empty folder in which a release can be built."""
        path = self._releases(check_model_name(model)) / _STAGING
        with storage_errors(path):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        return path

    def drop_staging(self, model: str) -> None:
        """Remove what a build left behind."""
        shutil.rmtree(self._releases(model) / _STAGING, ignore_errors=True)

    def commit_release(self, model: str, version: str, staged: Path) -> ReleaseFolder:
        """Give a built release its name: from here on it exists.

        Args:
            model: the model's name.
            version: the release's version.
            staged: the folder that it was built in.
        """
        final = self._releases(model) / version
        commit_dir(staged, final)
        return self.folder(model, version)

    def adopt_release(self, release: Release, data: bytes) -> None:
        """Keep the signed bytes of a release whose files are not here, unless they are."""
        if not (self._releases(release.model) / release.version).is_dir():
            write_atomic(self._adopted(release.model, release.version), data)

    def release_bytes(self, model: str, version: str) -> bytes:
        """Give the signed bytes of a release, whether or not its files are here.

        Raises:
            NotFound: it does not exist.
            RepositoryDamaged: they cannot be read.
        """
        path = self._adopted(model, version)
        if (self._releases(model) / version).is_dir() or not path.exists():
            return self.folder(model, version).signed_bytes()
        with storage_errors(path):
            return read_regular(path)

    def is_without_files(self, model: str, version: str) -> bool:
        """Say whether a release was taken over from another copy, which has its files."""
        is_here = (self._releases(model) / version).is_dir()
        return not is_here and self._adopted(model, version).exists()

    def _adopted(self, model: str, version: str) -> Path:
        return self.repo / "models" / model / "adopted" / f"{version}.release"

    def save_offer(self, model: str, data: bytes) -> None:
        """Keep an offer's bytes under their digest, and the last few before it."""
        folder = self.repo / "models" / model / "offers"
        write_atomic(folder / f"{hashlib.sha256(data).hexdigest()}.offer", data)
        kept = sorted(folder.glob("*.offer"), key=lambda path: path.stat().st_mtime_ns)
        for path in kept[:-_OFFERS_KEPT]:
            path.unlink(missing_ok=True)

    def offer_bytes(self, model: str, sha256: str) -> bytes:
        """Give the bytes of an offer.

        Raises:
            RepositoryDamaged: they are missing.
        """
        path = self.repo / "models" / model / "offers" / f"{sha256}.offer"
        try:
            return read_regular(path)
        except OSError as exc:
            raise RepositoryDamaged(f"could not read {path}: {exc.strerror}") from exc

    def _releases(self, model: str) -> Path:
        return self.repo / "models" / model / "releases"


def check_model_name(model: str) -> str:
    """Give the name back if a model may be called so.

    Raises:
        UsageError: it may not.
    """
    if not _MODEL.match(model):
        raise UsageError(
            f"model name: expected {fields.ALLOWED[fields.MODEL_PATTERN]}, got {model!r:.80}"
        )
    return model


def decode_offer(data: bytes) -> Offer:
    """Read an offer of our own.

    Raises:
        RepositoryDamaged: it is not what was written.
    """
    try:
        return wire.decode(data, Offer)
    except RefusedRelease as exc:
        raise RepositoryDamaged(f"offer: {exc}") from exc


def _stamp(path: Path) -> _FileStamp:
    try:
        found = path.stat()
    except OSError as exc:
        raise RepositoryDamaged(f"could not read the release in {path.parent}: {exc}") from exc
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read_json(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(read_regular(path), type=kind)
    except (OSError, *UNDECODABLE) as exc:
        raise RepositoryDamaged(f"could not read {path}: {exc}") from exc
