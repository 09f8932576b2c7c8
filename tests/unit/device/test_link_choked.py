"""A broker that sends and takes nothing: the device waits for it, and does not spin."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from unittest import mock

import pytest
from paho.mqtt.enums import MQTTErrorCode

from slotcast_device.link.link import Link
from slotcast_device.link.packet_socket import GATHERED_MAX_BYTES, PacketSocket
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


def _link(ours: socket.socket, taken: list[str]) -> Link:
    link = Link.__new__(Link)
    link.error = None
    link._on_message = lambda topic, _data: taken.append(topic)
    link._listener = None
    link._client = mock.Mock()
    link._client.want_write.return_value = False
    link._client.loop_write.return_value = MQTTErrorCode.MQTT_ERR_SUCCESS
    link._client.socket.return_value = PacketSocket(ours, 1 << 20, has_properties=True)
    return link


def test_while_no_receipt_is_taken_the_device_waits_to_write_and_for_nothing_else(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    taken: list[str] = []
    link = _link(ours, taken)
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
