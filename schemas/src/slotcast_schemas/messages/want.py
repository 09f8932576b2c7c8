"""The want: what a device misses of a payload, where nothing comes by itself.

Brokers lose retained messages when they restart without persistence, expire them, or do not keep
them at all. The publisher's service answers by publishing just what is missing, once for all who
wait.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.fields import BlockIndex, DeviceId, Format, MapPartIndex, Requires, Sha256
from slotcast_schemas.wire import Message


class WantedBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Chunks missing of one block: bit i (least significant first) stands for its i-th chunk."""

    block: BlockIndex
    missing: Annotated[int, Meta(ge=1, le=2**limits.BLOCK_CHUNKS - 1)]


class Want(Message, frozen=True, kw_only=True, tag_field="kind", tag="want"):
    """Asks for parts of the chunk map and for chunks, never more than the device can take."""

    KIND = "want"
    MAX_BYTES = limits.WANT_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    device: DeviceId
    payload: Sha256
    map_parts: Annotated[tuple[MapPartIndex, ...], Meta(max_length=limits.MAP_PARTS_MAX)] = ()
    blocks: Annotated[tuple[WantedBlock, ...], Meta(max_length=512)] = ()
