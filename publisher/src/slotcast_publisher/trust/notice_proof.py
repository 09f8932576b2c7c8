"""Proves a notice as a device would, with the device's own verification and nothing remembered.

The publisher proves every notice with this before it leaves, and `slotcast inspect` explains
notices of others with it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Metadata

from slotcast_schemas import verify, wire
from slotcast_schemas.messages import Notice, Offer, Release


@dataclass(frozen=True, slots=True)
class VerifiedNotice:
    """What a notice truly says.

    Attributes:
        expires: when the first of the roles that it rests on expires.
    """

    release: Release
    offer: Offer
    expires: datetime


def verify_notice(data: bytes, root: bytes, *, store: Path | None = None) -> VerifiedNotice:
    """Say what a notice means, or why it does not count.

    Args:
        data: the notice.
        root: the pinned root.
        store: metadata seen before, for roll-back checks; nothing was seen unless given.

    Raises:
        RefusedRelease: of the kind that says what is wrong.
    """
    notice = wire.decode(data, Notice)
    with tempfile.TemporaryDirectory() as fresh:
        trusted = verify.verify_notice(data, notice.model, root, store or Path(fresh))
    return VerifiedNotice(trusted.release, trusted.offer, _first_expiry(notice))


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
