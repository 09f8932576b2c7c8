"""The metadata that a model's TUF client keeps, put together as a notice that proves a release.

Beside each slot lies the notice that brought its release (ADR 0130). Where it is gone, deleted or
never written by software that kept none, what TUF's client has seen often vouches for the release
as well: a model's release role names every release that may still be installed.

Nothing here is believed: what is put together is verified from the pinned root like any notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_schemas import limits, wire
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import Notice, Release
from slotcast_schemas.trust import release_target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slotcast_device.storage.disk import Disk

_ROOTS: Final = "root_history"
"""The folder in which TUF's client keeps roots, by version."""

_SAYS_NOTHING: Final = frozenset({"root.json", "timestamp.json", "snapshot.json", "offers.json"})
"""The files that vouch for no release: three that are signed anew all the time, and the root, which
lies in `root_history` as well."""


class _Signed(msgspec.Struct):
    version: int


class _Metadata(msgspec.Struct):
    """As much of a metadata file as its name in a notice takes."""

    signed: _Signed


make_decoders(_Metadata)


def notice_from_kept(disk: Disk, trust_dir: Path, model: str, release_bytes: bytes) -> bytes | None:
    """Give a notice of a release made of the metadata that a model's TUF client keeps.

    Args:
        disk: the durable layer.
        trust_dir: where the client keeps it.
        model: the model's name.
        release_bytes: the signed release that the notice is to speak of.

    Returns:
        The notice, in which nothing was verified; None where too little is kept.

    Raises:
        StorageFailed: the disk cannot be read.
    """
    try:
        version = wire.decode(release_bytes, Release).version
        notice = Notice(
            model=model,
            metadata=dict(_kept_files(disk, trust_dir)),
            targets={release_target(model, version): release_bytes},
        )
        return wire.encode(notice)
    except RefusedRelease:
        return None


def _kept_files(disk: Disk, trust_dir: Path) -> Iterator[tuple[str, bytes]]:
    """Give the files by their names in a notice; what is no metadata is left out."""
    names = [(_ROOTS, name) for name in disk.names(trust_dir / _ROOTS)]
    names += [("", name) for name in disk.names(trust_dir) if name not in _SAYS_NOTHING]
    for folder, name in names[: limits.METADATA_FILES_MAX]:
        if not name.endswith(".json"):
            continue
        data = disk.read_small_file(trust_dir / folder / name, limits.NOTICE_MAX_BYTES) or b""
        try:
            version = msgspec.json.decode(data, type=_Metadata).signed.version
        except UNDECODABLE:
            continue
        yield (name if folder else f"{version}.{name}"), data
