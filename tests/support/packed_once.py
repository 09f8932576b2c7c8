"""The full payload of files that many tests release, packed once in each process.

zstd's slow level takes a tenth of a second for a model of 1 MB, and hundreds of releases are of the
same few. What is given is what `FullBuilder` wrote of these bytes; that it packs well is tested
where `encode_full` is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from slotcast_publisher.release.payloads import FullBuilder, PayloadCandidate, Progress
from slotcast_publisher.store import ReleaseFolder

_KEPT: Final = 32
"""The payloads that are kept; the oldest goes."""
_MOST_BYTES: Final = 4 * 1024 * 1024
"""The largest image whose payload is kept."""
_packed: Final[dict[bytes, tuple[bytes, PayloadCandidate]]] = {}


class PackedOnce(FullBuilder):
    """Packs the whole image into one payload, or takes what was packed of the same files."""

    def build(
        self,
        release: ReleaseFolder,
        earlier: Sequence[ReleaseFolder],
        out: Path,
        progress: Progress,
    ) -> Sequence[PayloadCandidate]:
        """Give the full payload.

        Args:
            release: the release to pack.
            earlier: the releases before it, of which none is needed.
            out: an empty folder for the payload's file.
            progress: told what is being done.
        """
        if sum(path.stat().st_size for _, path in release.images()) > _MOST_BYTES:
            return super().build(release, earlier, out, progress)
        key = _digest(release)
        if key not in _packed:
            (made,) = super().build(release, earlier, out, progress)
            _packed[key] = made.file.read_bytes(), made
            if len(_packed) > _KEPT:
                del _packed[next(iter(_packed))]
            return [made]
        data, made = _packed[key]
        file = out / made.file.name
        file.write_bytes(data)
        return [msgspec.structs.replace(made, file=file)]


def _digest(release: ReleaseFolder) -> bytes:
    """Tell one image from others: names and bytes of its files, in order."""
    whole = hashlib.sha256()
    for name, path in release.images():
        whole.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.digest()
