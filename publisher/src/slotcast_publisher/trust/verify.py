"""Verifies a notice as a device would: the unmodified TUF client, fed from the notice.

The publisher proves every notice with this before it leaves, and `slotcast inspect` explains
notices of others with it. The device has its own, which also keeps state between notices.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from slotcast_schemas import wire
from slotcast_schemas.errors import (
    BadSignature,
    Expired,
    Inconsistent,
    MalformedMessage,
    RefusedRelease,
    Replayed,
    WrongModel,
)
from slotcast_schemas.messages import Notice, Offer, Release
from slotcast_schemas.trust import (
    HASH_PREFIXED_TARGETS,
    METADATA_URL,
    TARGETS_URL,
    offer_target,
    release_target,
)

_NOT_FOUND: Final = 404


class NoticeFetcher(FetcherInterface):
    """Answers a TUF client from a notice; nothing else is asked."""

    def __init__(self, notice: Notice) -> None:
        self._files = {f"{METADATA_URL}{name}": data for name, data in notice.metadata.items()}
        self._files |= {f"{TARGETS_URL}{name}": data for name, data in notice.targets.items()}

    def _fetch(self, url: str) -> Iterator[bytes]:
        if url not in self._files:
            raise DownloadHTTPError(f"the notice has no {url}", _NOT_FOUND)
        return iter([self._files[url]])


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a notice truly says."""

    release: Release
    offer: Offer
    release_sha256: bytes
    expires: datetime
    """When the first of the roles that it rests on expires."""


def open_notice(
    notice: Notice, root: bytes, *, store: Path | None = None
) -> Mapping[str, TargetFile]:
    """Run the TUF client over a notice; gives what it says about each target.

    Args:
        notice: what came.
        root: the pinned root.
        store: metadata seen before, for roll-back checks; a fresh one unless given.

    Raises:
        RefusedRelease: of the kind that says what is wrong.
    """
    with tempfile.TemporaryDirectory() as fresh:
        try:
            updater = Updater(
                str(store or fresh),
                METADATA_URL,
                target_base_url=TARGETS_URL,
                fetcher=NoticeFetcher(notice),
                config=UpdaterConfig(prefix_targets_with_hash=HASH_PREFIXED_TARGETS),
                bootstrap=root,
            )
            updater.refresh()
            found = {}
            for path in notice.targets:
                info = updater.get_targetinfo(path)
                if info is None:
                    raise BadSignature(f"notice: no role vouches for {path!r}")
                with tempfile.NamedTemporaryFile() as out:
                    updater.download_target(info, out.name)
                found[path] = info
        except (RepositoryError, DownloadError) as exc:
            raise _ours(exc) from exc
    return found


def verify_notice(data: bytes, root: bytes, *, store: Path | None = None) -> Verified:
    """Say what a notice means, or why it does not count.

    Raises:
        RefusedRelease: of the kind that says what is wrong.
    """
    notice = wire.decode(data, Notice)
    found = open_notice(notice, root, store=store)
    offer_path = offer_target(notice.model)
    if offer_path not in found:
        raise WrongModel(f"notice of {notice.model!r}: expected target {offer_path!r}")
    offer = wire.decode(notice.targets[offer_path], Offer)
    release_path = release_target(notice.model, offer.version)
    if release_path not in found:
        raise WrongModel(f"notice of {notice.model!r}: expected target {release_path!r}")
    release = wire.decode(notice.targets[release_path], Release)
    _agree(notice, release, offer, bytes.fromhex(found[release_path].hashes["sha256"]))
    return Verified(
        release=release,
        offer=offer,
        release_sha256=offer.release_sha256,
        expires=_first_expiry(notice),
    )


def _agree(notice: Notice, release: Release, offer: Offer, release_sha256: bytes) -> None:
    if {release.model, offer.model} != {notice.model}:
        raise WrongModel(
            f"notice of {notice.model!r}: release of {release.model!r}, offer of {offer.model!r}"
        )
    if (release.sequence, release_sha256) != (offer.sequence, offer.release_sha256):
        raise Inconsistent(
            f"{notice.model}: offer names sequence {offer.sequence}"
            f" ({offer.release_sha256.hex()[:12]}), release is {release.sequence}"
            f" ({release_sha256.hex()[:12]})"
        )


def _first_expiry(notice: Notice) -> datetime:
    """Of the roles that a verified notice rests on; older roots have done their work."""
    roots = sorted((n for n in notice.metadata if n.endswith(".root.json")), key=_version)
    return min(
        Metadata.from_bytes(data).signed.expires
        for name, data in notice.metadata.items()
        if name not in roots[:-1]
    )


def _version(name: str) -> int:
    return int(name.partition(".")[0])


def _ours(exc: Exception) -> RefusedRelease:
    """Map what the TUF client says to who must act."""
    kinds: tuple[tuple[type[Exception], type[RefusedRelease]], ...] = (
        (ExpiredMetadataError, Expired),
        (BadVersionNumberError, Replayed),
        (UnsignedMetadataError, BadSignature),
        (LengthOrHashMismatchError, BadSignature),
        (DownloadError, MalformedMessage),
    )
    kind = next((ours for theirs, ours in kinds if isinstance(exc, theirs)), BadSignature)
    return kind(f"notice: {exc}")
