"""Tries at a broker, on topics of its own, all that publishing and devices need of one.

Each trial says what was found, what it means, and who must act. The topics look like those of a
payload and of a model that no device asks for (a random digest, a random name), so the broker's
access rules are those that will count; what is retained there is removed at the end. Each trial
has a connection of its own, since some limits show by closing it.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol

import msgspec

from slotcast_publisher.delivery.link_events import Acked, Arrived, Event, Lost, Subscribed
from slotcast_publisher.delivery.push import Item
from slotcast_publisher.delivery.readback import ReadbackWaits, ReadChannel, RetainedReader, collect
from slotcast_schemas import limits
from slotcast_schemas.errors import BrokerRefused, LinkDown
from slotcast_schemas.topics import Topics

Result = Literal["ok", "limited", "missing", "skipped"]

MESSAGES: Final = 128
"""The number of small messages for counting: as many as a device asks for at once
(docs/brokers.md)."""

FILTERS_A_PACKET: Final = 8
"""The number of filters that a device puts into one SUBSCRIBE."""

FILTERS_HELD: Final = 40
"""The most subscriptions that a device holds."""

NOTICE_BYTES: Final = 8_192
"""The bytes of a usual notice, which has 5 to 8 KB."""

MAP_BYTES: Final = 65_700
"""The bytes of a full part of a chunk map, of a payload of 2,048 chunks and more."""

SIZES: Final = (127_000, MAP_BYTES, 32_768, 16_384, 8_192, 4_096, 1_024)
"""The sizes in bytes that are tried, the largest first, beside the one that is needed."""

BROKER: Final = "the broker's owner"
"""Who must act where the broker's settings are at fault."""

PUBLISHER: Final = "you"
"""Who must act where the repository's settings are at fault."""


class TrialChannel(ReadChannel, Protocol):
    """What trials need of a connection; `broker_link.BrokerLink` is one."""

    protocol: str
    window: int
    retains: bool

    def publish(self, topic: str, data: bytes, *, retain: bool = True) -> int:
        """Send, and give the number that will be acknowledged.

        Args:
            topic: the topic.
            data: the message's bytes; empty ones take a retained message off.
            retain: whether the broker is to keep it.
        """


Connect = Callable[[], AbstractContextManager[TrialChannel]]


class BrokerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What one trial found; `who` must do `act`, if anybody must."""

    name: str
    result: Result
    detail: str
    who: str = ""
    act: str = ""


class Trials:
    """The trials at one broker, each of which gives what it found.

    Args:
        name: the broker's.
        connect: opens a connection, also to one that keeps no retained messages.
        topics: below the prefix that is used there.
        chunk_size_bytes: of the releases to be published.
        waits: for what is read back.

    Attributes:
        keeps: whether a retained message was kept.
        largest_bytes: the largest message that was kept and given back; None if none was tried.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        topics: Topics,
        *,
        chunk_size_bytes: int,
        waits: ReadbackWaits,
    ) -> None:
        self._name = name
        self._connect = connect
        self._topics = topics
        self._chunk_size_bytes = chunk_size_bytes
        self._waits = waits
        self._payload = secrets.token_bytes(32)
        self._model = f"slotcast-check-{secrets.token_hex(6)}"
        self._left: set[str] = set()
        self.largest_bytes: int | None = None
        self.keeps = False
        self._wildcards = False

    def messages(self, name: str) -> BrokerCheck:
        """Try whether a message of QoS 1 is acknowledged, and comes to who subscribed."""
        topic = self._topics.chunk(self._payload, 0)
        with self._connect() as link:
            refused = _ask(link, [topic], self._waits.answer_s)
            if refused:
                return _missing(name, f"a subscription to {topic} is refused", _RIGHTS)
            link.publish(topic, b"live", retain=False)
            acked, came = self._await_both(link, topic)
        if acked is None:
            return _missing(name, "a message of QoS 1 is not acknowledged", _RIGHTS)
        if acked.refused is not None:
            return _missing(name, f"a message to {topic} is refused: {acked.refused}", _RIGHTS)
        if not came:
            return _missing(name, "a message does not come to who subscribed to its topic", _RIGHTS)
        return BrokerCheck(name=name, result="ok", detail="QoS 1, written and read")

    def _await_both(self, link: TrialChannel, topic: str) -> tuple[Acked | None, bool]:
        """Wait for the acknowledgement of a message, and for the message itself."""
        acked, came = None, False
        for event in _events(link, self._waits.answer_s):
            if isinstance(event, Acked):
                acked = event
            came = came or (isinstance(event, Arrived) and event.topic == topic)
            if acked is not None and (came or acked.refused is not None):
                break
        return acked, came

    def retained(self, name: str) -> BrokerCheck:
        """Try whether a retained message is given to who subscribes later, with the flag set."""
        with self._connect() as link:
            if not link.retains:
                return _missing(name, "the broker says that it keeps none", _SERVE)
        item = self._item(self._topics.chunk(self._payload, 0), b"0")
        self._publish([item])
        reader = RetainedReader(self._connect, self._waits)
        if reader.still_missing([item]):
            if reader.unflagged:
                return _missing(name, "it comes back without the retain flag", _SERVE)
            return _missing(name, "acknowledged, and not given back", _SERVE)
        self.keeps = True
        return BrokerCheck(name=name, result="ok", detail="kept, and given back with its flag")

    def wildcard_subscriptions(self, name: str) -> BrokerCheck:
        """Try whether a filter with `+` is granted, and brings what is retained."""
        name_of_block = self._topics.block(self._payload, 0)
        came: set[str] = set()
        with self._connect() as link:
            says_none = not link.wildcards
            granted = not says_none and collect(
                link, name_of_block, self._waits, lambda topic, _data: came.add(topic)
            )
        self._wildcards = bool(came)
        if came:
            return BrokerCheck(name=name, result="ok", detail="granted, and bring what is retained")
        found = "granted, and bring nothing retained" if granted else "not served"
        return BrokerCheck(
            name=name,
            result="limited",
            detail=f"{found}: chunks are asked for one by one, which takes longer",
        )

    def count(self, name: str) -> BrokerCheck:
        """Try whether as many retained messages as a device asks for come for one filter."""
        items = [
            self._item(self._topics.chunk(self._payload, number), b"%d" % number)
            for number in range(MESSAGES)
        ]
        self._publish(items)
        lost = len(RetainedReader(self._connect, self._waits).missing(items))
        if lost:
            return _missing(
                name,
                f"of {MESSAGES} retained messages {lost} do not come back",
                (BROKER, "raise its limits on retained messages, and on queued ones per client"),
            )
        if not self._wildcards:
            return BrokerCheck(name=name, result="ok", detail=f"{MESSAGES}, one by one")
        came: set[str] = set()
        with self._connect() as link:
            collect(
                link,
                self._topics.everything(self._payload),
                self._waits,
                lambda topic, _data: came.add(topic),
            )
        if len(came) < MESSAGES:
            return BrokerCheck(
                name=name,
                result="limited",
                detail=f"one filter brings {len(came)} of {MESSAGES}: devices ask again",
                who=BROKER,
                act="raise its limit on retained messages for a subscription",
            )
        return BrokerCheck(name=name, result="ok", detail=f"{MESSAGES} for one filter")

    def filters(self, name: str) -> BrokerCheck:
        """Try whether one SUBSCRIBE may have eight filters."""
        topics = [self._topics.chunk(self._payload, n) for n in range(FILTERS_A_PACKET)]
        try:
            with self._connect() as link:
                refused = _ask(link, topics, self._waits.answer_s)
        except LinkDown:
            refused = topics
        if refused:
            return BrokerCheck(
                name=name,
                result="limited",
                detail=f"a SUBSCRIBE of {FILTERS_A_PACKET} filters is refused or ends the"
                " connection: they are asked for one by one",
            )
        return BrokerCheck(name=name, result="ok", detail=f"{FILTERS_A_PACKET} in one SUBSCRIBE")

    def subscriptions(self, name: str) -> BrokerCheck:
        """Try whether one connection may hold forty subscriptions."""
        held = 0
        with contextlib.suppress(LinkDown), self._connect() as link:
            for number in range(FILTERS_HELD):
                if _ask(link, [self._topics.chunk(self._payload, number)], self._waits.answer_s):
                    break
                held += 1
        if held < FILTERS_HELD:
            return BrokerCheck(
                name=name,
                result="limited",
                detail=f"a connection may hold {held}: devices hold fewer at once",
                who=BROKER,
                act="raise its limit on subscriptions for a client",
            )
        return BrokerCheck(name=name, result="ok", detail=f"{held} on one connection")

    def message_size(self, name: str) -> BrokerCheck:
        """Find the largest message that is kept and given back."""
        sizes = sorted({*SIZES, self._chunk_size_bytes}, reverse=True)
        self.largest_bytes = next((size for size in sizes if self._takes(size)), 0)
        needed = max(self._chunk_size_bytes, NOTICE_BYTES)
        if self.largest_bytes < needed:
            return _missing(
                name,
                f"the largest of {self.largest_bytes} bytes; {needed} are needed, for a chunk of"
                f" {self._chunk_size_bytes} and a notice of some {NOTICE_BYTES}",
                (BROKER, _size_advice(self.largest_bytes)),
            )
        if self.largest_bytes < MAP_BYTES:
            return BrokerCheck(
                name=name,
                result="limited",
                detail=f"the largest of {self.largest_bytes} bytes: the list of a payload's chunks"
                f" is one message, so a payload has {self.largest_bytes // 32} at most",
                who=PUBLISHER,
                act="set a larger chunk_size_bytes for larger models",
            )
        return BrokerCheck(name=name, result="ok", detail=f"{self.largest_bytes} bytes and more")

    def _takes(self, size_bytes: int) -> bool:
        number = MESSAGES  # a topic of its own
        item = self._item(self._topics.chunk(self._payload, number), bytes(size_bytes))
        try:
            self._publish([item])
            return not RetainedReader(self._connect, self._waits).missing([item])
        except (LinkDown, BrokerRefused):
            return False

    def notice(self, name: str) -> BrokerCheck:
        """Try whether the topics of notices and of chunk maps may be written and read."""
        items = [
            self._item(self._topics.notice(self._model), b"notice"),
            self._item(self._topics.map_part(self._payload, 0), b"map"),
        ]
        self._publish(items)
        missing = RetainedReader(self._connect, self._waits).still_missing(items)
        if missing:
            return _missing(name, f"{missing[0].topic} cannot be written or read", _RIGHTS)
        return BrokerCheck(
            name=name, result="ok", detail="notices and chunk maps, written and read"
        )

    def device_topics(self, name: str) -> BrokerCheck:
        """Try whether what devices say is heard: statuses here, wants and presence by `serve`."""
        exact = [
            self._topics.device(self._model, "status"),
            self._topics.device(self._model, "presence"),
            self._topics.device(self._model, "want"),
            self._topics.want(self._payload),
        ]
        with self._connect() as link:
            refused = [n for topic in exact for n in _ask(link, [topic], self._waits.answer_s)]
        if refused:
            return BrokerCheck(
                name=name,
                result="limited",
                detail=f"may not read {refused[0]}: `slotcast serve` cannot answer devices",
                who=_RIGHTS[0],
                act=_RIGHTS[1],
            )
        return BrokerCheck(
            name=name, result="ok", detail="statuses, presence and wants may be read"
        )

    def remove(self, name: str) -> BrokerCheck:
        """Try whether an empty retained message removes the one before; nothing of this stays."""
        topics = sorted(self._left)
        self._publish([Item(topic, 0, bytes) for topic in topics])
        if not self.keeps:
            return BrokerCheck(name=name, result="skipped", detail="nothing was kept")
        items = [Item(topic, 1, lambda: b"x") for topic in topics[:FILTERS_A_PACKET]]
        found: set[str] = set()
        with self._connect() as link:
            for item in items:
                collect(link, item.topic, self._waits, lambda topic, _data: found.add(topic))
        if found:
            return BrokerCheck(
                name=name,
                result="limited",
                detail=f"{min(found)} is still there: old payloads cannot be taken off",
                who=BROKER,
                act="let an empty retained message remove the one before it (MQTT 5, 3.3.1.3)",
            )
        return BrokerCheck(name=name, result="ok", detail="what was tried is gone again")

    # --- messages -----------------------------------------------------------------------------

    def _item(self, topic: str, data: bytes) -> Item:
        return Item(topic, len(data), lambda: data)

    def _publish(self, items: Sequence[Item]) -> None:
        """Send retained messages over one connection; each must be acknowledged.

        Raises:
            LinkDown: the connection was lost, or no acknowledgement came.
            BrokerRefused: one was refused.
        """
        with self._connect() as link:
            left = list(items)
            waiting: set[int] = set()
            while left or waiting:
                while left and len(waiting) < link.window:
                    item = left.pop(0)
                    data = item.read()
                    self._left.add(item.topic)
                    waiting.add(link.publish(item.topic, data, retain=True))
                match link.next_event(self._waits.answer_s):
                    case None:
                        raise LinkDown(f"{self._name}: no acknowledgement")
                    case Lost(why=why):
                        raise LinkDown(f"{self._name}: {why}")
                    case Acked(refused=str(why)):
                        raise BrokerRefused(f"{self._name}: refused a message: {why}")
                    case Acked(mid=mid):
                        waiting.discard(mid)
                    case _:
                        pass


