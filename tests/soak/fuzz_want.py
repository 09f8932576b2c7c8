"""Any bytes are a want that encodes to itself again, or a `RefusedRelease`."""

from __future__ import annotations

from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import Want
from slotcast_schemas.wire import decode, encode
from tests.support.messages import EXAMPLES


def seeds() -> list[bytes]:
    """Give a valid one."""
    return [encode(EXAMPLES[Want])]


def one_input(data: bytes) -> None:
    """Decode."""
    try:
        message = decode(data, Want)
    except RefusedRelease:
        return
    assert decode(encode(message), Want) == message
