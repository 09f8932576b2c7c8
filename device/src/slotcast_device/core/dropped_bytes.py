"""How many bytes were fetched in vain, for payloads that were given up; kept over restarts. Pure.

The bytes of the last payload that lie on the disk are not lost yet: its transfer may go on. They
are lost when another payload takes their place. That is not counted where the other one is of a
release newer than all before: whoever stole the online key cannot sign one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from slotcast_schemas.messages.offer import Payload


class DroppedBytes(msgspec.Struct, frozen=True, kw_only=True):
    """How many bytes were fetched in vain, and how many may still turn out to be.

    Attributes:
        payload: the digest of the one whose transfer was begun last; empty where its bytes were of
            use.
        kept_bytes: how many of its bytes lie on the disk, as counted when its transfer was stopped
            in order.
        under_way_bytes: how many more may lie there: those of the transfer under way are counted
            when it is stopped, and a power cut stops it uncounted.
        newest: the highest sequence of a release whose payload was begun.
        day: when bytes were lost last, in days since 1970-01-01 UTC.
        lost_bytes: how many were lost on that day.
    """

    payload: bytes = b""
    kept_bytes: int = 0
    under_way_bytes: int = 0
    newest: int = 0
    day: int = 0
    lost_bytes: int = 0

    @property
    def at_risk_bytes(self) -> int:
        """The most bytes that are lost if another payload takes the place of this one now."""
        return self.kept_bytes + self.under_way_bytes

    def taking_up(self, payload: Payload, fetch_bytes: int) -> DroppedBytes:
        """Give the count after the transfer of a payload was begun, or begun again.

        Args:
            payload: which; `dropping` was asked before.
            fetch_bytes: what of it is to be fetched.
        """
        kept = min(self.at_risk_bytes, fetch_bytes) if payload.sha256 == self.payload else 0
        left = fetch_bytes - kept
        return replace(self, payload=payload.sha256, kept_bytes=kept, under_way_bytes=left)

    def keeping(self, payload: Payload, received_bytes: int) -> DroppedBytes:
        """Give the count after a transfer was stopped in order, with so many bytes received."""
        if payload.sha256 != self.payload:
            return self
        kept = max(received_bytes, min(self.kept_bytes + received_bytes, payload.size_bytes))
        return replace(self, kept_bytes=kept, under_way_bytes=0)

    def forgetting(self) -> DroppedBytes:
        """Give the count after the bytes on the disk were of use, or were counted elsewhere."""
        return replace(self, payload=b"", kept_bytes=0, under_way_bytes=0)

    def dropping(self, day: int, instead: bytes, sequence: int) -> DroppedBytes:
        """Give the count after another payload took the place of the bytes on the disk.

        Args:
            day: since 1970-01-01, UTC.
            instead: the digest of the payload that comes now; where it is the same one, nothing is
                lost. Empty if none comes.
            sequence: of its release; 0 if none comes.
        """
        known = replace(self, newest=max(sequence, self.newest))
        if not self.is_lost_to(instead):
            return known
        if sequence > self.newest:
            return known.forgetting()
        lost = self.on(day) + self.at_risk_bytes
        return replace(known.forgetting(), day=day, lost_bytes=lost)

    def is_lost_to(self, instead: bytes) -> bool:
        """Whether bytes lie on the disk that are not of this payload."""
        return instead != self.payload and self.at_risk_bytes > 0

    def on(self, day: int) -> int:
        """Give how many bytes were lost on a day."""
        return self.lost_bytes if day == self.day else 0
