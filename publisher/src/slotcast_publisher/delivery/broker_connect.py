"""Connects to a broker by the newest protocol that both sides speak, and reads what it keeps.

One connection, once it is open, is `broker_link`'s.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from slotcast_publisher.delivery.arrived_room import ArrivedRoom
from slotcast_publisher.delivery.broker_link import (
    USUAL_WAITS,
    BrokerLink,
    ConnectWaits,
    Inbound,
    OtherProtocol,
)
from slotcast_publisher.delivery.link_events import Arrived, Lost, Subscribed
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import BrokerRefused, LinkDown

_PROTOCOLS: Final = {"auto": ("5", "3.1.1"), "5": ("5",), "3.1.1": ("3.1.1",)}
"""By the setting `protocol`: the versions of MQTT that are tried, in this order."""


@contextlib.contextmanager
def open_link(
    broker: Broker,
    base: Path,
    *,
    needs_retained: bool = True,
    inbound: Inbound | None = None,
    room: ArrivedRoom | None = None,
    waits: ConnectWaits = USUAL_WAITS,
) -> Iterator[BrokerLink]:
    """Connect to a broker, by the newest protocol that it and the settings allow.

    Args:
        broker: where, and how.
        base: folder that the paths of certificates are relative to.
        needs_retained: whether a broker that keeps no retained messages is refused.
        inbound: where messages go that are many; they become events unless given.
        room: how many of those events may wait; the same for all senders unless given.
        waits: how long a connection is waited for.

    Raises:
        LinkDown: no answer, or the broker hung up before it gave one: it is worth trying again.
        BrokerRefused: the broker answered, and refused.
        UsageError: certificates that cannot be read.
    """
    make = functools.partial(
        BrokerLink,
        broker,
        base,
        needs_retained=needs_retained,
        inbound=inbound,
        room=room,
        waits=waits,
    )
    with _connect_by_newest(broker, make) as link:
        yield link


def _connect_by_newest(broker: Broker, make: Callable[..., BrokerLink]) -> BrokerLink:
    protocols = _PROTOCOLS[broker.protocol]
    for protocol in protocols[:-1]:
        # Brokers of MQTT 3.1.1 answer "unsupported protocol version", hang up, or say nothing:
        # amqtt 0.12 does so where the CONNECT carries properties.
        with contextlib.suppress(OtherProtocol):
            return make(protocol=protocol, is_last=False)
    return make(protocol=protocols[-1])


def speaks_newest(
    broker: Broker, base: Path, inbound: Inbound, waits: ConnectWaits = USUAL_WAITS
) -> bool:
    """Say whether a broker takes a connection by the newest protocol now; hangs up at once.

    One that said nothing may have been busy, and not of an older protocol.

    Args:
        broker: where, and how.
        base: folder that the paths of certificates are relative to.
        inbound: as it would be connected to, for brokers that are silent at what that asks for.
        waits: how long a connection is waited for.
    """
    newest = _PROTOCOLS[broker.protocol][0]
    try:
        with BrokerLink(
            broker, base, newest, needs_retained=False, inbound=inbound, is_last=False, waits=waits
        ):
            return True
    except (LinkDown, BrokerRefused):
        return False


def fetch_retained(link: BrokerLink, topic: str, timeout_s: float) -> bytes | None:
    """Give the message that the broker keeps under a topic, or None if none came in time.

    Args:
        link: an open connection.
        topic: the topic.
        timeout_s: how long to wait for it.

    Raises:
        BrokerRefused: this user may not read it.
        LinkDown: the connection was lost.
    """
    link.subscribe(topic)
    deadline_s = time.monotonic() + timeout_s
    while True:
        match link.next_event(deadline_s - time.monotonic()):
            case None:
                return None
            case Arrived(topic=name, data=data) if name == topic:
                return data
            case Subscribed(refused=str(why)):
                raise BrokerRefused(f"{link.name}: may not read {topic}: {why}")
            case Lost(why=why):
                raise LinkDown(f"{link.name}: {why}")
            case _:
                continue
