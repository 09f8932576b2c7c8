"""A device's connection to a broker that lies: it is answered while lies are sent."""

from __future__ import annotations

import itertools
import random
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from tests.support.limited_broker import matches
from tests.support.mqtt_packets import NotMqtt, Packet, Packets, remaining_length

FLOOD: Final = 50
"""Packets that are sent together."""
HONEST_S: Final = 0.3
"""For so long, in seconds, a broker that lies answers as others do, before a lie and after it."""


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
            self.send(b"".join(make() for _ in range(FLOOD)))

    def say_open(self) -> None:
        """Take the connection, and serve for a while."""
        self.send(self.connack())
        self.serve(HONEST_S)
