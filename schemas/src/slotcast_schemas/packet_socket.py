"""The socket under paho: whole MQTT packets in, gathered writes out, messages on a short way.

paho reads a packet in five steps, four of which want one byte, builds a property object for each
message and sends each receipt by itself: on loopback that is most of what a chunk costs. So this
layer cuts the stream into packets (MQTT 5.0 and 3.1.1, both 2.1 and 3.3), takes every PUBLISH of
QoS 0 and 1 apart and acknowledges it, and leaves all other packets to paho. All that goes out while
packets are taken is gathered and leaves together.

It also bounds what a sender can make a reader hold, for which MQTT 3.1.1 has no word: of a message
above the bound the head is kept, too large still for any reader, and the rest is dropped. Where the
bound was announced (MQTT 5), or the message is larger than what the reader would still drop, the
connection ends before the body is read. So it does for a packet that no broker may send us: we
never ask for QoS 2, and never publish with it.

The device drives paho from its own loop (`link`), the publisher from paho's thread (`broker_link`).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_schemas.broker import is_hang_up

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES: Final = 256 * 1024
"""The most bytes that one read brings; there is room for more only while a larger packet comes."""
GATHERED_MAX_BYTES: Final = 4096
"""The most bytes that wait to be sent; past this the system is asked at once, and its refusal
passed on."""
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux's socket option to send TCP's receipts at once (tcp(7)); None where the system has none."""
_WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that does not block, or TLS above it, says when it has to wait."""
_PUBLISH: Final = 0x30
"""The first byte of a PUBLISH at QoS 0, without its flags (MQTT 5, 3.3.1)."""
_PUBLISH_QOS1: Final = 0x32
"""The same at QoS 1."""
_RETAIN: Final = 0x01
"""The bit of that byte that says that it was retained."""
_DUP_AND_RETAIN: Final = 0x09
"""That bit, and the one that says that it is sent again."""
_LENGTH_MAX_BYTES: Final = 4
"""The most bytes of a packet's length (MQTT 5, 1.5.5)."""
_ANSWERS: Final = frozenset({0x20, 0x40, 0x90, 0xB0, 0xD0, 0xE0})
"""The first bytes of all packets but PUBLISH that a broker may send here: CONNACK, PUBACK, SUBACK,
UNSUBACK, PINGRESP, DISCONNECT. PUBREC, PUBREL and PUBCOMP are of QoS 2, AUTH must be asked for."""
_ANSWER_MAX_BYTES: Final = 64 * 1024
"""The most bytes of such a packet: its reason codes, and what MQTT 5 lets a broker say to people.
"""
_FORBIDDEN, _ANSWER, _MESSAGE, _MESSAGE_QOS1 = range(4)
"""What a packet is that begins with some byte; the last two are PUBLISH."""


def _kind_of(head: int) -> int:
    if head & ~_DUP_AND_RETAIN == _PUBLISH:
        return _MESSAGE
    if head & ~_DUP_AND_RETAIN == _PUBLISH_QOS1:
        return _MESSAGE_QOS1
    return _ANSWER if head in _ANSWERS else _FORBIDDEN


_KINDS: Final = bytes(map(_kind_of, range(256)))
"""What a packet is, by its first byte: looked up once for each packet."""
_PUBACK: Final = b"\x40\x02"
"""How a PUBACK begins; two bytes more, the packet's identifier, mean success in both versions
(3.4.2.1)."""


class ForbiddenPacket(ConnectionError):
    """The other side sent what MQTT forbids it to send, or more than it was told to."""


class Publication(msgspec.Struct, frozen=True, gc=False):
    """A PUBLISH.

    Attributes:
        topic: where it was published.
        data: the message; its head only, where the packet was above the bound.
        packet_id: to be acknowledged; None at QoS 0.
        retained: whether the broker had kept it.
    """

    topic: str
    data: bytes
    packet_id: int | None
    retained: bool = False


