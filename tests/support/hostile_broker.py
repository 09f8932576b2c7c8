"""A broker that lies, in every packet type of MQTT, by a plan that is drawn from a seed.

    content = retained_of(broker.url, prefix)              # what an honest broker keeps
    with HostileBroker(content, plan=("publish_qos_2",), lies_for_s=5) as hostile:
        ...                                                # a device connects to hostile.url
    hostile.connections, hostile.was_left, hostile.sent_bytes

Between its lies it answers as a broker does, and gives what it was told is the truth: what devices
ask for, they do not get from a broker that says nothing. It lies for a while, then it is gone.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, NoReturn, Self

from tests.support.limited_broker import matches
from tests.support.mqtt_packets import NotMqtt, Packet, Packets, remaining_length

_LIES_MAX: Final = 4
_FLOOD: Final = 50
"""Packets that are sent together."""
_HONEST_S: Final = 0.3
"""For so long it answers as a broker does, before a lie and after it."""
_DRIBBLE_S: Final = 0.02
_CHUNK: Final = r"/payloads/\w{64}/\d+/"


class Over(Exception):
    """The time for lies is over, or the device has left."""


class Victim:
    """A device's connection: what it asks for is answered while lies are sent.

    Args:
        sock: the connection.
        content: messages by topic, as an honest broker keeps them.
        rng: of the lies.
        until_s: when the lies end, on the monotonic clock.
    """

    def __init__(
        self, sock: socket.socket, content: Mapping[str, bytes], rng: random.Random, until_s: float
    ) -> None:
        self.content = content
        self.rng = rng
        self.version = 4
        self.sent_bytes = 0
        self.is_open = False
        self.is_silent = False
        self.was_left = False
        self.filters: list[str] = []
        self.falsify: Callable[[str, bytes], bytes] = lambda _topic, data: data
        self._sock = sock
        self._until_s = until_s
        self._packets = Packets()
        self._answers = bytearray()
        self._ids = itertools.cycle(range(1, 65536))
        sock.setblocking(False)

    @property
    def is_v5(self) -> bool:
        """Whether the device speaks MQTT 5."""
        return self.version == 5

    # --- sending --------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send all of it, and answer meanwhile.

        Raises:
            Over: the device has left, or the time for lies is over.
        """
        going = bytearray(data)
        while going:
            if not self._look(wants_write=True):
                continue
            try:
                sent = self._sock.send(going)
            except BlockingIOError:
                continue
            except OSError:
                self._left()
            self.sent_bytes += sent
            del going[:sent]

    def packet(self, head: int, body: bytes = b"") -> bytes:
        """Give a packet."""
        return bytes([head]) + remaining_length(len(body)) + body

    def publish(self, topic: str, data: bytes, head: int = 0x32) -> bytes:
        """Give a PUBLISH; with another first byte it may be one that no broker may send."""
        name = topic.encode()
        number = next(self._ids).to_bytes(2) if head & 0x06 else b""
        properties = b"\0" if self.is_v5 else b""
        return self.packet(head, len(name).to_bytes(2) + name + number + properties + data)

    def serve(self, for_s: float) -> None:
        """Do what a broker does, for a while; what it gives goes through `falsify`."""
        end_s = time.monotonic() + for_s
        while time.monotonic() < end_s:
            self._look(wants_write=False, timeout_s=0.02)
            answers, self._answers = bytes(self._answers), bytearray()
            self.send(answers)

    def wait_open(self) -> None:
        """Wait for CONNECT, and take it."""
        while not self.is_open:
            self._look(wants_write=False, timeout_s=0.02)

    def _look(self, *, wants_write: bool, timeout_s: float = 0.1) -> bool:
        """Read what came; say whether something can be sent."""
        if time.monotonic() > self._until_s:
            raise Over
        writes = [self._sock] if wants_write else []
        reads, writable, _ = select.select([self._sock], writes, [], timeout_s)
        if reads:
            try:
                data = self._sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                self._left()
            self._take(data)
        return bool(writable)

    def _left(self) -> NoReturn:
        self.was_left = True
        raise Over

    def _take(self, data: bytes) -> None:
        try:
            for packet in self._packets.feed(data):
                self._answers += b"" if self.is_silent else self._answer(packet)
        except NotMqtt as exc:
            raise Over from exc

    def _answer(self, packet: Packet) -> bytes:
        body = packet.raw[packet.header_bytes :]
        match packet.name:
            case "CONNECT":
                self.version = body[6]
                self.is_open = True
                return b""
            case "PUBLISH":
                return packet.puback() if packet.qos else b""
            case "PINGREQ":
                return b"\xd0\x00"
            case "SUBSCRIBE":
                return self._subscribed(body)
            case "UNSUBSCRIBE":
                reasons = b"\0\0" if self.is_v5 else b""
                return self.packet(0xB0, body[:2] + reasons)
        return b""

    def _subscribed(self, body: bytes) -> bytes:
        at = 3 if self.is_v5 else 2
        names: list[str] = []
        while at < len(body):
            size = int.from_bytes(body[at : at + 2])
            names.append(body[at + 2 : at + 2 + size].decode())
            at += 3 + size
        self.filters += names
        properties = b"\0" if self.is_v5 else b""
        out = self.packet(0x90, body[:2] + properties + b"\1" * len(names))
        for name in names:
            for topic, data in self.content.items():
                if matches(name, topic):
                    out += self.publish(topic, self.falsify(topic, data), 0x33)
        return out

    # --- what lies are made of ----------------------------------------------------------------

    def connack(self) -> bytes:
        """Give the CONNACK that takes the connection."""
        return b"\x20\x03\0\0\0" if self.is_v5 else b"\x20\x02\0\0"

    def asked_topic(self) -> str:
        """Give a topic that the device asked for, or would."""
        return self.rng.choice([*self.filters, *self.content] or ["t"]).replace("+", "0")

    def topics(self, kind: str) -> list[str]:
        """Give the topics with a word in them."""
        return [topic for topic in self.content if kind in topic]

    def flood(self, make: Callable[[], bytes]) -> None:
        """Send such packets until the device has had enough."""
        while True:
            self.send(b"".join(make() for _ in range(_FLOOD)))

    def say_open(self) -> None:
        """Take the connection, and serve for a while."""
        self.send(self.connack())
        self.serve(_HONEST_S)


