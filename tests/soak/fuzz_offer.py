"""Any bytes are an offer that encodes to itself again, or a `RefusedRelease`."""

from __future__ import annotations

from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import Offer
from slotcast_schemas.wire import decode, encode
from tests.support.messages import EXAMPLES


def seeds() -> list[bytes]:
    """Give a valid one."""
    return [encode(EXAMPLES[Offer])]


def one_input(data: bytes) -> None:
    """Decode."""
    try:
        message = decode(data, Offer)
    except RefusedRelease:
        return
    assert decode(encode(message), Offer) == message
