"""Packets in and out of one connection, between the socket and paho, a few at a time.

Reading stops while receipts cannot leave, so the broker, not this process, holds what cannot be
taken yet. The first thing that goes wrong is the connection's error.
"""

from __future__ import annotations

import select
import ssl
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MQTTException

from slotcast_schemas.errors import LinkDown, ProtocolViolation, Stalled, TransferFailed
from slotcast_schemas.packet_socket import PacketSocket

if TYPE_CHECKING:
    from slotcast_device.link.connack import Accepted
    from slotcast_device.link.paho_client import Client

READS_MAX: Final = 64
"""The most packets that are taken before the loop looks at anything else."""
READ_MAX_BYTES: Final = 2 * 1024 * 1024
"""The bytes after which it does so too, and counts what came."""
RECEIPTS_TOGETHER: Final = 8
"""The number of packets whose receipts leave in one send: well below the 20 that Mosquitto has
under way."""
_UNREADABLE: Final = (
    MQTTException,
    struct.error,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
)
"""What paho raises for a packet that is cut short, or has properties or codes that it does not know
(2.1, by trying it)."""


class PacketFlow:
    """What goes through one connection's socket.

    Args:
        broker: its name, for errors.
        client: paho's client, which has the socket.
        on_message: takes topic and bytes of a message; its return is the receipt.
        part_max_s: within which a packet that has begun to come must be whole.

    Attributes:
        on_message: as given; another one may take its place.
        accepted: what the broker said when it took the connection; before, it may send no message.
        error: what went wrong first; None while all is well.
    """

    def __init__(
        self,
        broker: str,
        client: Client,
        on_message: Callable[[str, bytes], None],
        part_max_s: float,
    ) -> None:
        self._broker = broker
        self._client = client
        self._part_max_s = part_max_s
        self._part: tuple[int, float] | None = None  # how many came before it, and since when
        self.on_message = on_message
        self.accepted: Accepted | None = None
        self.error: TransferFailed | None = None

    @property
    def packets(self) -> PacketSocket | None:
        """The socket with its buffers; None once the connection is gone."""
        found = self._client.socket()
        return found if isinstance(found, PacketSocket) else None

    # --- in -------------------------------------------------------------------------------------

    @property
    def poll_events(self) -> int:
        """What to wait for on the socket, as `select.poll` has it."""
        found = self.packets
        reads = found is None or not found.is_choked
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self.wants_write else 0)

    def has_buffered(self) -> bool:
        """Whether bytes were read, by us or TLS, that the socket would not announce any more."""
        found = self.packets
        if found is None or found.is_choked:
            return False
        real = found.real
        return found.has_packet() or (isinstance(real, ssl.SSLSocket) and real.pending() > 0)

    @property
    def has_part(self) -> bool:
        """Whether a packet has begun to come, however slowly."""
        found = self.packets
        return found is not None and found.has_part

    def read(self) -> None:
        """Take what has come, packet by packet, up to a bound."""
        packets = self.packets
        before = 0 if packets is None else packets.received_bytes
        for _ in range(READS_MAX // RECEIPTS_TOGETHER):
            if not self._read_some(before + READ_MAX_BYTES):
                break
        if packets is not None and packets.received_bytes > before:
            self._client.note_bytes()
        if self.packets is not None:  # it may have ended meanwhile
            self.packets.acknowledge_at_once()  # Linux forgets it, tcp(7)

    def _read_some(self, until_bytes: int) -> bool:
        """Take a few packets, then send their receipts; False once nothing more has come.

        Not so many that more than `until_bytes` have come on this connection.
        """
        found = self.packets
        if found is None:
            return False
        with found.gathering():
            for _ in range(RECEIPTS_TOGETHER):
                if not (found.fill() and self._take(found)):
                    break
                if found.received_bytes > until_bytes and not found.has_packet():
                    break  # what is here is taken, but nothing more is read
        self._flush()
        is_enough = found.received_bytes > until_bytes
        return self.error is None and found.has_packet() and not is_enough

    def _take(self, packets: PacketSocket) -> bool:
        """Take the packet that came; the receipt of a message follows once it is dealt with."""
        came = packets.publication()
        if came is None:
            return self._take_other(packets)
        if self.accepted is None:
            self.note_violation("expected a CONNACK first, got a PUBLISH")
            return False
        self.on_message(came.topic, came.data)
        if came.packet_id is not None:
            packets.acknowledge(came.packet_id)
        return True

    def _take_other(self, packets: PacketSocket) -> bool:
        """Have paho take a packet that is no message; it raises for one that it cannot read."""
        if packets.forbidden:
            self.note_violation(packets.forbidden)
            return False
        try:
            return self.note_result(self._client.loop_read())
        except _UNREADABLE as exc:
            self.note_violation(f"a packet cannot be read: {type(exc).__name__}: {exc}"[:300])
            return False

    def watch_part(self, now_s: float) -> None:
        """Hang up where a packet has begun to come and does not end."""
        found = self.packets
        if found is None or not found.has_part:
            self._part = None
        elif self._part is None or self._part[0] != found.packets:
            self._part = (found.packets, now_s)
        elif now_s - self._part[1] > self._part_max_s:
            self.fail(
                Stalled(
                    f"{self._broker}: a packet began to come and was not whole within"
                    f" {self._part_max_s:g} s"
                )
            )

    # --- out ------------------------------------------------------------------------------------

    @property
    def wants_write(self) -> bool:
        """Whether something waits to be sent."""
        found = self.packets
        return self._client.want_write() or (found is not None and found.has_unsent)

    def write(self) -> None:
        """Send what waits."""
        self._flush()
        self.note_result(self._client.loop_write())

    def _flush(self) -> None:
        found = self.packets
        try:
            if found is not None:
                found.flush()
        except OSError as exc:
            self.fail(LinkDown(f"{self._broker}: connection lost ({exc})"))

    # --- what went wrong ------------------------------------------------------------------------

    def fail(self, error: TransferFailed) -> None:
        """Keep why the connection is over, unless something went wrong before."""
        if self.error is None:
            self.error = error

    def note_violation(self, text: str) -> None:
        """The broker did what MQTT forbids."""
        self.fail(ProtocolViolation(f"{self._broker}: not MQTT as agreed: {text}"))

    def note_result(self, code: MQTTErrorCode) -> bool:
        """Say whether paho could do what it was asked; the connection is lost if not."""
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            return True
        self.fail(LinkDown(f"{self._broker}: connection lost ({code.name})"))
        return False