class PacketSocket:
    """What paho needs of a socket, around a real one that does not block.

    `fill` sees to it that a whole packet is here; then `publication` takes it, or paho by `recv`.

    Attributes:
        received_bytes: all that ever came.
        sent_bytes: all that ever left.
        packets: how many packets were taken.
        dropped_max_bytes: what may yet be dropped of messages above the bound; None is no bound.

    Args:
        real: the connection.
        packet_max_bytes: what is kept of one packet.
        has_properties: whether a PUBLISH carries them, as in MQTT 5.
        is_bound_announced: whether the other side was told that bound.
    """

    def __init__(
        self,
        real: socket.socket,
        packet_max_bytes: int,
        *,
        has_properties: bool,
        is_bound_announced: bool = False,
    ) -> None:
        self.real = real
        self.received_bytes = 0
        self.sent_bytes = 0
        self.packets = 0
        self.dropped_max_bytes: int | None = None
        self._is_bound_announced = is_bound_announced
        self._packet_max_bytes = packet_max_bytes
        self._any_max_bytes = min(packet_max_bytes, _ANSWER_MAX_BYTES)  # whatever packet it is
        self._has_properties = has_properties
        self._came = bytearray(READ_BYTES)
        self._begin = 0  # of what came and was not taken
        self._end = 0
        self._body = 0  # where the packet's fixed header ends
        self._packet_end = 0  # 0 while no whole packet is known to be here
        self._kind = _FORBIDDEN  # of the packet that begins there
        self._over_bytes = 0  # of that packet, above the bound
        self._skip_bytes = 0  # of the one before, still to be dropped
        self._failure: OSError | None = None
        self._is_offered = False
        self._is_over = False
        self._going = bytearray()
        self._receipts = bytearray()
        self._is_part_sent = False  # a packet of paho's, which gives the rest later
        self._is_gathering = False

    # --- TCP ----------------------------------------------------------------------------------

    def send_at_once(self) -> None:
        """Keep Nagle's algorithm and delayed receipts from waiting for each other (RFC 1122).

        A SUBSCRIBE is small and its answer begins small: on both sides each such step would
        otherwise wait some 40 ms for the other's TCP receipt. Measured on loopback: the first
        chunk came 150 ms after the plan, and comes after 20.
        """
        self.real.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.acknowledge_at_once()

    def acknowledge_at_once(self) -> None:
        """Send TCP's receipts without delay, until the system forgets that."""
        if _QUICK_ACK is not None:
            self.real.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    # --- what comes ---------------------------------------------------------------------------

    def fill(self) -> bool:
        """Read until a whole packet is here, or nothing more has come.

        Returns:
            Whether there is something to take: a packet, or the end of the connection, which
            paho is to learn from `recv`.
        """
        if self.is_choked:
            return False
        while not (self.has_packet() or self._has_ended()):
            if not self._read():
                return self._has_ended()
        return True

    def _has_ended(self) -> bool:
        return self._is_over or self._failure is not None

    def has_packet(self) -> bool:
        """Whether a whole packet is here, which the system would not announce any more."""
        if not self._packet_end and self._begin < self._end and self._failure is None:
            self._find_packet()
        return self._packet_end > 0

    def pending(self) -> int:
        """Say whether the system would not announce what is here; paho's own loop asks so."""
        if self.is_choked:
            return 0
        held = self.real.pending() if isinstance(self.real, ssl.SSLSocket) else 0
        return int(self.has_packet()) or held

    @property
    def has_part(self) -> bool:
        """Whether a packet has begun to come, and is not here whole."""
        return self._skip_bytes > 0 or (self._begin < self._end and not self.has_packet())

    def _find_packet(self) -> None:
        if self._skip_bytes and not self._skip():
            return
        self._kind = _KINDS[self._came[self._begin]]
        if self._kind == _FORBIDDEN:
            self._forbid(self._came[self._begin])
            return
        length, place = self._read_varint(self._begin + 1, self._end)
        if length < 0 or (length > self._any_max_bytes and not self._is_length_allowed(length)):
            return
        kept = min(length, self._packet_max_bytes)
        if self._end - place >= kept:
            self._body, self._packet_end, self._over_bytes = place, place + kept, length - kept
        elif place + kept > len(self._came):
            self._make_room(place - self._begin + kept)

    def _skip(self) -> bool:
        """Drop what is here of a packet above the bound; whether there is more than that."""
        skipped = min(self._skip_bytes, self._end - self._begin)
        self._begin += skipped
        self._skip_bytes -= skipped
        return self._begin < self._end

    def _forbid(self, head: int) -> None:
        """End with a packet that no broker may send us; no more is read of it."""
        self._failure = ForbiddenPacket(
            f"expected an answer, or a PUBLISH of QoS 0 or 1, got a packet that begins with"
            f" 0x{head:02x}"
        )

    def _is_length_allowed(self, length: int) -> bool:
        """Whether a packet may have so many bytes; known before they are read."""
        bound = self._packet_max_bytes
        if self._kind == _ANSWER:
            bound = min(bound, _ANSWER_MAX_BYTES)
        if length <= bound:
            return True
        if self._kind != _ANSWER and not self._is_bound_announced:
            bound = length if self.dropped_max_bytes is None else bound + self.dropped_max_bytes
            if length <= bound:
                return True
        self._failure = ForbiddenPacket(f"expected packets of at most {bound} bytes, got {length}")
        return False

    @property
    def forbidden(self) -> str:
        """What the other side sent that it must not; empty if nothing."""
        return str(self._failure) if isinstance(self._failure, ForbiddenPacket) else ""

    @property
    def tls_failure(self) -> str:
        """What the other side, or OpenSSL, said against TLS; empty if nothing, or a mere end."""
        is_said = isinstance(self._failure, ssl.SSLError) and not is_hang_up(self._failure)
        return str(self._failure) if is_said else ""

    def _read_varint(self, place: int, end: int) -> tuple[int, int]:
        """Read a variable byte integer (MQTT 5.0, 1.5.5): value and end; -1 if it is not whole."""
        came, value, shift = self._came, 0, 0
        for at in range(place, min(place + _LENGTH_MAX_BYTES, end)):
            byte = came[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at + 1
            shift += 7
        if end - place >= _LENGTH_MAX_BYTES:
            self._failure = ForbiddenPacket("expected a length of at most four bytes, got more")
        return -1, place

    def _read_uint16(self, place: int) -> int:
        """Read a two byte integer (MQTT 5.0, 1.5.2)."""
        return self._came[place] << 8 | self._came[place + 1]

    def _make_room(self, size: int) -> None:
        """Move what is here to the front of a buffer of `size` bytes, and no less than usual."""
        held = self._came[self._begin : self._end]
        if len(self._came) != max(size, READ_BYTES):
            self._came = bytearray(max(size, READ_BYTES))
        self._came[: len(held)] = held
        self._begin, self._end = 0, len(held)

    def _read(self) -> bool:
        """Take what has come; False where that is nothing."""
        if self._begin == self._end:
            self._begin = self._end = 0
        is_full, is_empty = self._end == len(self._came), not self._end
        if is_full or (is_empty and len(self._came) > READ_BYTES):
            self._make_room(self._end - self._begin + 1)
        try:
            count = self.real.recv_into(memoryview(self._came)[self._end :])
        except _WOULD_BLOCK:
            return False
        except OSError as exc:
            self._failure = exc
            return False
        self._is_over = not count
        self._end += count
        self.received_bytes += count
        return count > 0

    def publication(self) -> Publication | None:
        """Take the packet that is here, if it is a message; any other is then given by `recv`."""
        if not self._packet_end or self._kind < _MESSAGE:
            self._is_offered = True
            return None
        try:
            taken = self._read_publication()
        except (IndexError, ValueError) as exc:  # UnicodeDecodeError is one
            self._failure = ForbiddenPacket(f"a PUBLISH cannot be read: {exc}")
            return None
        self._drop_packet()
        return taken

    def _read_publication(self) -> Publication:
        came, topic, end = self._came, self._body + 2, self._packet_end
        topic_end = topic + self._read_uint16(self._body)
        is_qos1 = self._kind == _MESSAGE_QOS1
        data = topic_end + (2 if is_qos1 else 0)
        if self._has_properties and data < end and not came[data]:
            data += 1  # a message of ours has none
        elif self._has_properties:  # and none that another carries is of use here
            size, after = self._read_varint(data, end)
            data = after + size if size >= 0 else end + 1
        if data > end:
            raise ValueError(f"expected a header within {end - self._body} bytes, got a longer one")
        packet_id = self._read_uint16(topic_end) if is_qos1 else None
        if packet_id == 0:
            raise ValueError("expected a packet identifier from 1 on, got 0")
        name, content = came[topic:topic_end].decode(), bytes(memoryview(came)[data:end])
        return Publication(name, content, packet_id, came[self._begin] & _RETAIN != 0)

    def _drop_packet(self) -> None:
        self.packets += 1
        self._begin, self._packet_end = self._packet_end, 0
        self._is_offered = False
        if self._over_bytes:
            self._skip_bytes, self._over_bytes = self._over_bytes, 0
            if self.dropped_max_bytes is not None:
                self.dropped_max_bytes = max(0, self.dropped_max_bytes - self._skip_bytes)

    def recv(self, size: int) -> bytes:
        """Give paho bytes of the packet that was left to it, and never of the next.

        Raises:
            OSError: what ended the connection.
        """
        if self._failure is not None:
            raise self._failure
        if not (self._packet_end and self._is_offered):
            if self._is_over and not self.has_packet():
                return b""
            raise BlockingIOError("no packet is here for paho")
        taken = self._came[self._begin : min(self._begin + size, self._packet_end)]
        self._begin += len(taken)
        if self._begin == self._packet_end:
            self._drop_packet()
        return bytes(taken)

    # --- what goes ----------------------------------------------------------------------------

    @property
    def has_unsent(self) -> bool:
        """Whether bytes wait here to be sent."""
        return bool(self._going or self._receipts)

    @property
    def is_choked(self) -> bool:
        """Whether so much waits to be sent that nothing is read until some of it is taken.

        A broker that takes no receipts is not read for ever, nor polled for what it sends.
        """
        return len(self._receipts) + len(self._going) > GATHERED_MAX_BYTES

    def acknowledge(self, packet_id: int) -> None:
        """Have the receipt of a message sent at the next `flush`, between whole packets."""
        self._receipts += _PUBACK + packet_id.to_bytes(2)

    def send(self, data: bytes | bytearray) -> int:
        """Take bytes to send: later, while gathering, else at once.

        Raises:
            BlockingIOError, OSError: whatever the real socket raises.
        """
        if self._is_gathering and len(self._going) + len(data) <= GATHERED_MAX_BYTES:
            self._going += data
            self._is_part_sent = False
            return len(data)
        self.flush()
        if self._going:
            raise BlockingIOError("what was gathered before is not sent yet")
        sent = self.real.send(data)
        self.sent_bytes += sent
        self._is_part_sent = sent < len(data)
        return sent

    def flush(self) -> None:
        """Send what was gathered, as far as the system takes it.

        Raises:
            OSError: the connection is gone.
        """
        if not self._is_part_sent:
            self._going += self._receipts
            self._receipts.clear()
        with contextlib.suppress(*_WOULD_BLOCK):
            while self._going:
                sent = self.real.send(self._going)
                self.sent_bytes += sent
                del self._going[:sent]

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Keep what is sent meanwhile, until `flush`."""
        self._is_gathering = True
        try:
            yield
        finally:
            self._is_gathering = False

    # --- the rest of a socket -----------------------------------------------------------------

    def close(self) -> None:
        """Close the real one; what was not sent is lost with the connection."""
        self.real.close()

    def fileno(self) -> int:
        """Give the real one's number."""
        return self.real.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as paho calls it
        """Pass on to the real one."""
        self.real.setblocking(flag)
