"""Verifies a notice: The Update Framework, through python-tuf's own client, unmodified.

The client asks for metadata by name; instead of a network, a fetcher reads the notice. What TUF
raises becomes one of our reasons, here. Devices verify with this before they ask for a chunk;
the publisher proves every notice with the very same before it leaves.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Signed, Targets, Timestamp

from slotcast_schemas import limits, trust, wire
from slotcast_schemas.errors import (
    BadSignature,
    Expired,
    Inconsistent,
    MalformedMessage,
    RefusedRelease,
    Replayed,
    WrongModel,
)
from slotcast_schemas.file_names import find_unportable
from slotcast_schemas.floor_word import FloorWord, read_floor_word
from slotcast_schemas.lean_tuf import FetcherInterface, Updater, UpdaterConfig
from slotcast_schemas.messages import Notice, Offer, Release

_CONFIG: Final = UpdaterConfig(
    max_root_rotations=limits.METADATA_FILES_MAX,
    max_delegations=8,
    root_max_length=limits.TARGET_MAX_BYTES,
    timestamp_max_length=limits.TARGET_MAX_BYTES,
    snapshot_max_length=limits.TARGET_MAX_BYTES,
    targets_max_length=limits.TARGET_MAX_BYTES,
    prefix_targets_with_hash=trust.HASH_PREFIXED_TARGETS,
)
_VERSION_PREFIX: Final = re.compile(r"^\d+\.")


class Trusted(msgspec.Struct, frozen=True):
    """What a notice says, every word of it signed by keys that the pinned root trusts.

    Attributes:
        expires_s: when the first signature that it rests on ends, in seconds since 1970; 0 where
            that is not known.
        is_newer: its signed versions are above those that were seen before it.
        notice: the notice itself, which proves the release for as long as it is kept
            (`release_proof`).
        floor: what the targets key says of the model's floor, if anything.
    """

    release: Release
    release_bytes: bytes
    offer: Offer
    notice_sha256: bytes
    expires_s: int = 0
    is_newer: bool = False
    notice: bytes = b""
    floor: FloorWord | None = None

    @property
    def release_sha256(self) -> bytes:
        """Digest of the signed release."""
        return hashlib.sha256(self.release_bytes).digest()


class NoticeFetcher(FetcherInterface):
    """Answers a TUF client from a notice; what the notice lacks is "404", as a server would say."""

    def __init__(self, notice: Notice) -> None:
        self._files = {trust.METADATA_URL + name: data for name, data in notice.metadata.items()}
        self._files |= {trust.TARGETS_URL + name: data for name, data in notice.targets.items()}

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self._files.get(url)
        if data is None:
            raise tuf_errors.DownloadHTTPError(f"the notice does not carry {url}", 404)
        return iter((data,))


def verify_notice(data: bytes, model: str, pinned_root: bytes, trust_dir: Path) -> Trusted:
    """Verify a notice and give what it says.

    Args:
        data: the notice as received.
        model: the model that the topic names.
        pinned_root: root metadata that this device was provisioned with.
        trust_dir: folder where TUF keeps, for this model, the versions it has seen.

    Raises:
        MalformedMessage: or a sharper kind: not a notice, or not what TUF can read.
        BadSignature, Expired, Replayed, Inconsistent, WrongModel: as their names say.
        OSError: TUF's files cannot be written.
    """
    notice = wire.decode(data, Notice)
    if notice.model != model:
        raise WrongModel(f"expected a notice for {model!r}, got one for {notice.model!r}")
    try:
        return _verify(notice, pinned_root, trust_dir, data)
    except (tuf_errors.RepositoryError, tuf_errors.DownloadError) as exc:
        raise _as_ours(exc) from exc


def _verify(notice: Notice, pinned_root: bytes, trust_dir: Path, data: bytes) -> Trusted:
    updater = Updater(
        str(trust_dir),
        trust.METADATA_URL,
        target_base_url=trust.TARGETS_URL,
        fetcher=NoticeFetcher(notice),
        config=_CONFIG,
        bootstrap=pinned_root,
    )
    seen = _seen_version(trust_dir)
    updater.refresh()
    model = notice.model
    for path, carried in notice.targets.items():
        _check_target(updater, path, carried)
    offer = wire.decode(_target(notice, trust.offer_target(model)), Offer)
    release_bytes = _target(notice, trust.release_target(model, offer.version))
    trusted = Trusted(
        release=wire.decode(release_bytes, Release),
        release_bytes=release_bytes,
        offer=offer,
        notice_sha256=hashlib.sha256(data).digest(),
        expires_s=_first_end_s(notice, trust_dir),
        is_newer=0 < seen < _seen_version(trust_dir),
        notice=data,
        floor=_read_floor(trust_dir, model),
    )
    _check_agreement(trusted, model)
    return trusted


def _seen_version(trust_dir: Path) -> int:
    """Give the version of the newest timestamp that was seen; 0 where none was."""
    seen = _seen(trust_dir, Timestamp.type)
    return 0 if seen is None else seen.version


def _first_end_s(notice: Notice, trust_dir: Path) -> int:
    """Give when the first of the signatures ends that a verified notice rests on."""
    names = (name.removesuffix(".json") for name in notice.metadata)
    roles = {Root.type, *(_VERSION_PREFIX.sub("", name) for name in names)}
    found = (_seen(trust_dir, role) for role in roles)
    return min((int(signed.expires.timestamp()) for signed in found if signed), default=0)


def _read_floor(trust_dir: Path, model: str) -> FloorWord | None:
    """Give what the targets say of the model's floor that were verified just now."""
    root, targets = _seen(trust_dir, Root.type), _seen(trust_dir, Targets.type)
    if root is None or targets is None:
        return None
    return read_floor_word(targets.unrecognized_fields, model, root.version)


