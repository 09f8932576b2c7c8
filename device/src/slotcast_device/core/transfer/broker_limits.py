"""What a broker allows, and what its answers teach about that. No I/O.

MQTT leaves much to the broker: which protocol, how many subscriptions, how many filters in a
packet, whether wildcards, whether retained messages, how large a packet. MQTT 5 brokers say some of
it; those of 3.1.1 answer 0x80 or hang up. So the device asks as it likes best, and where that fails
it asks otherwise: each function here takes what is known and one thing that happened, and gives
what is known then. Nothing is learnt where nothing else could be tried; then a refusal is final.

What was learnt is kept over restarts (`broker_book`), and forgotten after a week: brokers change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.fields import UnixTime
from slotcast_schemas.limits import BLOCK_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Collection

FILTERS_PER_PACKET: Final = 8
"""The most filters in one SUBSCRIBE: as many as AWS IoT Core takes."""
SUBSCRIPTIONS_MAX: Final = 48
"""The most subscriptions of a connection, notices included; AWS IoT Core allows 50."""
FILTERS_MAX: Final = 40
"""The most subscriptions of one transfer."""
NOTICE_USUAL_BYTES: Final = 8192
"""The most bytes of a usual notice, which a broker must take."""
UNBOUNDED: Final = 2**28
"""What stands for no bound: more messages than any payload has, and more bytes than MQTT can put
into a packet."""

FAILED: Final = 0x80
"""The reason code for a failure that is not explained (MQTT 5.0, 2.4); the only one that 3.1.1 has
for a refused filter."""
TAKEN_OVER: Final = 0x8E
"""The reason code for another connection with this client id (MQTT 5.0, 2.4)."""
QUOTA_EXCEEDED: Final = 0x97
"""The reason code for more than the broker allows (MQTT 5.0, 2.4)."""
PACKET_TOO_LARGE: Final = 0x95
"""The reason code for a packet of more bytes than the broker takes (MQTT 5.0, 2.4)."""
RETAIN_NOT_SUPPORTED: Final = 0x9A
"""The reason code of a broker that keeps no retained messages (MQTT 5.0, 2.4)."""
WILDCARDS_NOT_SUPPORTED: Final = 0xA2
"""The reason code of a broker that takes no filters with wildcards (MQTT 5.0, 2.4)."""
UNSUPPORTED_VERSION: Final = 0x84
"""The reason code of a broker that does not speak this version of MQTT (MQTT 5.0, 2.4)."""

Protocol = Literal["5", "3.1.1"]
"""The versions of MQTT that a device speaks."""


class BrokerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one broker is known to allow; the default is what is hoped for.

    Attributes:
        protocol: what it speaks, once it took a connection.
        retained: whether it takes retained messages.
        filters_per_packet: filters that one SUBSCRIBE may have.
        subscriptions_max: subscriptions that a connection may hold.
        wildcard_messages_max: retained messages that a filter with a wildcard brings at most;
            0 where such filters are refused.
        packet_max_bytes: the largest packet.
        learned: when the first of these was learnt, Unix time in seconds; 0 is never.
    """

    protocol: Protocol | None = None
    retained: bool = True
    filters_per_packet: Annotated[int, Meta(ge=1, le=FILTERS_PER_PACKET)] = FILTERS_PER_PACKET
    subscriptions_max: Annotated[int, Meta(ge=1, le=SUBSCRIPTIONS_MAX)] = SUBSCRIPTIONS_MAX
    wildcard_messages_max: Annotated[int, Meta(ge=0, le=UNBOUNDED)] = UNBOUNDED
    packet_max_bytes: Annotated[int, Meta(ge=1, le=UNBOUNDED)] = UNBOUNDED
    learned: UnixTime = 0

    def words(self) -> tuple[str, ...]:
        """Say, for people, what it does not allow."""
        said = []
        if not self.retained:
            said.append("keeps no retained messages")
        if self.filters_per_packet < FILTERS_PER_PACKET:
            said.append(f"filters in a SUBSCRIBE: at most {self.filters_per_packet}")
        if self.subscriptions_max < SUBSCRIPTIONS_MAX:
            said.append(f"subscriptions: at most {self.subscriptions_max}")
        if self.wildcard_messages_max < BLOCK_CHUNKS:
            said.append("gives no retained messages, or too few, for a wildcard")
        elif self.wildcard_messages_max < UNBOUNDED:
            said.append(f"at most {self.wildcard_messages_max} retained messages for a filter")
        if self.packet_max_bytes < UNBOUNDED:
            is_few = self.packet_max_bytes < NOTICE_USUAL_BYTES
            why = ", and a notice alone has 5 to 8 KB" if is_few else ""
            said.append(f"packets of at most {self.packet_max_bytes} bytes{why}")
        return tuple(said)


make_decoders(BrokerLimits)


def has_wildcard(name: str) -> bool:
    """Whether a filter can match more than one topic."""
    return "+" in name or "#" in name


class Refusal(msgspec.Struct, frozen=True):
    """A filter that the broker refused.

    Attributes:
        filter: which.
        code: its reason code; 0x80 where it gave none.
        text: what happened, for people.
    """

    filter: str
    code: int
    text: str


