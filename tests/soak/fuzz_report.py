"""Any bytes below any word of a device are a report that encodes to itself again, or a word."""

from __future__ import annotations

from typing import Final

from slotcast_publisher.fleet.intake.messages import Drop, read
from slotcast_publisher.serve.companion import Heard
from slotcast_schemas.messages import Metrics, Presence, Status
from slotcast_schemas.topics import Topics
from slotcast_schemas.wire import Message, decode, encode
from tests.support.messages import EXAMPLES

WORDS: Final = ("status", "metrics", "presence", "want", "renewal", "certificate")
_TOPICS: Final = Topics("t")


def seeds() -> list[bytes]:
    """Give a valid one of each kind, behind the number of its word."""
    kinds: tuple[type[Message], ...] = (Status, Metrics, Presence)
    return [bytes([number]) + encode(EXAMPLES[kind]) for number, kind in enumerate(kinds)]


def one_input(data: bytes) -> None:
    """Read, as `serve` does what comes below a device's name; the first byte says which."""
    if not data:
        return
    topic = _TOPICS.device("cam-1", WORDS[data[0] % len(WORDS)])
    found = read(Heard(topic, data[1:], False, 1_790_000_000.0, "broker"), _TOPICS)
    if not isinstance(found, Drop):
        assert decode(encode(found), type(found)) == found
