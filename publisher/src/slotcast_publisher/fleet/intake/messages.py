"""Topic and bytes to a validated message, or the word for why it was dropped. Pure.

What devices say comes from outside: each message is validated once, here, and the id in it must be
the one of its topic, which is what a broker's access rules hold a device to.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from slotcast_publisher.serve.companion import Heard
from slotcast_schemas import wire
from slotcast_schemas.errors import MalformedMessage, OversizedMessage, UnsupportedFeature
from slotcast_schemas.messages import Metrics, Presence, Status
from slotcast_schemas.reasons import Reason
from slotcast_schemas.topics import DeviceTopic, Topics


class Drop(StrEnum):
    """Why a message changed nothing; the words are kept in the database and shown."""

    OTHER_TOPIC = "other_topic"
    """No topic below which a device reports."""
    EMPTY = "empty"
    """No bytes: somebody took a retained message off the broker."""
    OVERSIZED = Reason.OVERSIZED.value
    """More bytes than such a message may have."""
    MALFORMED = Reason.MALFORMED.value
    """Not a message of its kind, or past one of its bounds."""
    UNSUPPORTED = "unsupported"
    """Requires a feature, or has a format, that this software does not know."""
    OTHER_DEVICE = "other_device"
    """Speaks of another device than its topic."""
    OLDER_COUNTER = "older_counter"
    """Its counter is below one that was seen from the device."""
    REPEATED = "repeated"
    """Its counter was seen, with the same content."""
    CONTRADICTING = "contradicting"
    """Its counter was seen, with other content."""
    IMPOSSIBLE_COUNTER = "impossible_counter"
    """Its counter is further ahead than a device can have counted."""
    IMPOSSIBLE_FIGURES = "impossible_figures"
    """Speaks of more requests than a device can have answered since its last figures."""
    OLDER_PRESENCE = "older_presence"
    """The last will of a connection that was followed by another."""
    TOO_MANY_DEVICES = "too_many_devices"
    """A device that is not known yet, and no room for it."""
    UNSIGNED = "unsigned"
    """Not signed, and the device is enrolled, so that it signs."""
    BAD_SIGNATURE = Reason.BAD_SIGNATURE.value
    """Not signed by the key that its device is enrolled with."""
    NOT_ENROLLED = "not_enrolled"
    """Of a device whose key nobody knows, where only signed reports are taken."""
    REPLAYED = Reason.REPLAYED.value
    """Truly signed, and older than what was said before: somebody shows it again."""
    QUEUE_FULL = "queue_full"
    """Came while nothing could be written for long, and the queue was full."""


Message = Status | Metrics | Presence
"""What a device says."""

_KINDS: Final[dict[str, type[Message]]] = {
    "status": Status,
    "metrics": Metrics,
    "presence": Presence,
}
_KEPT: Final = frozenset({"status", "presence"})


def is_kept(heard: Heard, topics: Topics) -> bool:
    """Say whether a broker keeps a message: what a device said last of itself, but no figures.

    Args:
        heard: the message.
        topics: below the repository's prefix.
    """
    topic = topics.parse(heard.topic)
    return isinstance(topic, DeviceTopic) and topic.what in _KEPT


def read(heard: Heard, topics: Topics) -> Message | Drop:
    """Validate a message; gives it, or why it changes nothing.

    Whatever the bytes are, nothing is raised: tests/security holds it to that.
    """
    topic = topics.parse(heard.topic)
    if not isinstance(topic, DeviceTopic) or topic.what not in _KINDS:
        return Drop.OTHER_TOPIC  # a broker may send what nobody subscribed to
    if not heard.data:
        return Drop.EMPTY
    try:
        message = wire.decode(heard.data, _KINDS[topic.what])
    except OversizedMessage:
        return Drop.OVERSIZED
    except UnsupportedFeature:
        return Drop.UNSUPPORTED
    except MalformedMessage:
        return Drop.MALFORMED
    return message if message.device == topic.device else Drop.OTHER_DEVICE
