"""What crosses the wire; each message in a module of its own, in the order an update meets them."""

from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.messages.chunkmap import MapPart
from slotcast_schemas.messages.metrics import Metrics
from slotcast_schemas.messages.notice import Notice
from slotcast_schemas.messages.offer import Offer
from slotcast_schemas.messages.presence import Presence
from slotcast_schemas.messages.release import Release
from slotcast_schemas.messages.renewal import Certificate, Renewal
from slotcast_schemas.messages.status import Status
from slotcast_schemas.messages.want import Want

ALL = (Notice, Release, Offer, MapPart, Want, Status, Metrics, Presence, Renewal, Certificate)
"""Every message that crosses the wire."""

make_decoders(*ALL)

__all__ = [
    "ALL",
    "Certificate",
    "MapPart",
    "Metrics",
    "Notice",
    "Offer",
    "Presence",
    "Release",
    "Renewal",
    "Status",
    "Want",
]
