"""What a broker says in its CONNACK: that it takes the connection, with what bounds; or why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_schemas.errors import BrokerRefused

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

_HINTS: Final = {
    0x9B: "it offers no QoS 1, which is needed",
    0x85: "it does not take this device's id as a client id",
    0x89: "it is asked again later",
}
"""What to do about a CONNACK, by its reason code."""


class Accepted(msgspec.Struct, frozen=True):
    """What the broker said in its CONNACK, as far as it bounds us."""

    protocol: str
    credit_chunks: int
    retains: bool = True
    has_wildcards: bool = True


def refusal_of(broker: str, reason: ReasonCode) -> BrokerRefused:
    """Give the error for a connection that a broker does not take."""
    hint = _HINTS.get(reason.value, "check user, password, certificate and its rights")
    return BrokerRefused(f"{broker}: the broker refused the connection: {reason}; {hint}")
