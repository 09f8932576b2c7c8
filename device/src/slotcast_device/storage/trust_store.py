"""Whom the device believes: the notice's signatures, with what this device has seen kept on disk.

The pinned root is given at each start, so a damaged cache can only cost versions already seen,
never trust; the sequence floor that must not be lost is kept in the state record (python-tuf
renames its files without fsync, so a power cut may take them).
"""

from __future__ import annotations

from pathlib import Path

from slotcast_device.storage.disk import storage_errors
from slotcast_schemas import verify
from slotcast_schemas.verify import Trusted

__all__ = ["Trusted", "verify_notice"]


def verify_notice(data: bytes, model: str, pinned_root: bytes, trust_dir: Path) -> Trusted:
    """Verify a notice and give what it says; see `slotcast_schemas.verify.verify_notice`.

    Raises:
        RefusedRelease: of the kind that says what is wrong.
        StorageFailed: TUF's files cannot be written.
    """
    with storage_errors(f"write {trust_dir}"):
        trust_dir.mkdir(parents=True, exist_ok=True)
        return verify.verify_notice(data, model, pinned_root, trust_dir)
