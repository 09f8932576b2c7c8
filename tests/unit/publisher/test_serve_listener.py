"""What a listener makes of a broker that does not answer; the rest is tests/integration's."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from slotcast_publisher.delivery.broker_link import ConnectWaits
from slotcast_publisher.serve.companion import Companion, Heard
from slotcast_publisher.serve.listener import Listener
from slotcast_publisher.settings import Broker
from tests.support.mqtt_packets import Packets
from tests.support.serving import Served
from tests.support.waiting import wait_until

FILTERS = ("fleet/a", "fleet/b", "fleet/c")
CONNACK = bytes([0x20, 2, 0, 0])
HANGS_UP = -1
"""In place of a number of answers: it closes the connection."""
KEPT = [f"fleet/a/{number}" for number in range(8)]
"""Topics whose last message a broker keeps."""


class Ear:
    """A companion that takes note of topics."""

    filters = FILTERS
    share = ""
    lost = 0
    generation = 0

    def __init__(self) -> None:
        self.topics: list[str] = []

    def take(self, message: Heard) -> None:
        """Take it."""
        self.topics.append(message.topic)

    def listening(self, broker: str) -> None:
        """Take note."""

    def deaf(self, broker: str) -> None:
        """Take note."""

    def run(self, stop: threading.Event) -> None:
        """Nothing to do."""


@contextmanager
def running(listener: Listener) -> Iterator[None]:
    """Have it listen for the length of a block."""
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


@contextmanager
def broker_of(answers: list[int]) -> Iterator[int]:
    """A broker of MQTT 3.1.1 that answers so many SUBSCRIBEs of each connection; gives its port."""

    def serve(listener: socket.socket) -> None:
        for left in answers:
            made, _ = listener.accept()
            with made:
                answer(made, left)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket to connect to; who waits for somebody there waits no longer when it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        try:
            yield listener
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def answer(made: socket.socket, left: int) -> None:
    packets = Packets()
    if left == HANGS_UP:
        return
    while data := made.recv(4096):
        for packet in packets.feed(data):
            if packet.name == "CONNECT":
                made.sendall(CONNACK)
            elif packet.name == "SUBSCRIBE" and left > 0:
                left -= 1
                made.sendall(bytes([0x90, 3]) + packet.raw[2:4] + bytes([1]))


def test_a_broker_that_lost_an_answer_is_asked_anew() -> None:
    """Mosquitto drops answers, too, where too many packets wait for a slow reader."""
    ear: Companion = Ear()
    served = Served()
    with broker_of([2, 3]) as port:
        broker = Broker(url=f"mqtt://127.0.0.1:{port}", protocol="3.1.1")
        listener = Listener(broker, Path(), ear, served.say, random.Random(1), answer_max_s=0.5)
        with running(listener):
            served.wait_for("listening")
    (deaf,) = served.of("deaf")
    assert deaf["reason"] == "link_down"
    assert "no answer to SUBSCRIBE" in deaf["detail"]


def test_what_a_broker_dropped_on_the_way_is_found_said_and_asked_for_again() -> None:
    """It numbers all and sends only the first ones: nothing else would show it."""
    ear = Ear()
    served = Served()
    with listening() as made_here:
        broker = threading.Thread(target=drop_at_first, args=(made_here,), daemon=True)
        broker.start()
        where = Broker(url=f"mqtt://127.0.0.1:{made_here.getsockname()[1]}", protocol="3.1.1")
        rng = random.Random(1)
        listener = Listener(
            where, Path(), ear, served.say, rng, look_quiet_s=2.0, look_again_s=(0.1, 0.2)
        )
        with running(listener):
            cut = served.wait_for("look_cut")
            served.wait_for("look_again")
            wait_until(lambda: set(ear.topics) == set(KEPT))
            served.wait_for("listening", count=2)
    assert (cut["retained"], cut["missing"]) == (3, 5)
    assert "max_queued_messages" in cut["detail"]
    assert len(served.of("look_cut")) == 1, "the second look brought all"


def drop_at_first(listener: socket.socket) -> None:
    """A broker that keeps eight messages; a first look gets three of them, and who asks by name."""
    for made, is_first in accepted(listener):
        threading.Thread(target=give_kept, args=(made, 3 if is_first else 8), daemon=True).start()


def accepted(listener: socket.socket) -> Iterator[tuple[socket.socket, bool]]:
    """Give each connection, and whether it is the first, until the socket is closed."""
    is_first = True
    with contextlib.suppress(OSError):
        while True:
            made, _ = listener.accept()
            yield made, is_first
            is_first = False


def give_kept(made: socket.socket, sent_max: int) -> None:
    packets, numbers = Packets(), itertools.count(1)
    with made, contextlib.suppress(OSError):  # who listened has gone
        while data := made.recv(4096):
            for packet in packets.feed(data):
                if packet.name == "CONNECT":
                    made.sendall(CONNACK)
                elif packet.name == "SUBSCRIBE":
                    made.sendall(bytes([0x90, 3]) + packet.raw[2:4] + bytes([1]))
                    wanted = packet.raw[6:-1].decode()
                    found = KEPT if wanted == FILTERS[0] else {wanted}.intersection(KEPT)
                    numbered = [kept_message(topic, next(numbers)) for topic in found]
                    made.sendall(b"".join(numbered[:sent_max]))


def kept_message(topic: str, number: int) -> bytes:
    """A retained message of QoS 1."""
    body = len(topic).to_bytes(2) + topic.encode() + number.to_bytes(2) + b"kept"
    return bytes([0x33, len(body)]) + body


def test_a_broker_that_hangs_up_while_it_starts_is_asked_again_soon() -> None:
    """What stands before it, such as a container's proxy, listens sooner than it does."""
    ear: Companion = Ear()
    served = Served()
    with broker_of([HANGS_UP, 3]) as port:
        broker = Broker(url=f"mqtt://127.0.0.1:{port}", protocol="3.1.1")
        listener = Listener(broker, Path(), ear, served.say, random.Random(1))
        with running(listener):
            served.wait_for("listening")
    (deaf,) = served.of("deaf")
    assert deaf["reason"] == "link_down"
    assert "closed the connection before it answered" in deaf["detail"]


