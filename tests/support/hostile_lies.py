"""The lies of a hostile broker, by name: every packet type of MQTT 5 is among them."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

from tests.support.hostile_victim import Over, Victim
from tests.support.mqtt_packets import remaining_length

_DRIBBLE_S: Final = 0.02
"""The seconds between two bytes of a slow sender."""
_CHUNK: Final = r"/payloads/\w{64}/\d+/"

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
