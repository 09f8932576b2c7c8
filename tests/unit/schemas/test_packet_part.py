"""Only bytes of a message that is not here whole say that more is on its way."""

from __future__ import annotations

import socket

from slotcast_schemas.packet_socket import PacketSocket
from tests.support.mqtt_packets import remaining_length

BODY = b"\0\1t\0\7data"
PUBLISH = b"\x32" + remaining_length(len(BODY)) + BODY


def test_a_whole_message_is_no_part_of_another() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        packets = PacketSocket(ours, 1 << 20, has_properties=False)
        parts = [packets.has_part]
        theirs.send(PUBLISH + PUBLISH[:5])
        assert packets.fill()
        assert packets.publication() is not None
        assert not packets.fill()
        parts.append(packets.has_part)
        theirs.send(PUBLISH[5:])
        assert packets.fill()
        assert packets.publication() is not None
        parts.append(packets.has_part)
    assert parts == [False, True, False]


def test_what_is_dropped_of_a_message_that_is_too_large_is_a_part_until_it_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        packets = PacketSocket(ours, 8, has_properties=False)
        theirs.send(PUBLISH)
        assert packets.fill()
        came = packets.publication()
        assert came is not None
        assert came.data != b"data"
        theirs.send(PUBLISH[:1])
        packets.fill()
        assert packets.has_part