def after_refusal(
    limits: BrokerLimits, refusal: Refusal, held: Collection[str], *, may_be_quota: bool
) -> tuple[BrokerLimits, bool]:
    """Give the limits that a refusal teaches, and whether asking again may then work.

    Args:
        limits: what was known before.
        refusal: the refused filter.
        held: filters that this connection has.
        may_be_quota: False once a filter was refused without a reason though none was held.
    """
    is_unsaid = refusal.code == FAILED
    is_quota = refusal.code == QUOTA_EXCEEDED
    takes_wildcards = any(map(has_wildcard, held))
    if has_wildcard(refusal.filter) and not (is_quota or (is_unsaid and takes_wildcards)):
        # A rule may forbid the wildcard alone, so this is tried whatever the code says.
        return msgspec.structs.replace(limits, wildcard_messages_max=0), True
    if held and (is_quota or (is_unsaid and may_be_quota)):
        fewer = min(len(held), limits.subscriptions_max)
        return msgspec.structs.replace(limits, subscriptions_max=fewer), True
    return limits, False


class Ending(msgspec.Struct, frozen=True):
    """How a connection ended that the broker had taken.

    Attributes:
        code: the reason code of the broker's DISCONNECT; None where there was none.
        filters: those of the SUBSCRIBE without an answer that had most; none if all had one.
        topic: of the largest message without a receipt; empty if all had one.
        size_bytes: of that message's packet, about.
        is_retained: whether it was to be retained.
        is_single: whether nothing else waited for an answer, so that this is what ended it.
    """

    code: int | None = None
    filters: tuple[str, ...] = ()
    topic: str = ""
    size_bytes: int = 0
    is_retained: bool = False
    is_single: bool = False


SMALL_BYTES: Final = 512
"""The bytes up to which a packet is small: no broker is known that refuses such a packet for its
size."""


def after_ending(limits: BrokerLimits, ending: Ending) -> BrokerLimits:
    """Give the limits that a connection's end teaches; equal ones if it teaches nothing.

    A link that was cut looks like a broker that hung up. What is cheap to give up (filters in a
    packet) is given up at once; the rest only where the broker says a code, or where there is one
    thing alone that it can have hung up on.
    """
    change: dict[str, object] = {}
    if len(ending.filters) > 1:
        change["filters_per_packet"] = min(limits.filters_per_packet, len(ending.filters) // 2)
    elif ending.filters and has_wildcard(ending.filters[0]):
        if ending.is_single or ending.code == WILDCARDS_NOT_SUPPORTED:
            change["wildcard_messages_max"] = 0
    elif ending.topic:
        change = _learn_from_publishing(limits, ending)
    return msgspec.structs.replace(limits, **change)


def _learn_from_publishing(limits: BrokerLimits, ending: Ending) -> dict[str, object]:
    is_retained = ending.is_retained and limits.retained
    is_small = ending.size_bytes <= SMALL_BYTES
    if ending.code == RETAIN_NOT_SUPPORTED or (ending.is_single and is_retained and is_small):
        return {"retained": False}
    if (ending.code == PACKET_TOO_LARGE or ending.is_single) and not is_small:
        return {"packet_max_bytes": min(limits.packet_max_bytes, ending.size_bytes - 1)}
    return {}


def filters_each(models: int, limits: BrokerLimits) -> int:
    """Give how many subscriptions each model may have beside that of its notice.

    It is one at least, so with many models the connection's bound holds only while not all of them
    update at once. Where the bound has no room but for the notices, their subscriptions are given
    up while chunks are fetched (`lends_notices`).
    """
    lent = models if lends_notices(models, limits) else 0
    room = limits.subscriptions_max - models + lent
    least = 2 if limits.subscriptions_max == SUBSCRIPTIONS_MAX else 1
    return max(least, room // models)


def lends_notices(models: int, limits: BrokerLimits) -> bool:
    """Whether the notices' subscriptions are to be let go of while chunks are fetched."""
    return limits.subscriptions_max <= models


class Allowance(msgspec.Struct):
    """What one of several models may ask of the present broker.

    Attributes:
        limits: what the broker is known to allow.
        models: how many share the connection, this one included.
        is_wildcard_proven: whether a filter with a wildcard brought a whole block unaided.
    """

    limits: BrokerLimits = msgspec.field(default_factory=BrokerLimits)
    models: int = 1
    is_wildcard_proven: bool = False
    _broker: str = ""

    def connected(self, broker: str, limits: BrokerLimits) -> None:
        """Keep to what this connection allows; what another broker proved says nothing of it."""
        self.is_wildcard_proven = self.is_wildcard_proven and broker == self._broker
        self._broker, self.limits = broker, limits

    @property
    def filters(self) -> int:
        """Subscriptions that one transfer may hold at once."""
        return min(FILTERS_MAX, filters_each(self.models, self.limits))

    @property
    def has_block_filters(self) -> bool:
        """Whether one filter brings all the chunks of a block."""
        return self.limits.wildcard_messages_max >= BLOCK_CHUNKS