def test_a_broker_that_was_busy_is_asked_in_mqtt_5_again() -> None:
    """It says nothing to the first CONNECT of MQTT 5: without that it would drop messages."""
    ear: Companion = Ear()
    served = Served()
    with listening() as made_here:
        broker = threading.Thread(target=busy_at_first, args=(made_here,), daemon=True)
        broker.start()
        where = Broker(url=f"mqtt://127.0.0.1:{made_here.getsockname()[1]}")
        waits = ConnectWaits(answer_s=30.0, other_protocol_s=1.0)
        listener = Listener(
            where, Path(), ear, served.say, random.Random(1), newer_s=(0.2, 0.4), waits=waits
        )
        with running(listener):
            served.wait_for("listening", protocol="3.1.1")
            served.wait_for("newer_protocol")
            served.wait_for("listening", protocol="5")
    assert not served.of("deaf"), "nothing was lost"


def busy_at_first(listener: socket.socket) -> None:
    """A broker of both protocols that answers no CONNECT of MQTT 5 at first."""
    for made, is_first in accepted(listener):
        threading.Thread(target=converse, args=(made, is_first), daemon=True).start()


def converse(made: socket.socket, is_silent: bool) -> None:
    packets, is_newer = Packets(), False
    with made, contextlib.suppress(OSError):  # who listened has gone
        while data := made.recv(4096):
            for packet in packets.feed(data):
                if packet.name == "CONNECT" and not is_silent:
                    is_newer = packet.raw[8] == 5
                    made.sendall(bytes([0x20, 3, 0, 0, 0]) if is_newer else CONNACK)
                elif packet.name == "SUBSCRIBE":
                    properties = bytes([0]) if is_newer else b""
                    body = packet.raw[2:4] + properties + bytes([1])
                    made.sendall(bytes([0x90, len(body)]) + body)
