"""The files of an image, end to end: where each lies here, and its path in the release."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from slotcast_schemas.plain_files import open_regular

Image = Sequence[tuple[str, Path]]
"""A release's files in manifest order: each file's path in the release, and where it is now."""

_STEP_BYTES: Final = 1024 * 1024
"""The bytes that are read and hashed at once; more of them make it no faster."""


def image_sha256(paths: Iterable[Path]) -> bytes:
    """Give the SHA-256 of files laid end to end.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open_regular(path) as file:
            while step := file.read(_STEP_BYTES):
                digest.update(step)
    return digest.digest()
