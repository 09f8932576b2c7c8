"""Messages that are many go straight to who takes them; taken, they are acknowledged."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slotcast_publisher.delivery import paho_client
from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.broker_link import BrokerLink, Inbound
from slotcast_publisher.delivery.link_events import Lost
from slotcast_publisher.settings import Broker
from tests.support.mqtt_packets import remaining_length

CONNACK = b"\x20\x02\x00\x00"
SILENCE_S = 0.2


def publish(topic: str, data: bytes, packet_id: int, flags: int = 0) -> bytes:
    """A PUBLISH of QoS 1 (MQTT 3.1.1, 3.3)."""
    body = len(topic).to_bytes(2) + topic.encode() + packet_id.to_bytes(2) + data
    return bytes([0x32 | flags]) + remaining_length(len(body)) + body


def receipts(*packet_ids: int) -> bytes:
    return b"".join(b"\x40\x02" + packet_id.to_bytes(2) for packet_id in packet_ids)


class Taken:
    """Takes messages; may wait, or fail."""

    def __init__(self) -> None:
        self.came: queue.SimpleQueue[tuple[str, bytes, bool]] = queue.SimpleQueue()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error: BaseException | None = None

    def take(self, topic: str, data: bytes, retained: bool) -> None:
        self.came.put((topic, data, retained))
        self.may_go_on.wait(30)
        if self.error is not None:
            raise self.error


@contextmanager
def connected(taken: Taken) -> Iterator[tuple[BrokerLink, socket.socket]]:
    """A link, and the broker's side of its connection."""
    accepted: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def answer(listener: socket.socket) -> None:
        made, _ = listener.accept()
        made.recv(4096)
        made.sendall(CONNACK)
        accepted.put(made)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        broker = Broker(url=f"mqtt://127.0.0.1:{listener.getsockname()[1]}", protocol="3.1.1")
        with open_link(broker, Path(), inbound=Inbound(taken.take, 100)) as link:
            thread.join()
            with accepted.get(timeout=30) as theirs:
                theirs.settimeout(30)
                yield link, theirs


def read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += connection.recv(size - len(found))
    return found


def test_each_is_taken_as_it_is_and_acknowledged() -> None:
    taken = Taken()
    with connected(taken) as (_, broker):
        broker.sendall(publish("a/1", b"one", 1) + publish("a/2", b"two", 2, flags=1))

        assert taken.came.get(timeout=30) == ("a/1", b"one", False)
        assert taken.came.get(timeout=30) == ("a/2", b"two", True)
        assert read(broker, 8) == receipts(1, 2)


def test_more_than_one_look_takes_is_taken_in_the_next_without_another_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paho_client, "_RECEIPTS_TOGETHER", 2)
    monkeypatch.setattr(paho_client, "_READS_MAX", 1)
    taken, count = Taken(), 50
    with connected(taken) as (_, broker):
        broker.sendall(b"".join(publish("a", b"x", n) for n in range(1, count + 1)))

        assert read(broker, 4 * count) == receipts(*range(1, count + 1))


def test_nothing_is_acknowledged_before_it_is_taken() -> None:
    taken = Taken()
    taken.may_go_on.clear()
    with connected(taken) as (_, broker):
        broker.sendall(publish("a", b"x", 7))
        taken.came.get(timeout=30)
        broker.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            broker.recv(1)
        taken.may_go_on.set()
        broker.settimeout(30)

        assert read(broker, 4) == receipts(7)


def test_a_message_above_the_bound_is_cut_and_the_next_is_whole() -> None:
    taken = Taken()
    with connected(taken) as (_, broker):
        broker.sendall(publish("a", bytes(paho_client.PACKET_MAX_BYTES + 5000), 1))
        broker.sendall(publish("a", b"ok", 2))

        cut = taken.came.get(timeout=30)
        assert len(cut[1]) < paho_client.PACKET_MAX_BYTES
        assert taken.came.get(timeout=30) == ("a", b"ok", False)


def test_an_error_that_nobody_expects_is_raised_where_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    taken = Taken()
    taken.error = RuntimeError("not expected")
    with connected(taken) as (link, broker):
        broker.sendall(publish("a", b"x", 7))

        with pytest.raises(RuntimeError, match="not expected"):
            link.next_event(30)


@pytest.mark.parametrize("garbage", [b"\x32\xff\xff\xff\xff\xff", b"\x32\x03\x00\x09a"])
def test_what_is_no_packet_ends_the_connection(garbage: bytes) -> None:
    with connected(Taken()) as (link, broker):
        broker.sendall(garbage)

        assert isinstance(link.next_event(30), Lost)