Lie = Callable[[Victim], None]


def _open(lie: Lie) -> Lie:
    """Begin as an honest broker does."""

    def said(victim: Victim) -> None:
        victim.say_open()
        lie(victim)

    return said


def _bytes(head: int, *bodies: bytes) -> Lie:
    """Packets of a type, with one of these bodies, or any."""

    def lie(victim: Victim) -> None:
        victim.flood(
            lambda: victim.packet(
                head, victim.rng.choice([*bodies, victim.rng.randbytes(victim.rng.randrange(40))])
            )
        )

    return _open(lie)


def _forged(pattern: str, change: Callable[[random.Random, bytes], bytes]) -> Lie:
    """What is asked for is given, and changed wherever the topic has this pattern."""

    def lie(victim: Victim) -> None:
        rng = victim.rng
        victim.falsify = lambda name, data: change(rng, data) if re.search(pattern, name) else data
        victim.say_open()
        while True:
            victim.serve(1.0)

    return lie


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _dribble(victim: Victim) -> None:
    """One byte now and then, of a packet that was asked for."""
    victim.is_silent = True
    whole = victim.publish(victim.asked_topic(), victim.rng.randbytes(30_000))
    for byte in whole:
        victim.send(bytes([byte]))
        time.sleep(_DRIBBLE_S)  # the lie itself: a slow sender


def _oversized(victim: Victim) -> None:
    topic, size = victim.asked_topic().encode(), victim.rng.choice([300_000, 2**24, 2**28 - 1])
    victim.send(b"\x32" + remaining_length(size) + len(topic).to_bytes(2) + topic + b"\0\1\0")
    left = size - len(topic) - 5
    while left > 0:
        step = min(left, 65536)
        victim.send(bytes(step))
        left -= step


def _duplicates(victim: Victim) -> None:
    topics = victim.topics("payloads") or ["t"]
    victim.flood(lambda: victim.publish(t := victim.rng.choice(topics), victim.content.get(t, b"")))


def _notices(victim: Victim) -> None:
    topics = victim.topics("notice") or ["t"]

    def make() -> bytes:
        topic = victim.rng.choice(topics)
        data = _flip(victim.rng, victim.content.get(topic, b"none"))
        cut = victim.rng.choice([1, 40, len(data), len(data)])
        return victim.publish(topic, data[:cut])

    victim.flood(make)


def _unsolicited(victim: Victim) -> None:
    sizes = (0, 1, 100, 30_000)
    victim.flood(
        lambda: victim.publish(
            f"any/{victim.rng.randrange(10**6)}", bytes(victim.rng.choice(sizes)), 0x30
        )
    )