def _seen(trust_dir: Path, role: str) -> Signed | None:
    """Read what TUF keeps of a role once it was verified."""
    path = trust_dir / f"{quote(role, safe='')}.json"
    try:
        signed: Signed = Metadata.from_file(str(path)).signed
    except (tuf_errors.RepositoryError, tuf_errors.StorageError, OSError):
        return None
    return signed


def _check_target(updater: Updater, path: str, data: bytes) -> None:
    """Hold a target against the signed length and hashes; nothing unsigned may ride along."""
    info = updater.get_targetinfo(path)
    if info is None:
        raise BadSignature(f"no trusted role vouches for {path!r}, which the notice carries")
    info.verify_length_and_hashes(data)


def _target(notice: Notice, path: str) -> bytes:
    data = notice.targets.get(path)
    if data is None:
        raise Inconsistent(f"expected the notice to carry {path!r}; it does not")
    return data


def _check_agreement(trusted: Trusted, model: str) -> None:
    """Refuse parts that are each signed but do not belong together."""
    release, offer = trusted.release, trusted.offer
    if release.model != model or offer.model != model:
        raise WrongModel(
            f"expected a release and an offer of {model!r},"
            f" got {release.model!r} and {offer.model!r}"
        )
    if offer.release_sha256 != trusted.release_sha256:
        raise Inconsistent("the offer names another release than the notice carries")
    if (offer.version, offer.sequence) != (release.version, release.sequence):
        raise Inconsistent(
            f"expected {release.version} ({release.sequence}),"
            f" the offer says {offer.version} ({offer.sequence})"
        )
    unportable = find_unportable([file.path for file in release.files])
    if unportable:
        raise Inconsistent(f"{unportable}; release it under other names")
    for payload in offer.payloads:
        if payload.frames and len(payload.frames) != len(release.files):
            raise Inconsistent("a payload's frames are not one for each file")


def _as_ours(exc: Exception) -> RefusedRelease:
    """Map TUF's errors to our reasons; the order matters, as some are kinds of others."""
    known: tuple[tuple[type[Exception], type[RefusedRelease]], ...] = (
        (tuf_errors.BadVersionNumberError, Replayed),
        (tuf_errors.ExpiredMetadataError, Expired),
        (tuf_errors.UnsignedMetadataError, BadSignature),
        (tuf_errors.LengthOrHashMismatchError, BadSignature),
        (tuf_errors.DownloadError, Inconsistent),
        (tuf_errors.RepositoryError, MalformedMessage),
    )
    kind = next(ours for theirs, ours in known if isinstance(exc, theirs))
    return kind(f"{_HINTS.get(kind, 'signed metadata was refused')}: {exc}"[:400])


_HINTS: Final[dict[type[RefusedRelease], str]] = {
    Replayed: "older than what this device has seen; the publisher must publish anew (a replay, a"
    " restored backup, or two publishers?)",
    Expired: "past its date by this device's clock; the publisher must refresh it",
    BadSignature: "not signed by enough of the trusted keys; check who published it",
    Inconsistent: "the notice's parts do not fit together; the publisher must publish anew",
    MalformedMessage: "signed metadata cannot be read; the publisher must publish anew",
}
