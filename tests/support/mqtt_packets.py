"""As much of MQTT 3.1.1 and 5 as a proxy needs: where packets begin and end, and PUBLISH.

It frames and names packets and reads topic, QoS and packet id of a PUBLISH; it does not know
sessions, properties or anything else of the protocol. Chapter numbers are those of the
MQTT 5.0 standard (OASIS), 2.1 and 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

NAMES: Final = (
    "RESERVED",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
)
PACKET_MAX_BYTES: Final = 4 * 1024 * 1024
"""More than any packet of ours; what claims to be longer is not buffered whole."""
_LENGTH_MAX_BYTES: Final = 4
_PUBLISH: Final = 3
_DUP: Final = 0x08


class NotMqtt(Exception):
    """Bytes that cannot be MQTT, or a packet beyond `PACKET_MAX_BYTES`."""


def remaining_length(size: int) -> bytes:
    """Write a variable byte integer (1.5.5)."""
    out = bytearray()
    while True:
        size, digit = divmod(size, 128)
        out.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(out)


def _header(data: bytes | bytearray) -> tuple[int, int] | None:
    """Give (bytes of the fixed header, bytes that follow it), or None if more bytes are needed."""
    size = 0
    for index, byte in enumerate(data[1 : 2 + _LENGTH_MAX_BYTES]):
        if index == _LENGTH_MAX_BYTES:
            raise NotMqtt("remaining length of more than four bytes")
        size |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return 2 + index, size
    return None


@dataclass(frozen=True, slots=True)
class Packet:
    """One whole packet. `topic`, `qos` and `packet_id` are of a PUBLISH, else empty, 0 and None."""

    raw: bytes

    @property
    def name(self) -> str:
        """The packet's type in capitals, such as `PUBLISH`."""
        return NAMES[self.raw[0] >> 4]

    @property
    def header_bytes(self) -> int:
        """Bytes of the fixed header."""
        header = _header(self.raw)
        return len(self.raw) if header is None else header[0]

    @property
    def is_publish(self) -> bool:
        """Whether this is a PUBLISH."""
        return self.raw[0] >> 4 == _PUBLISH

    @property
    def qos(self) -> int:
        """Quality of service of a PUBLISH."""
        return (self.raw[0] >> 1) & 3 if self.is_publish else 0

    @property
    def topic(self) -> str:
        """Topic of a PUBLISH; empty for other packets."""
        start, end = self._topic_span()
        return self.raw[start:end].decode("utf-8", "replace")

    @property
    def packet_id(self) -> bytes | None:
        """The two bytes of the packet id, where the PUBLISH has one."""
        end = self._topic_span()[1]
        return self.raw[end : end + 2] if self.qos else None

    def duplicate(self) -> Packet:
        """Give the packet as a broker sends it again: from QoS 1 on with DUP set (3.3.1.1)."""
        first = self.raw[0] | (_DUP if self.qos else 0)
        return Packet(bytes([first]) + self.raw[1:])

    def corrupted(self) -> Packet:
        """Give the packet with one bit of its last byte flipped: of a PUBLISH, of its payload."""
        return Packet(self.raw[:-1] + bytes([self.raw[-1] ^ 1]))

    def puback(self) -> bytes:
        """Give the PUBACK for this QoS 1 PUBLISH; the same bytes in MQTT 3.1.1 and 5."""
        return b"\x40\x02" + (self.packet_id or b"\0\0")

    def _topic_span(self) -> tuple[int, int]:
        header = _header(self.raw)
        if not self.is_publish or header is None:
            return 0, 0
        start = header[0]
        return start + 2, start + 2 + int.from_bytes(self.raw[start : start + 2], "big")


class Packets:
    """Puts packets together from a stream that may be torn anywhere."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take more of the stream, give the packets that are whole now.

        Raises:
            NotMqtt: the stream is something else, or a packet is too large to keep.
        """
        self._kept += data
        while (header := _header(self._kept)) is not None:
            size = sum(header)
            if size > PACKET_MAX_BYTES:
                raise NotMqtt(f"expected at most {PACKET_MAX_BYTES} bytes in a packet, got {size}")
            if len(self._kept) < size:
                return
            raw = bytes(self._kept[:size])
            del self._kept[:size]
            yield Packet(raw)

    def rest(self) -> bytes:
        """Give, and forget, the bytes of a packet that was not whole."""
        rest = bytes(self._kept)
        self._kept.clear()
        return rest


class Names:
    """Names the packets of a stream as their headers pass, keeping none of their bytes."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """Take more of the stream, give the types of the packets whose header is whole now.

        Raises:
            NotMqtt: the stream is something else.
        """
        at = 0
        while at < len(data):
            step = min(self._skip, len(data) - at)
            at, self._skip = at + step, self._skip - step
            if at == len(data):
                return
            self._head.append(data[at])
            at += 1
            header = _header(self._head)
            if header is not None:
                yield NAMES[self._head[0] >> 4]
                self._head.clear()
                self._skip = header[1]