def _unnamed(victim: Victim) -> None:
    names = (b"\xff\xfe", b"a\0b", b"+/#", b"", b"x" * 65535)
    properties = b"\0" if victim.is_v5 else b""

    def make() -> bytes:
        name = victim.rng.choice(names)
        return victim.packet(0x32, len(name).to_bytes(2) + name + b"\0\1" + properties + b"data")

    victim.flood(make)


_ODD_PROPERTIES: Final = (
    b"\x23\0\1",  # an alias of a topic that was never given one
    b"\x23\0\0",
    b"\x0b\x80\x80\x80\x80\x80",  # a subscription's number that does not end
    b"\x01\1\x01\1",  # one that is there twice
    b"\x26\0\1\xff\0\1\xfe",  # no UTF-8
    b"\x03\xff\xffx",  # a text longer than the packet
    b"\xee\0",  # of a kind that there is not
    b"\x1f\0\1x" * 40,
    b"\x26\0\1a\0\1b" * 2_000,
)
"""Properties of MQTT 5 that no broker may send, or none that is honest."""


def _odd_properties(*makes: Callable[[Victim, bytes], bytes]) -> Lie:
    """Packets that are well but for their properties; over 3.1.1 these are data."""

    def lie(victim: Victim) -> None:
        def make() -> bytes:
            rng = victim.rng
            odd = rng.choice([*_ODD_PROPERTIES, rng.randbytes(rng.randrange(1, 40))])
            length = rng.choice([remaining_length(len(odd)), b"\xff\xff\x7f", b"\1"])
            return rng.choice(makes)(victim, length + odd)

        victim.flood(make)

    return _open(lie)


def _publish_with(victim: Victim, properties: bytes) -> bytes:
    topic = victim.rng.choice([victim.asked_topic(), ""]).encode()
    return victim.packet(0x32, len(topic).to_bytes(2) + topic + b"\0\1" + properties + b"data")


def _connack(*answers: bytes) -> Lie:
    def lie(victim: Victim) -> None:
        victim.send(victim.rng.choice(answers))
        victim.serve(1.0)

    return lie


def _silent(victim: Victim) -> None:
    victim.is_silent = True
    victim.serve(60.0)


def _garbage(victim: Victim) -> None:
    victim.flood(lambda: victim.rng.randbytes(victim.rng.randrange(1, 400)))


def _hang_up(victim: Victim) -> None:
    victim.serve(victim.rng.uniform(0, 0.5))
    raise Over


def _subacks(victim: Victim) -> None:
    victim.is_silent = True
    codes = (0, 1, 2, 0x80, 0x87, 0x97, 0x9E, 0xA1, 0xA2)

    def make() -> bytes:
        rng = victim.rng
        number = rng.randrange(1, 40).to_bytes(2)
        body = b"\0" if victim.is_v5 else b""
        body += bytes(rng.choice(codes) for _ in range(rng.randrange(1, 9)))
        return victim.packet(0x90, number + body)

    victim.flood(make)


