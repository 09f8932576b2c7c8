"""Small files of JSON that a rollout lies in: written so that people can read them, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from slotcast_publisher.errors import RepositoryDamaged
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.plain_files import read_regular

K = TypeVar("K")


def to_json(found: Any) -> bytes:
    """Give a struct as JSON, a key a line."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1)


def read_json(path: Path, kind: type[K]) -> K:
    """Read a file as a struct.

    Args:
        path: of the file.
        kind: of the struct.

    Raises:
        RepositoryDamaged: it is not there, or is not what was written.
    """
    try:
        return msgspec.json.decode(read_regular(path), type=kind)
    except (OSError, *UNDECODABLE) as exc:
        raise RepositoryDamaged(f"could not read {path}: {exc}") from exc
