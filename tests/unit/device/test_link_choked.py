"""A broker that sends and takes nothing: the device waits for it, and does not spin."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from paho.mqtt.enums import MQTTErrorCode

from slotcast_device.config import DeviceConfig
from slotcast_device.core.transfer.broker_limits import Refusal
from slotcast_device.link.connack import Accepted
from slotcast_device.link.link import Link
from slotcast_device.link.paho_client import Client
from slotcast_schemas.packet_socket import GATHERED_MAX_BYTES, PacketSocket
from tests.support.mqtt_packets import remaining_length


def _publish(packet_id: int) -> bytes:
    body = b"\x00\x01t" + packet_id.to_bytes(2, "big") + b"\x00" + b"data"
    return b"\x32" + remaining_length(len(body)) + body


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The device's end and the broker's, of a connection with small buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield ours, theirs


class Taken:
    """Takes what comes on a link."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def message(self, topic: str, data: bytes) -> None:
        self.topics.append(topic)

    def subscription_answered(self, filters: int, took_s: float) -> None: ...

    def subscription_refused(self, refusal: Refusal) -> None: ...

    def subscription_unanswered(self, filters: tuple[str, ...]) -> None: ...


def _link(folder: Path, ours: socket.socket, listener: Taken) -> Link:
    """A link whose client has this connection already."""
    (folder / "root.json").write_text("{}")
    (folder / "device.toml").write_text(
        'format = 1\ndevice = "d1"\nmodels = ["m"]\n[[brokers]]\nurl = "mqtt://b.example"\n'
    )
    config = DeviceConfig(folder / "device.toml")
    client = mock.create_autospec(Client, instance=True)
    client.want_write.return_value = False
    client.loop_write.return_value = MQTTErrorCode.MQTT_ERR_SUCCESS
    client.socket.return_value = PacketSocket(ours, 1 << 20, has_properties=True)
    broker = config.values.brokers[0]
    made = Link(broker, config, "slotcast-d1", "5", None, listener, client=client)
    made.accepted = Accepted("5", credit_chunks=1)
    return made


def test_while_no_receipt_is_taken_the_device_waits_to_write_and_for_nothing_else(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, theirs = ends
    listener = Taken()
    taken, link = listener.topics, _link(tmp_path, ours, listener)
    while link.poll_events != select.POLLOUT:  # until no buffer holds another receipt
        assert len(taken) < 100_000
        theirs.send(b"".join(map(_publish, range(1, 101))))
        select.select([ours], [], [])
        link.read()
    assert not link.has_buffered()
    before = len(taken)
    link.read()
    assert len(taken) == before

    while link.poll_events != select.POLLIN:
        select.select([theirs], [], [])
        theirs.recv(1 << 16)
        link.write()
    link.read()
    assert len(taken) > before
    assert 4 * before > GATHERED_MAX_BYTES
