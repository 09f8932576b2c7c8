"""Finds out what a broker truly keeps, by reading its retained messages back.

An acknowledgement says that a message arrived, not that it is kept: MQTT 3.1.1 has no words for
"dropped", some brokers confirm before they keep, some take the retain flag away, and what was
kept may be lost since (ADR 0062). MQTT has no way to list topics, so what is there is fetched.

Neighbours are asked for by one wildcard filter. Where a broker serves no wildcards, or gives less
for them than for exact topics, the difference is found out on the first messages, and exact
topics are asked for from then on. Nothing marks the end of what is retained, so what has not come
in a quiet time counts as missing: it is sent again, which harms nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from slotcast_publisher.delivery.link_events import Arrived, Event, Lost, Subscribed
from slotcast_publisher.delivery.push import RECONNECT_S, Item
from slotcast_schemas.errors import BrokerRefused, LinkDown

FILTERS_A_PACKET: Final = 8
"""The number of filters in one SUBSCRIBE: as many as AWS IoT Core takes."""

FILTERS_HELD: Final = 32
"""The number of filters held at once: 256 chunks, well below the 1,000 messages that Mosquitto
queues."""

_LOSSES_MAX: Final = 3
"""The number of lost connections after which reading back gives up."""

_EMPTY_WINDOWS: Final = 2
"""The number of windows in a row without any message after which the rest counts as missing."""

_PROOF_TOPICS: Final = 8
"""The number of missing messages that are asked for by their own topics, to see whether wildcards
hide them."""

_LOOKS: Final = 2
"""The number of times that one message is asked for; the second answer shows that the broker is not
just slow."""

_SECOND_LOOK_MAX: Final = 256
"""The most missing messages that are looked for again, each by its own topic."""


class ReadChannel(Protocol):
    """What reading needs of a connection; `broker_link.BrokerLink` is one."""

    name: str
    wildcards: bool

    def subscribe(self, *filters: str) -> int:
        """Ask, and give the number that the answer has."""

    def unsubscribe(self, *filters: str) -> int:
        """Ask for no more."""

    def next_event(self, timeout_s: float) -> Event | None:
        """Give what happened next."""


Connect = Callable[[], contextlib.AbstractContextManager[ReadChannel]]


@dataclass(frozen=True, slots=True)
class ReadbackWaits:
    """How long to wait, in seconds.

    Attributes:
        quiet_s: after the last answer or message, until what has not come counts as missing.
        answer_s: for the answer to a subscription.
        patience_s: for a message that was just acknowledged: brokers may keep it a moment later.
        again_s: between two looks for such a message.
        reconnect_s: bounds of the first wait between two connections, and of every one.
    """

    quiet_s: float = 1.0
    answer_s: float = 20.0
    patience_s: float = 10.0
    again_s: float = 0.5
    reconnect_s: tuple[float, float] = RECONNECT_S


@dataclass(slots=True)
class _Window:
    """Messages that are asked for at once, and what came of it."""

    wanted: dict[str, Item]
    came: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[Item]:
        return [item for topic, item in self.wanted.items() if topic not in self.came]


class RetainedReader:
    """Reads retained messages back.

    Args:
        connect: opens a connection to the broker.
        waits: how long to wait.
        progress: told how many bytes were looked at since the last time.

    Attributes:
        unflagged: messages that came without the retain flag, and so prove nothing.
        false: topics under which the broker keeps other bytes.
    """

    def __init__(
        self,
        connect: Connect,
        waits: ReadbackWaits | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._connect = connect
        self._waits = waits or ReadbackWaits()
        self._progress = progress
        self._exact = False
        self._is_proven = False
        self._filters_a_packet = FILTERS_A_PACKET
        self._filters_held = FILTERS_HELD
        self.unflagged = 0
        self.false: set[str] = set()

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """Give those of the items that the broker does not keep, or keeps with other bytes.

        Raises:
            BrokerRefused: this user may not read them.
            LinkDown: the connection is lost again and again.
        """
        found = self._missing(items)
        if self._exact or not 0 < len(found) <= _SECOND_LOOK_MAX:
            return found
        self._exact = True  # before they are called lost, each is asked for by its name
        return self._missing(found)

    def _missing(self, items: Sequence[Item]) -> list[Item]:
        left = list(items)
        found: list[Item] = []
        losses = 0
        while left:
            before = len(left)
            try:
                with self._connect() as link:
                    self._exact = self._exact or not link.wildcards
                    self._read_all(link, left, found)
            except LinkDown:
                losses = 1 if len(left) < before else losses + 1
                self._filters_a_packet = 1  # some brokers close for a SUBSCRIBE of several
                if losses >= _LOSSES_MAX:
                    raise
        return found

    def still_missing(
        self, items: Sequence[Item], before_again: Callable[[], None] = lambda: None
    ) -> list[Item]:
        """Look for a few messages that were just acknowledged, again and again for a while.

        Args:
            items: the messages.
            before_again: called before each look but the first: some brokers give what they
                retain once a connection, so a new one is made.

        Raises:
            BrokerRefused: this user may not read them.
            LinkDown: the connection is lost again and again.
        """
        self._exact = True
        deadline_s = time.monotonic() + self._waits.patience_s
        left = self.missing(items)
        while left and time.monotonic() < deadline_s:
            before_again()
            time.sleep(self._waits.again_s)
            left = self.missing(left)
        return left

    def _read_all(self, link: ReadChannel, left: list[Item], found: list[Item]) -> None:
        """Read window by window; takes what is decided off `left`, and adds what is missing."""
        empty = 0
        while left:
            window = self._next_window(left)
            self._read(link, window, exact=self._exact)
            if (
                window.missing
                and not (self._exact or self._is_proven)
                and self._do_wildcards_hide(link, window)
            ):
                self._read(link, window, exact=True)
            empty = 0 if window.came else empty + 1
            if empty >= _EMPTY_WINDOWS and (self._exact or self._is_proven):
                window = _Window({item.topic: item for item in left})  # it lost them all
            done = set(window.wanted)
            found += window.missing
            left[:] = [item for item in left if item.topic not in done]
            self._progress(sum(item.size_bytes for item in window.wanted.values()))

    def _next_window(self, left: Sequence[Item]) -> _Window:
        filters: set[str] = set()
        window = _Window({})
        for item in left:
            name = self._filter(item.topic)
            if name not in filters and len(filters) >= self._filters_held:
                break
            filters.add(name)
            window.wanted[item.topic] = item
        return window

    def _filter(self, topic: str) -> str:
        return topic if self._exact else wide(topic)

    def _do_wildcards_hide(self, link: ReadChannel, window: _Window) -> bool:
        """Find out whether exact topics bring what the wildcards did not."""
        some = window.missing[:_PROOF_TOPICS]
        proof = _Window({item.topic: item for item in some})
        self._read(link, proof, exact=True)
        window.came |= proof.came
        self._exact = bool(proof.came)
        self._is_proven = True
        return self._exact

    def _read(self, link: ReadChannel, window: _Window, *, exact: bool) -> None:
        """Ask for what is missing of a window, and wait until it is there or nothing comes."""
        topics = [item.topic for item in window.missing]
        filters = list(dict.fromkeys(topics if exact else map(wide, topics)))
        while filters:
            now, filters = filters[: self._filters_held], filters[self._filters_held :]
            refused = self._ask(link, window, now)
            if not refused:
                continue
            if len(refused) < len(now):  # a quota of subscriptions
                self._filters_held = len(now) - len(refused)
                filters = refused + filters
            elif exact:
                raise BrokerRefused(_may_not_read(link.name, now[0], "refused"))
            else:
                self._exact = True
                self._read(link, window, exact=True)
                return

    def _ask(self, link: ReadChannel, window: _Window, filters: list[str]) -> list[str]:
        """Hold these filters until what they bring is there; gives those that were refused."""
        step = self._filters_a_packet
        packets = [filters[at : at + step] for at in range(0, len(filters), step)]
        asked = {link.subscribe(*packet): packet for packet in packets}
        expected = {
            topic for topic in window.wanted if topic in filters or wide(topic) in filters
        } - window.came
        refused: list[str] = []
        while asked or expected - window.came:
            event = link.next_event(self._waits.answer_s if asked else self._waits.quiet_s)
            match event:
                case None if asked:
                    raise LinkDown(f"{link.name}: no answer to a SUBSCRIBE")
                case None:
                    break
                case Lost(why=why):
                    raise LinkDown(f"{link.name}: {why}")
                case Subscribed(mid=mid, granted=granted) if mid in asked:
                    refused += _refused(asked.pop(mid), granted)
                case Arrived():
                    self._arrived(event, window)
                case _:
                    pass
        held = [name for name in filters if name not in refused]
        if held:
            link.unsubscribe(*held)
        return refused

    def _arrived(self, message: Arrived, window: _Window) -> None:
        item = window.wanted.get(message.topic)
        if item is None:
            return
        if not message.retained:
            self.unflagged += 1
        elif message.data == item.read():
            window.came.add(message.topic)
            self.false.discard(message.topic)
        else:
            self.false.add(message.topic)


def read_one(link: ReadChannel, topic: str, waits: ReadbackWaits) -> bytes | None:
    """Give the message that the broker keeps under a topic, or None if none comes.

    Args:
        link: an open connection.
        topic: the topic.
        waits: how long to wait for it.

    Raises:
        BrokerRefused: this user may not read it.
        LinkDown: the connection was lost, or the broker does not answer.
    """
    for _ in range(_LOOKS):  # the second answer shows that the broker is not just slow
        link.subscribe(topic)
        found = _await_one(link, topic, waits)
        link.unsubscribe(topic)
        if found is not None:
            return found
    return None


def _await_one(link: ReadChannel, topic: str, waits: ReadbackWaits) -> bytes | None:
    is_granted = False
    while True:
        match link.next_event(waits.quiet_s if is_granted else waits.answer_s):
            case None if is_granted:
                return None
            case None:
                raise LinkDown(f"{link.name}: no answer to a SUBSCRIBE")
            case Arrived(topic=name, data=data, retained=True) if name == topic:
                return data
            case Subscribed(refused=str(why)):
                raise BrokerRefused(_may_not_read(link.name, topic, why))
            case Subscribed():
                is_granted = True
            case Lost(why=why):
                raise LinkDown(f"{link.name}: {why}")
            case _:
                pass


def collect(
    link: ReadChannel, name: str, waits: ReadbackWaits, take: Callable[[str, bytes], None]
) -> bool:
    """Hand over all that a broker retains under a filter; gives whether it granted that.

    Args:
        link: an open connection.
        name: the filter to subscribe to.
        waits: how long to wait for more.
        take: takes each message's topic and bytes.

    Raises:
        LinkDown: the connection was lost, or the broker does not answer.
    """
    link.subscribe(name)
    is_granted = False
    while True:
        match link.next_event(waits.quiet_s if is_granted else waits.answer_s):
            case None if is_granted:
                break
            case None:
                raise LinkDown(f"{link.name}: no answer to a SUBSCRIBE")
            case Subscribed(refused=str()):
                return False
            case Subscribed():
                is_granted = True
            case Arrived(topic=topic, data=data, retained=True):
                take(topic, data)
            case Lost(why=why):
                raise LinkDown(f"{link.name}: {why}")
            case _:
                pass
    link.unsubscribe(name)
    return True


def _may_not_read(broker: str, topic: str, why: str) -> str:
    return (
        f"{broker}: may not read {topic} ({why}): give the publisher's user the right to read"
        " below the topic prefix, or say `--read-back none` to believe what the broker acknowledges"
    )


def wide(topic: str) -> str:
    """Give the filter that brings a payload's chunk or map part with its neighbours.

    A notice stands for itself: its neighbours are other things.
    """
    head, _, last = topic.rpartition("/")
    return f"{head}/+" if last.isdecimal() else topic


def _refused(filters: Sequence[str], granted: Sequence[bool]) -> list[str]:
    """Name the refused ones; an answer that is too short grants nothing more."""
    return [
        name for number, name in enumerate(filters) if number >= len(granted) or not granted[number]
    ]
