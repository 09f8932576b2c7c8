"""The stream is cut into the packets that were sent, however it comes; nothing makes it grow."""

from __future__ import annotations

import tracemalloc
from collections import deque
from typing import cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from slotcast_schemas import packet_socket
from slotcast_schemas.packet_socket import GATHERED_MAX_BYTES, PacketSocket, Publication
from tests.support.mqtt_packets import remaining_length

BOUND = 2000


class Wire:
    """The real socket: gives what is queued, piece by piece, and takes so many bytes a call."""

    def __init__(self, *pieces: bytes, takes: int = 10_000) -> None:
        self.pieces = deque(pieces)
        self.sent = b""
        self.takes = takes

    def recv_into(self, room: memoryview) -> int:
        if not self.pieces:
            raise BlockingIOError
        piece = self.pieces.popleft()
        now, later = piece[: len(room)], piece[len(room) :]
        if later:
            self.pieces.appendleft(later)
        room[: len(now)] = now
        return len(now)

    def send(self, data: bytes | bytearray) -> int:
        if not self.takes:
            raise BlockingIOError
        taken = bytes(data[: self.takes])
        self.sent += taken
        return len(taken)


def _over(wire: Wire, *, v5: bool = True) -> PacketSocket:
    return PacketSocket(cast("object", wire), BOUND, has_properties=v5)  # type: ignore[arg-type]


def _packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + remaining_length(len(body)) + body


def _publish(topic: str, data: bytes, packet_id: int | None, *, v5: bool, flags: int = 0) -> bytes:
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name
    if packet_id is not None:
        body += packet_id.to_bytes(2, "big")
    if v5:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho
        properties.UserProperty = ("made-by", "x" * ((packet_id or 0) % 300))
        body += properties.pack()  # type: ignore[no-untyped-call] # paho
    return _packet(0x30 | flags | (0 if packet_id is None else 2), body + data)


def _taken(reader: PacketSocket) -> list[Publication | bytes]:
    """All that can be taken now: messages, and what paho would get of other packets."""
    out: list[Publication | bytes] = []
    while reader.fill():
        came = reader.publication()
        out.append(came if came is not None else b"".join(iter(lambda: _byte(reader), b"")))
        if out[-1] == b"":
            break
    return out


def _byte(reader: PacketSocket) -> bytes:
    try:
        return reader.recv(7)
    except BlockingIOError:
        return b""


MESSAGES = st.builds(
    Publication,
    topic=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    data=st.binary(max_size=300),
    packet_id=st.one_of(st.none(), st.integers(1, 65535)),
    retained=st.booleans(),
)
OTHERS = st.builds(
    _packet, st.sampled_from([0x20, 0x40, 0x90, 0xB0, 0xD0, 0xE0]), st.binary(min_size=2)
)


