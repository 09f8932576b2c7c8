"""Where the content key of an encrypted release is to be found: list and chunk. Pure.

A device fetches one chunk of the list before it fetches the payload, unless it has the key already
(docs/encryption.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_schemas.content_key import (
    KEYS_CHUNK_BYTES,
    KEYS_CHUNKS_MAX,
    KEYS_CODEC,
    chunk_of,
)
from slotcast_schemas.errors import NoContentKey

if TYPE_CHECKING:
    from slotcast_device.core.plan import Facts
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.verify import Trusted


LISTS_PER_DAY_MAX: Final = 16
"""The most lists that are looked into in vain in a day: who stole the online key could sign new
ones without end, and each costs a device a chunk and a map, some 40 KB at most."""


class VainLists:
    """How many lists were looked into in vain, on the day when that happened last."""

    def __init__(self) -> None:
        self._day = 0
        self._count = 0

    def add(self, day: int) -> None:
        """Count one, on a day since 1970-01-01 UTC."""
        self._count = self._count + 1 if day == self._day else 1
        self._day = day

    def are_too_many(self, day: int) -> bool:
        """Whether no other list is to be looked into on this day."""
        return day == self._day and self._count >= LISTS_PER_DAY_MAX


class KeyList(msgspec.Struct, frozen=True):
    """The list of wrapped keys to look in, and the chunk that holds this device's entry."""

    payload: Payload
    chunk: int


def find_key_list(trusted: Trusted, facts: Facts) -> KeyList:
    """Find where this device's wrapped content key is to be.

    Args:
        trusted: the notice, with offer and release.
        facts: what else counts, of the device as it is now.

    Raises:
        NoContentKey: it is nowhere; says who must act.
    """
    if not facts.recipient:
        raise NoContentKey(
            "the release is encrypted, and this device has no encryption key; enrol it anew, and"
            " make it a recipient"
        )
    if facts.is_tired_of_lists:
        raise NoContentKey(
            f"{LISTS_PER_DAY_MAX} lists of wrapped keys had none for this device today; the next"
            " one is looked into tomorrow"
        )
    lists = [payload for payload in trusted.offer.payloads if _is_list(payload)]
    if not lists:
        raise NoContentKey("the release is encrypted, and no wrapped keys are offered with it")
    for payload in lists:
        if payload.sha256 not in facts.excluded:
            return KeyList(payload, chunk_of(facts.recipient, payload.chunk_count))
    raise NoContentKey(
        f"the release is encrypted for others, not for this device's key"
        f" {facts.recipient.hex()[:16]}; make the device a recipient, and publish again"
    )


def _is_list(payload: Payload) -> bool:
    """Whether it is a list whose chunks are of the one size that lists have."""
    return (
        payload.codec == KEYS_CODEC
        and payload.chunk_size_bytes == KEYS_CHUNK_BYTES
        and payload.chunk_count <= KEYS_CHUNKS_MAX
    )
