"""The words a device reports: a state, and a reason that goes with it.

How they map to the words of ThingsBoard, hawkBit, Mender and AWS Jobs is in docs/glossary.md.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where one model on one device stands; which state may follow which is the device's table."""

    IDLE = "IDLE"
    """Nothing pending."""
    QUEUED = "QUEUED"
    """A notice was verified; the update waits (for a window, consent, an active rollout)."""
    DOWNLOADING = "DOWNLOADING"
    """Chunks are being collected; progress counts verified bytes."""
    DOWNLOADED = "DOWNLOADED"
    """Every chunk is there; the image is being rebuilt into the standby slot."""
    VERIFIED = "VERIFIED"
    """Every file in the standby slot has the signed digest; it is being probed."""
    ACTIVATING = "ACTIVATING"
    """`current` is being switched."""
    TRIAL = "TRIAL"
    """The new release serves; the old one is still whole."""
    COMMITTED = "COMMITTED"
    """The new release stays; the floor is raised."""
    ROLLED_BACK = "ROLLED_BACK"
    """The old release serves again; the reason says why."""
    FAILED = "FAILED"
    """The update ended without a switch; the old release was never touched."""
    REJECTED = "REJECTED"
    """The notice or the release was refused before anything was fetched."""
    CANCELED = "CANCELED"
    """The publisher canceled the rollout before the switch."""


SETTLED = frozenset(
    {
        State.IDLE,
        State.COMMITTED,
        State.ROLLED_BACK,
        State.FAILED,
        State.REJECTED,
        State.CANCELED,
    }
)
"""States in which nothing more happens until another notice, or a person, comes."""