@given(
    st.lists(st.one_of(MESSAGES, OTHERS), max_size=12),
    st.booleans(),
    st.sampled_from([0, 8]),
    st.sampled_from([8, 100, packet_socket.READ_BYTES]),
    st.data(),
)
def test_what_was_sent_is_taken_however_the_stream_is_cut(
    sent: list[Publication | bytes], v5: bool, flags: int, room: int, data: st.DataObject
) -> None:
    stream = b"".join(
        one
        if isinstance(one, bytes)
        else _publish(one.topic, one.data, one.packet_id, v5=v5, flags=flags | one.retained)
        for one in sent
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    ends = [*cuts, len(stream)]
    wire = Wire()
    taken: list[Publication | bytes] = []
    with mock.patch.object(packet_socket, "READ_BYTES", room):
        reader = _over(wire, v5=v5)
        for begin, end in zip([0, *cuts], ends, strict=True):
            if end > begin:
                wire.pieces.append(stream[begin:end])
                taken += _taken(reader)
    assert taken == sent


def test_of_a_message_above_the_bound_the_head_is_kept_and_the_next_one_is_whole() -> None:
    large = _publish("big", bytes(1_000_000), 5, v5=True)
    after = _publish("small", b"ok", 6, v5=True)
    stream = large + after
    pieces = [stream[i : i + 5000] for i in range(0, len(stream), 5000)]
    reader = _over(Wire(*pieces))
    first, second = _taken(reader)
    assert isinstance(first, Publication)
    assert (first.topic, first.packet_id) == ("big", 5)
    assert 1000 < len(first.data) < BOUND
    assert second == Publication("small", b"ok", 6)


def test_a_message_without_end_is_never_held() -> None:
    wire = Wire()
    reader = _over(wire)
    wire.pieces.append(b"\x32" + remaining_length(200_000_000) + b"\x00\x01a\x00\x01\x00")
    tracemalloc.start()
    try:
        for _ in range(200):
            wire.pieces.append(bytes(100_000))
            _taken(reader)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "stream",
    [
        b"\x32\xff\xff\xff\xff\x01",  # a length of five bytes
        _packet(0x90, bytes(BOUND + 1)),  # a SUBACK above the bound
        _packet(0x32, b"\x00"),  # no topic
        _packet(0x32, b"\x00\x09abc\x00\x01\x00"),  # a topic past the end
        _packet(0x32, b"\x00\x02\xff\xfe\x00\x01\x00"),  # not UTF-8
        _packet(0x32, b"\x00\x01a\x00\x01\x05"),  # properties past the end
        _packet(0x32, b"\x00\x01a\x00\x01\x80"),  # and a length of them that does not end
    ],
)
def test_what_is_not_mqtt_ends_the_connection_with_an_error(stream: bytes) -> None:
    reader = _over(Wire(stream))
    assert reader.fill()
    assert reader.publication() is None
    with pytest.raises(ConnectionError, match=r"expected|cannot be read"):
        reader.recv(1)


def test_the_end_of_the_connection_comes_after_the_last_packet() -> None:
    reader = _over(Wire(_publish("t", b"last", 1, v5=True), b""))
    assert reader.fill()
    assert reader.publication() == Publication("t", b"last", 1)
    assert reader.fill()
    assert reader.publication() is None
    assert reader.recv(1) == b""


def test_paho_is_never_given_a_message_though_it_asks_for_more() -> None:
    reader = _over(Wire(b"\xd0\x00" + _publish("t", b"m", 1, v5=True)))
    assert reader.fill()
    assert reader.publication() is None
    assert reader.recv(1) + reader.recv(1) == b"\xd0\x00"
    with pytest.raises(BlockingIOError):
        reader.recv(1)
    assert reader.fill()
    assert reader.publication() == Publication("t", b"m", 1)


def test_what_is_gathered_leaves_together_and_in_order() -> None:
    wire = Wire(takes=3)
    reader = _over(wire)
    with reader.gathering():
        assert reader.send(b"abcd") == 4
        assert reader.send(b"efgh") == 4
        assert wire.sent == b""
    assert reader.has_unsent
    reader.flush()
    assert wire.sent == b"abcdefgh"
    assert reader.send(b"ijkl") == 3


def test_a_receipt_never_gets_into_the_middle_of_a_packet() -> None:
    wire = Wire(takes=3)
    reader = _over(wire)
    assert reader.send(b"abcdef") == 3
    reader.acknowledge(0x0102)
    reader.flush()
    assert wire.sent == b"abc"
    with reader.gathering():
        reader.send(b"def")
    reader.flush()
    assert wire.sent == b"abcdef\x40\x02\x01\x02"


def test_a_broker_that_takes_no_receipts_is_not_read_for_ever() -> None:
    reader = _over(Wire(*[_publish("t", b"", 1, v5=True)] * 5000, takes=0))
    taken = 0
    while reader.fill():
        came = reader.publication()
        assert came is not None
        reader.acknowledge(came.packet_id or 0)
        reader.flush()
        taken += 1
    assert GATHERED_MAX_BYTES // 4 < taken < GATHERED_MAX_BYTES
    cast("Wire", reader.real).takes = 10_000
    reader.flush()
    assert reader.fill()


def test_what_cannot_be_sent_does_not_grow() -> None:
    wire = Wire(takes=0)
    reader = _over(wire)
    with reader.gathering():
        for _ in range(GATHERED_MAX_BYTES // 64):
            assert reader.send(bytes(64)) == 64
        with pytest.raises(BlockingIOError):
            reader.send(bytes(64))
