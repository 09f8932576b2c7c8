"""What a transfer orders from its shell, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from slotcast_schemas.messages import Want


class Subscribe(msgspec.Struct, frozen=True):
    """Ask for topics; at most eight filters."""

    filters: tuple[str, ...]


class Unsubscribe(msgspec.Struct, frozen=True):
    """Let go of topics; at most eight filters."""

    filters: tuple[str, ...]


class StoreMap(msgspec.Struct, frozen=True):
    """Keep a verified part of the chunk map."""

    part: int
    data: bytes


class StoreChunk(msgspec.Struct, frozen=True, gc=False):
    """Write a verified chunk at its place. (Made for every chunk: of the kind made fast.)"""

    index: int
    data: bytes


class Scan(msgspec.Struct, frozen=True):
    """Hash what is on disk and tell `scanned`; the map is whole now."""


class PublishWant(msgspec.Struct, frozen=True):
    """Tell the publisher what is missing and does not come.

    Attributes:
        want: what is missing.
        by_device: whether it goes below the device's own name; else below the payload's.
    """

    want: Want
    by_device: bool = False


class LearnWildcards(msgspec.Struct, frozen=True):
    """Keep of this broker: a filter with a wildcard brings at most so many retained messages."""

    messages_max: int


class Complete(msgspec.Struct, frozen=True):
    """Every chunk that is needed is on disk."""


TransferAction = (
    Subscribe | Unsubscribe | StoreMap | StoreChunk | Scan | PublishWant | LearnWildcards | Complete
)
"""All that a transfer can ask for."""


class Counters(msgspec.Struct):
    """What came, for status and benchmarks."""

    received_bytes: int = 0
    verified_bytes: int = 0
    duplicate_chunks: int = 0
    corrupt_chunks: int = 0
    wants: int = 0
    timeouts: int = 0