_RIGHTS: Final = (
    BROKER,
    "give this user the right to read and write below the topic prefix (mosquitto/acl.publishers)",
)
_SERVE: Final = (
    PUBLISHER,
    "have retained messages switched on, or run `slotcast serve`, which answers what devices want",
)


def _size_advice(largest_bytes: int) -> str:
    most = max(limits.CHUNK_MIN_BYTES, largest_bytes)
    return (
        "raise its limits on packets and on retained messages, or set chunk_size_bytes to at most"
        f" {most}"
    )


def _missing(name: str, detail: str, who_and_act: tuple[str, str]) -> BrokerCheck:
    who, act = who_and_act
    return BrokerCheck(name=name, result="missing", detail=detail, who=who, act=act)


def _events(link: TrialChannel, timeout_s: float) -> Iterator[Event]:
    """Give what happens, until nothing more did in time.

    Raises:
        LinkDown: the connection was lost.
    """
    deadline_s = time.monotonic() + timeout_s
    while (event := link.next_event(deadline_s - time.monotonic())) is not None:
        if isinstance(event, Lost):
            raise LinkDown(f"{link.name}: {event.why}")
        yield event


def _ask(link: TrialChannel, filters: Sequence[str], timeout_s: float) -> list[str]:
    """Subscribe; gives the filters that were refused.

    Raises:
        LinkDown: the connection was lost, or the broker does not answer.
    """
    mid = link.subscribe(*filters)
    for event in _events(link, timeout_s):
        if isinstance(event, Subscribed) and event.mid == mid:
            granted = (*event.granted, *[False] * len(filters))
            return [
                name for name, is_granted in zip(filters, granted, strict=False) if not is_granted
            ]
    raise LinkDown(f"{link.name}: no answer to a SUBSCRIBE")
