"""What was fetched of payloads that were let go of, kept over restarts. Pure.

What lies on the disk of the last one is not lost yet: it may be gone on with. What gives way to a
release that is newer than all before is not counted: no online key can sign such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from slotcast_schemas.messages.offer import Payload


class DroppedBytes(msgspec.Struct, frozen=True, kw_only=True):
    """What of payloads came to nothing, and what may yet.

    Attributes:
        payload: the digest of the one that was taken up last; empty where that was of use.
        kept_bytes: what came of it, as far as it was let go of in order.
        under_way_bytes: what may have come since it was taken up: a power cut counts nothing.
        newest: the highest sequence of a release whose payload was taken up.
        day: on which something was lost last, since 1970-01-01 UTC.
        lost_bytes: what was lost on that day.
    """

    payload: bytes = b""
    kept_bytes: int = 0
    under_way_bytes: int = 0
    newest: int = 0
    day: int = 0
    lost_bytes: int = 0

    @property
    def at_risk_bytes(self) -> int:
        """What is lost if another payload takes the place of this one now, at most."""
        return self.kept_bytes + self.under_way_bytes

    def taking_up(self, payload: Payload, fetch_bytes: int) -> DroppedBytes:
        """Give what is known once a payload is taken up, or gone on with.

        Args:
            payload: which; `dropping` was asked before.
            fetch_bytes: what of it is to be fetched.
        """
        kept = min(self.at_risk_bytes, fetch_bytes) if payload.sha256 == self.payload else 0
        left = fetch_bytes - kept
        return replace(self, payload=payload.sha256, kept_bytes=kept, under_way_bytes=left)

    def keeping(self, payload: Payload, received_bytes: int) -> DroppedBytes:
        """Give what is known once so many more bytes of a payload lie on the disk, in order."""
        if payload.sha256 != self.payload:
            return self
        kept = max(received_bytes, min(self.kept_bytes + received_bytes, payload.size_bytes))
        return replace(self, kept_bytes=kept, under_way_bytes=0)

    def forgetting(self) -> DroppedBytes:
        """Give what is known once what lay there was of use, or is counted already."""
        return replace(self, payload=b"", kept_bytes=0, under_way_bytes=0)

    def dropping(self, day: int, instead: bytes, sequence: int) -> DroppedBytes:
        """Give what is known once what lies there is lost, unless it is of the payload that comes.

        Args:
            day: since 1970-01-01, UTC.
            instead: the digest of that payload; empty if none comes.
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
        """Whether bytes of another payload than this one lie there."""
        return instead != self.payload and self.at_risk_bytes > 0

    def on(self, day: int) -> int:
        """Give how many bytes were lost on a day."""
        return self.lost_bytes if day == self.day else 0
