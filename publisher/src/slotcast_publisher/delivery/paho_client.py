"""paho's client on a socket of ours: messages go to their reader without paho's own steps for each.

paho's thread works as ever, but what it would read byte by byte is cut into packets by
`slotcast_schemas.packet_socket`, and each message of QoS 0 or 1 is handed over and acknowledged
here. On the connection that hears a fleet that is most of what a message costs.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

from slotcast_publisher.delivery.packet_ids import PacketIds
from slotcast_schemas.broker import start_tls
from slotcast_schemas.packet_socket import PacketSocket

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

PACKET_MAX_BYTES: Final = 1024 * 1024
"""What is kept of one packet: more than the largest message that anybody reads."""
_RECEIPTS_TOGETHER: Final = 64
"""The number of packets whose receipts leave in one send."""
_READS_MAX: Final = 16
"""How many times that number are taken before paho looks at what else there is to do."""
_CHOKED_S: Final = 0.1
"""The longest wait in seconds for a broker that takes no receipts, before anything more is read."""

Take = Callable[[str, bytes, bool], None]
"""Takes a message's topic and bytes, and whether the broker had kept it; in paho's thread. It is
acknowledged when this returns; while it waits, nothing more is read, which stops the broker."""


class Client(paho.Client):
    """paho's client; `take` and `packet_ids` are set before it connects.

    Attributes:
        opened: the last connection, also once it is closed.
    """

    take: Take
    packet_ids: PacketIds
    opened: PacketSocket | None = None

    @property
    def _packets(self) -> PacketSocket | None:
        found = self.socket()
        return found if isinstance(found, PacketSocket) else None

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        return start_tls(self._ssl_context, tcp_sock, self._host, self.connect_timeout)

    def _create_socket(self) -> SocketLike:
        made = super()._create_socket()
        if not isinstance(made, socket.socket):
            raise TypeError(f"expected a plain or TLS socket, got {type(made).__name__}")
        is_v5 = self.protocol == MQTTProtocolVersion.MQTTv5
        packets = PacketSocket(made, PACKET_MAX_BYTES, has_properties=is_v5)
        packets.send_at_once()
        self.opened = packets
        return packets

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Take what has come, up to a bound, in place of paho's reading of one packet."""
        packets = self._packets
        if packets is None:
            return super().loop_read(max_packets)
        if packets.is_choked:
            select.select([], [packets.real], [], _CHOKED_S)
        before = packets.received_bytes
        for _ in range(_READS_MAX):
            code = self._read_some(packets)
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS or not packets.has_packet():
                break
        if packets.received_bytes > before:
            self._note_bytes()
        return code

    def _read_some(self, packets: PacketSocket) -> MQTTErrorCode:
        """Take some packets, and send their receipts; gives paho's word for it."""
        with packets.gathering():
            for _ in range(_RECEIPTS_TOGETHER):
                if not packets.fill():
                    break
                code = self._take_packet(packets)
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return code
        return self._flush(packets)

    def _take_packet(self, packets: PacketSocket) -> MQTTErrorCode:
        """Take the packet that came: a message is ours, any other paho's."""
        came = packets.publication()
        if came is None:
            return super().loop_read(1)
        self.take(came.topic, came.data, came.retained)
        if came.packet_id is not None:
            self.packet_ids.saw(came.packet_id)
            packets.acknowledge(came.packet_id)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _flush(self, packets: PacketSocket) -> MQTTErrorCode:
        try:
            packets.flush()
        except OSError:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def want_write(self) -> bool:
        """Say whether something waits to be sent, here or in paho."""
        packets = self._packets
        return super().want_write() or (packets is not None and packets.has_unsent)

    def loop_write(self) -> MQTTErrorCode:
        """Send what waits here, then what waits in paho."""
        packets = self._packets
        if packets is not None:
            code = self._flush(packets)
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return code
        return super().loop_write()

    def _note_bytes(self) -> None:
        """Tell the keep-alive that bytes came: the answer to a ping may wait behind many."""
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
