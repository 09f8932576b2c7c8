"""A broker in memory, as a publisher sees it, with the limits that brokers have.

broker = LimitedBroker(keeps=lambda topic, data: False)      # acknowledges, and keeps nothing
with broker.connect() as link:
    link.publish(...); link.subscribe(...); link.next_event(0)
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from slotcast_publisher.delivery.link_events import (
    Acked,
    Arrived,
    Event,
    Lost,
    Subscribed,
    Unsubscribed,
)
from slotcast_schemas.errors import LinkDown


@dataclass(slots=True)
class LimitedBroker:
    """What it keeps, and what it does not do.

    Attributes:
        keeps: whether a retained message is kept; it is acknowledged in any case.
        keeps_after: looks at a message before it is given back: brokers confirm before they keep.
        wildcards: `served`; `refused` in a SUBACK; `announced` as missing in CONNACK; `empty`:
            granted, and nothing that is retained comes for them.
        retained_cap: retained messages that one filter brings at most.
        filters_max: a SUBSCRIBE of more closes the connection.
        held_max: a filter past so many on one connection is refused.
        packet_max_bytes: a larger message closes the connection.
        may_read: whether this user may subscribe at all.
        may_write: whether this user's messages are taken.
        announces_no_retained: whether CONNACK says that none are kept.
        flags: whether the retain flag is set on what is retained.
    """

    keeps: Callable[[str, bytes], bool] = lambda _topic, _data: True
    keeps_after: int = 0
    wildcards: str = "served"
    retained_cap: int | None = None
    filters_max: int | None = None
    held_max: int | None = None
    packet_max_bytes: int | None = None
    may_read: bool = True
    may_write: bool = True
    announces_no_retained: bool = False
    flags: bool = True
    kept: dict[str, bytes] = field(default_factory=dict)
    looks: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    asked: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def connect(self) -> Iterator[LimitedLink]:
        """Open a connection."""
        self.connections += 1
        yield LimitedLink(self)

    def retained(self, name: str) -> list[tuple[str, bytes]]:
        """Give what a filter brings."""
        if "+" in name and self.wildcards == "empty":
            return []
        topics = [name] if "+" not in name else [t for t in sorted(self.kept) if matches(name, t)]
        found = [(topic, self.kept[topic]) for topic in topics if topic in self.kept]
        self.looks.update(topic for topic, _ in found)
        ready = [(t, d) for t, d in found if self.looks[t] > self.keeps_after]
        return ready[: self.retained_cap]


class LimitedLink:
    """A connection to it; `broker_link.BrokerLink` is the real one."""

    name = "broker"
    protocol = "5"
    window = 20

    def __init__(self, broker: LimitedBroker) -> None:
        self._broker = broker
        self._events: deque[Event] = deque()
        self._numbers = itertools.count(1)
        self._held: set[str] = set()
        self.wildcards = broker.wildcards != "announced"
        self.retains = not broker.announces_no_retained

    def publish(self, topic: str, data: bytes, *, retain: bool = True) -> int:
        """Take a message; it comes to who subscribed, and stays if it is to be retained."""
        mid = next(self._numbers)
        most = self._broker.packet_max_bytes
        if most is not None and len(data) > most:
            self._events.append(Lost("Packet too large"))
            return mid
        if not self._broker.may_write:
            self._events.append(Acked(mid, "Not authorized"))
            return mid
        if any(matches(name, topic) for name in self._held):
            self._events.append(Arrived(topic, data))
        if retain:
            self._keep(topic, data)
        self._events.append(Acked(mid, None))
        return mid

    def _keep(self, topic: str, data: bytes) -> None:
        if not data:  # it removes what is retained (MQTT 5, 3.3.1.3)
            self._broker.kept.pop(topic, None)
        elif self._broker.keeps(topic, data):
            self._broker.kept[topic] = data

    def subscribe(self, *filters: str) -> int:
        """Answer, and give what is retained."""
        mid = next(self._numbers)
        if self._broker.filters_max is not None and len(filters) > self._broker.filters_max:
            self._events.append(Lost("Protocol error"))
            return mid
        granted = tuple(self._grant(name) for name in filters)
        refused = None if all(granted) else "Not authorized"
        self._events.append(Subscribed(refused, mid, granted))
        for name, is_granted in zip(filters, granted, strict=True):
            if is_granted:
                for topic, data in self._broker.retained(name):
                    self._events.append(Arrived(topic, data, retained=self._broker.flags))
        return mid

    def unsubscribe(self, *filters: str) -> int:
        """Hold these no more."""
        mid = next(self._numbers)
        self._held -= set(filters)
        self._events.append(Unsubscribed(mid))
        return mid

    def next_event(self, timeout_s: float) -> Event | None:
        """Give what happened next; nothing more happens by itself."""
        del timeout_s
        if self._events and isinstance(self._events[0], Lost):
            raise LinkDown("broker: gone")
        return self._events.popleft() if self._events else None

    def _grant(self, name: str) -> bool:
        self._broker.asked.append(name)
        is_wild = "+" in name or "#" in name
        if not self._broker.may_read or (is_wild and self._broker.wildcards == "refused"):
            return False
        most = self._broker.held_max
        if most is not None and len(self._held | {name}) > most:
            return False
        self._held.add(name)
        return True


def matches(name: str, topic: str) -> bool:
    """Say whether a filter matches a topic; `+` and `#` as MQTT 5, 4.7.1 has them."""
    want, have = name.split("/"), topic.split("/")
    for level, part in enumerate(want):
        if part == "#":
            return True
        if level >= len(have) or part not in {"+", have[level]}:
            return False
    return len(want) == len(have)
