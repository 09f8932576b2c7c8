"""How many bytes a payload may have, and how many payloads may come to nothing in a day. Pure.

Payloads are signed by the online key, which lies on a machine that answers the network. Whoever
steals it can introduce no model, but could have devices fetch without end: payloads far larger than
the image that they are to give, or one after the other that gives nothing. The image's size is
signed by the release key, so it bounds them all before the first chunk is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_schemas.codecs.encrypted import is_encrypted, plain_codec, sealed_size_bytes

if TYPE_CHECKING:
    from slotcast_device.core.plan import Facts
    from slotcast_device.core.state import ModelState
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload

AS_IT_IS: Final = "full+none"
"""The codec of a payload that is the image itself."""
PACKED_PART: Final = 64
"""A packed payload may be larger than its image by one part in so many: what cannot be packed grows
by less than one in 256 with Zstandard (`ZSTD_compressBound`), and by less with our own coders."""
PACKED_ROOM_BYTES: Final = 16 * 1024
"""The bytes that it may be larger besides: headers and tables, which count where an image is
small."""
BROKEN_PER_DAY_MAX: Final = 4
"""The most payloads of a model in a day that may give something else than the signed image; an
offer holds two whole ones and two deltas for a device. Over a metered link the most is one. The
same number of images bounds the bytes of payloads that were given up for others before they were
whole."""


def most_bytes(payload: Payload, release: Release) -> int:
    """Give the most bytes that a payload of this release may have."""
    most = release.image_size_bytes
    if plain_codec(payload) != AS_IT_IS:
        most += most // PACKED_PART + PACKED_ROOM_BYTES
    return sealed_size_bytes(most, payload.chunk_size_bytes) if is_encrypted(payload) else most


def is_worn_out(state: ModelState, facts: Facts, image_size_bytes: int) -> bool:
    """Whether so much was fetched in vain that nothing more is fetched on this day.

    Args:
        state: what the device knows of the model.
        facts: the day, and what kind of link there is.
        image_size_bytes: of the release that is offered.
    """
    most = 1 if facts.is_metered else BROKEN_PER_DAY_MAX
    broken = state.broken_payloads if state.broken_day == facts.day else 0
    return broken >= most or state.dropped.on(facts.day) >= most * image_size_bytes
