"""Where the content key of an encrypted release is to be found: list and chunk. Pure.

A device fetches one chunk of the list before it fetches the payload, unless it has the key already
(docs/encryption.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


@dataclass(frozen=True, slots=True)
class KeyList:
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
