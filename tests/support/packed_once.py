"""The full payload of files that many tests release, packed once in each process.

zstd's slow level takes a tenth of a second for a model of 1 MB, and hundreds of releases are of the
same few. What is given is what `FullBuilder` wrote of these bytes; that it packs well is tested
where `encode_full` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from slotcast_publisher.release.payloads import FullBuilder, PayloadCandidate, Progress
from slotcast_publisher.store import ReleaseFolder
from slotcast_schemas.messages.release import File

_KEPT: Final = 32
"""The payloads that are kept; the oldest goes."""
_MOST_BYTES: Final = 4 * 1024 * 1024
"""The largest payload that is kept."""
_packed: Final[dict[tuple[File, ...], tuple[bytes, PayloadCandidate]]] = {}
"""Bytes of the payload and what was said of it, by the names and digests of the files."""


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
        files = release.load().files
        if files in _packed:
            data, made = _packed[files]
            file = out / made.file.name
            file.write_bytes(data)
            return [msgspec.structs.replace(made, file=file)]
        (made,) = super().build(release, earlier, out, progress)
        if made.file.stat().st_size <= _MOST_BYTES:
            _packed[files] = made.file.read_bytes(), made
            if len(_packed) > _KEPT:
                del _packed[next(iter(_packed))]
        return [made]