LIES: Final[Mapping[str, Lie]] = {
    "reserved_0": _bytes(0x00),
    "connect": _bytes(0x10, b"\0\4MQTT\5\2\0\x1e\0\0\1a"),
    "connack_refuses": _connack(b"\x20\x03\0\x87\0", b"\x20\x02\0\5", b"\x20\x03\0\x9a\0"),
    "connack_odd": _connack(
        b"\x20\x00",
        b"\x20\x01\0",
        b"\x20\x04\0\0\1\xff",
        b"\x20\xff\xff\x7f",
        b"\x20\x03\0\xee\0",
        b"\x20\x06\0\0\3\x13\0\0",
        b"\x20\x08\0\0\5\x27\0\0\0\0",
        b"\x20\x05\0\0\2\x24\0",
    ),
    "connack_again": _bytes(0x20, b"\0\0\0", b"\0\0"),
    "connack_never": _silent,
    "publish_before_connack": lambda victim: victim.flood(lambda: victim.publish("t", b"x")),
    "publish_qos_2": _open(
        lambda victim: victim.flood(
            lambda: victim.publish(victim.asked_topic(), bytes(30_000), 0x34)
        )
    ),
    "publish_qos_3": _open(
        lambda victim: victim.flood(lambda: victim.publish(victim.asked_topic(), b"x", 0x36))
    ),
    "publish_oversized": _open(_oversized),
    "publish_unsolicited": _open(_unsolicited),
    "publish_duplicates": _open(_duplicates),
    "publish_false_map": _forged("/map/", _flip),
    "publish_false_chunk": _forged(_CHUNK, _flip),
    "publish_short_chunk": _forged(_CHUNK, lambda rng, data: data[: rng.randrange(9)]),
    "publish_notices": _open(_notices),
    "publish_odd_names": _open(_unnamed),
    "publish_odd_properties": _odd_properties(_publish_with),
    "publish_dribbled": _open(_dribble),
    "puback": _bytes(0x40, b"\0\1", b"\0\1\x87\0"),
    "pubrec": _bytes(0x50, b"\0\1"),
    "pubrel": _bytes(0x62, b"\0\1"),
    "pubcomp": _bytes(0x70, b"\0\1"),
    "subscribe": _bytes(0x82, b"\0\1\0\0\1a\1"),
    "suback": _open(_subacks),
    "unsubscribe": _bytes(0xA2, b"\0\1\0\0\1a"),
    "unsuback": _bytes(0xB0, b"\0\1\0\0", b"\0\1"),
    "pingreq": _bytes(0xC0, b""),
    "pingresp": _open(lambda victim: victim.flood(lambda: b"\xd0\0")),
    "disconnect": _bytes(0xE0, b"", b"\x8e\0"),
    "auth": _bytes(0xF0, b"\x18\0"),
    "answer_odd_properties": _odd_properties(
        lambda victim, odd: victim.packet(0x90, b"\0\1" + odd + b"\1"),
        lambda victim, odd: victim.packet(0xB0, b"\0\1" + odd + b"\0"),
        lambda victim, odd: victim.packet(0x40, b"\0\1\0" + odd),
        lambda victim, odd: victim.packet(0xE0, b"\x8b" + odd),
        lambda victim, odd: victim.packet(0x20, b"\0\0" + odd),
    ),
    "answer_oversized": _open(
        lambda victim: victim.flood(lambda: victim.packet(0x90, b"\0\1\0" + bytes(200_000)))
    ),
    "length_endless": _open(lambda victim: victim.send(b"\x32\xff\xff\xff\xff\xff\xff")),
    "garbage": _garbage,
    "garbage_later": _open(_garbage),
    "hang_up": _open(_hang_up),
}
"""The lies by name; every packet type of MQTT 5 is among them."""


class HostileBroker:
    """Listens, and lies to whoever connects.

    Args:
        content: messages by topic, as an honest broker keeps them.
        plan: the lies, one for each connection, again and again.
        seed: of what is drawn within them.
        lies_for_s: after which it is gone, from the first connection on.

    Attributes:
        connections: how many there were.
        sent_bytes: over all of them.
        was_left: how many of them the device ended.
    """

    def __init__(
        self,
        content: Mapping[str, bytes],
        plan: Sequence[str],
        seed: int = 1,
        lies_for_s: float = 10.0,
    ) -> None:
        self.connections = self.sent_bytes = self.was_left = 0
        self.errors: list[BaseException] = []
        self._content = content
        self._plan = itertools.cycle(plan)
        self._rng = random.Random(seed)
        self._lies_for_s = lies_for_s
        self._until_s = math.inf
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="hostile broker")

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mqtt://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._port = int(self._listener.getsockname()[1])
        self._listener.settimeout(0.05)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._until_s = 0.0
        self._thread.join()
        if self.errors:
            raise self.errors[0]

    def _run(self) -> None:
        with self._listener:
            while time.monotonic() < self._until_s:
                with contextlib.suppress(TimeoutError):
                    sock, _ = self._listener.accept()
                    if not self.connections:
                        self._until_s = time.monotonic() + self._lies_for_s
                    self.connections += 1
                    with sock:
                        self._lie_to(sock)

    def _lie_to(self, sock: socket.socket) -> None:
        """Tell one connection's lie; the device connects to one broker at a time."""
        victim = Victim(sock, self._content, self._rng, self._until_s)
        name = next(self._plan)
        try:
            with contextlib.suppress(Over):
                victim.wait_open()
                LIES[name](victim)
                victim.serve(_HONEST_S)
        except BaseException as exc:
            self.errors.append(exc)
            raise
        finally:
            self.sent_bytes += victim.sent_bytes
            self.was_left += victim.was_left


def drawn_plan(seed: int) -> tuple[str, ...]:
    """Give the lies of a seed; seeds in a row have every lie among them."""
    rng = random.Random(seed)
    names = sorted(LIES)
    return (names[seed % len(names)], *rng.choices(names, k=rng.randrange(_LIES_MAX)))
