"""The offer: to whom a release goes and how it travels. Signed by the online key.

A stolen online key can redistribute what release keys signed, never introduce anything:
an offer names a release by sequence and digest, and the release speaks for itself.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.fields import (
    Count,
    DeviceId,
    Format,
    ModelName,
    Requires,
    Sequence,
    Sha256,
    ShortText,
    SizeBytes,
    Tags,
    UnixTime,
    Version,
    Word,
)
from slotcast_schemas.wire import Message

Progress = Literal["active", "paused", "canceled"]
"""How far a rollout may go: on, no new device, or not at all."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the fleet; a device belongs to the first group, in order, that it matches.

    A device matches where all that is given here is true: every tag equal, its id in `ids`,
    its place in the fleet (`slotcast_schemas.groups.place`) below `percent`. A group that gives
    nothing matches every device.
    """

    name: ShortText
    state: Progress = "active"
    tags: Tags = {}
    ids: Annotated[tuple[DeviceId, ...], Meta(max_length=limits.GROUP_IDS_MAX)] | None = None
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    salt: ShortText = ""


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The image that a delta starts from."""

    sequence: Sequence
    version: Version
    image_sha256: Sha256
    size_bytes: SizeBytes


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """One way to transfer the image.

    Attributes:
        codec: `full+zstd` or `full+none` (the image alone), `full+weights` (the same, smaller;
            docs/weights-format.md), `delta+v1` (docs/delta-format.md), `delta+v2` (the same, with
            features that devices of before do not have), `delta+v3` (in the compact form, which
            they do not have either); each with `encrypted+` before it where the chunks are
            sealed, and `keys+v1`, the list of wrapped content keys (docs/encryption.md). A codec
            that a device does not know makes it pass over this payload, not refuse the offer.
        sha256: digest of the payload's bytes; names its topics.
        size_bytes: of the payload. Every chunk but the last has `chunk_size_bytes`.
        map_parts: SHA-256 of each part of the chunk map, as published.
        base: for a delta, the image it starts from.
        memory_bytes: what decoding needs, beside the interpreter; 0 if not known.
        frames: for a `full` payload, the size of each file's own frame in manifest order, so
            that frames of files which the device has already need not be fetched; empty
            where the payload is one piece.
        plain_sha256: for an encrypted payload, the digest of what it holds; its key is derived
            from it.
    """

    codec: Annotated[str, Meta(pattern=r"^[a-z0-9+._-]+\Z", max_length=32)]
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=1, le=limits.IMAGE_MAX_BYTES)]
    chunk_size_bytes: Annotated[int, Meta(ge=limits.CHUNK_MIN_BYTES, le=limits.CHUNK_MAX_BYTES)]
    map_parts: Annotated[tuple[Sha256, ...], Meta(min_length=1, max_length=limits.MAP_PARTS_MAX)]
    base: Base | None = None
    memory_bytes: SizeBytes = 0
    frames: Annotated[tuple[SizeBytes, ...], Meta(max_length=limits.FILES_MAX)] = ()
    plain_sha256: Sha256 | None = None

    def __post_init__(self) -> None:
        """Check that the sizes agree.

        Raises:
            ValueError: which `wire.decode` turns into `MalformedMessage`.
        """
        parts = -(-self.chunk_count // limits.MAP_PART_CHUNKS)
        if parts != len(self.map_parts):
            raise ValueError(f"expected {parts} map parts, got {len(self.map_parts)}")
        if self.frames and sum(self.frames) != self.size_bytes:
            raise ValueError(
                f"expected frames of {self.size_bytes} bytes together, got {sum(self.frames)}"
            )

    @property
    def chunk_count(self) -> int:
        """Number of chunks, the last of which may be short."""
        return -(-self.size_bytes // self.chunk_size_bytes)

    @property
    def block_count(self) -> int:
        """Number of blocks, the last of which may be short."""
        return -(-self.chunk_count // limits.BLOCK_CHUNKS)

    def chunk_bytes(self, index: int) -> int:
        """Give the exact length of one chunk."""
        return min(self.chunk_size_bytes, self.size_bytes - index * self.chunk_size_bytes)


Groups = Annotated[tuple[Group, ...], Meta(max_length=limits.GROUPS_MAX)]
"""The groups that an offer goes to; a device takes the first that it matches."""

Deployment = Annotated[str, Meta(max_length=64)]
"""The name of one rollout."""

JitterS = Annotated[int, Meta(ge=0, le=7 * 86400)]
"""The longest time in whole seconds that a device waits before it asks; a week at most."""


class Offer(Message, frozen=True, kw_only=True, tag_field="kind", tag="offer"):
    """To whom a release goes and how.

    Attributes:
        release_sha256: digest of the release's signed bytes, so that an offer cannot be paired
            with another release of the same sequence.
        issued: when the online key signed; devices keep the highest as a lower bound of time.
        full_allowed: whether a device may fall back from a delta to the whole image.
        want_topic: where a device says what it misses: `device`, below its own name, where access
            rules prove the name; `payload`, below the payload's. A device that does not know the
            word, or gets no answer there, says it below the payload's.
    """

    KIND = "offer"
    MAX_BYTES = limits.TARGET_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    model: ModelName
    version: Version
    sequence: Sequence
    release_sha256: Sha256
    issued: UnixTime
    state: Progress = "active"
    groups: Groups
    payloads: Annotated[tuple[Payload, ...], Meta(max_length=limits.PAYLOADS_MAX)]
    full_allowed: bool = True
    deployment: Deployment = ""
    """Names one rollout; comes back in every status, so that a fleet view can count."""
    jitter_s: JitterS = 0
    """Each device waits a random part of this before it asks, to spread a fleet's load."""
    attempt: Count = 1
    """Raised by the publisher to have devices that failed or benched it try again."""
    want_topic: Word = "payload"
    delta_wait_s: Annotated[int, Meta(ge=0, le=limits.DELTA_WAIT_MAX_S)] = 0
    """The longest time in whole seconds that a device waits for a delta from what it runs, where
    none is offered, before it takes a whole image. Only said by whoever makes one then."""
    no_delta_from: Annotated[tuple[Sequence, ...], Meta(max_length=limits.NO_DELTA_FROM_MAX)] = ()
    """Releases, by their sequences, from which no delta will come: who runs one does not wait."""
