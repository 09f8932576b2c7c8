"""The demo's broker sends nobody what he did not ask for, and its link is cut for real."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from examples.demo.broker import EmbeddedBroker
from examples.demo.link import BadLink
from tests.support.waiting import WAIT_S

MANY = 200
CONNECT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x0a\x00\x03raw"
CONNACK = b"\x20\x02\x00\x00"
DISCONNECT = b"\xe0\x00"


class Client:
    """A client of MQTT 3.1.1 with what it was sent in a queue."""

    def __init__(self, name: str) -> None:
        self.came: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.lost: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            name,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        self.paho.on_message = lambda _c, _u, message: self.came.put(message.topic)
        self.paho.on_disconnect = lambda *_: self.lost.put(None)

    def publish(self, topic: str) -> None:
        self.paho.publish(topic, b"x", qos=1, retain=True).wait_for_publish(WAIT_S)

    def next(self) -> str:
        return self.came.get(timeout=WAIT_S)


@contextmanager
def connected(name: str, port: int) -> Iterator[Client]:
    client = Client(name)
    client.paho.connect("127.0.0.1", port)
    client.paho.loop_start()
    try:
        yield client
    finally:
        if client.paho.disconnect() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            client.lost.get(timeout=WAIT_S)  # else paho's thread may end with its socket open
        client.paho.loop_stop()


@pytest.mark.timeout(300)
def test_a_client_that_connects_is_not_sent_what_others_subscribed_to() -> None:
    with EmbeddedBroker() as broker, connected("one", broker.port) as one:
        one.publish("theirs/1")
        one.paho.subscribe("theirs/+", qos=1)
        assert one.next() == "theirs/1"
        with connected("two", broker.port) as two:
            two.paho.subscribe("mine", qos=1)
            two.publish("mine")
            assert two.next() == "mine"


def retained(topic: str, packet_id: int) -> bytes:
    """A PUBLISH of one byte, at QoS 1 and to be kept."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + packet_id.to_bytes(2, "big") + b"x"
    return b"\x33" + bytes([len(body)]) + body


@pytest.mark.timeout(300)
def test_what_was_confirmed_is_kept_though_its_publisher_hangs_up_at_once() -> None:
    topics = {number.to_bytes(2, "big"): f"many/{number}" for number in range(1, MANY + 1)}
    packets = [retained(topics[key], int.from_bytes(key, "big")) for key in topics]
    with EmbeddedBroker() as broker:
        with socket.create_connection(("127.0.0.1", broker.port), WAIT_S) as publisher:
            publisher.sendall(CONNECT)
            assert publisher.recv(len(CONNACK), socket.MSG_WAITALL) == CONNACK
            publisher.sendall(b"".join(packets) + DISCONNECT)
            answers = b"".join(iter(lambda: publisher.recv(65536), b""))
        confirmed = {answers[at + 2 : at + 4] for at in range(0, len(answers), 4)}
        assert confirmed
        with connected("reader", broker.port) as reader:
            reader.paho.subscribe("many/+", qos=1)
            kept = {reader.next() for _ in confirmed}
    assert kept == {topics[key] for key in confirmed}


@pytest.mark.timeout(300)
def test_a_cut_link_is_gone_for_the_client_and_open_for_the_next() -> None:
    with EmbeddedBroker() as broker, BadLink(broker.port) as link:
        with connected("one", link.port) as one:
            one.publish("here")
            assert link.cut() == 1
            one.lost.get(timeout=WAIT_S)
        with connected("one", link.port) as again:
            again.paho.subscribe("here", qos=1)
            assert again.next() == "here"
            assert link.down_bytes > 0
