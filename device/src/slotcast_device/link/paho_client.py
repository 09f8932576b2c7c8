"""paho's client as the link uses it: on a socket of ours, with a broker's user and TLS."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Final

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from slotcast_device.link.lean_paho import paho
from slotcast_schemas.broker import explain_unopened, start_tls, tls_context
from slotcast_schemas.errors import BrokerRefused, LinkDown, UsageError
from slotcast_schemas.packet_socket import PacketSocket

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

    from slotcast_device.config import BrokerConfig, DeviceConfig

RECEIVE_MAXIMUM: Final = 512
"""The most messages without a receipt that a broker may have under way to us (MQTT 5,
3.1.2.11.3)."""
PACKET_MAX_BYTES: Final = 256 * 1024
"""The most bytes of a packet that a broker may send us: twice what is ever asked for, as room to
receive, and name, a notice that is too large."""
QUEUED_MAX: Final = 200
"""The most messages of ours that wait in paho to be sent."""


class Client(paho.Client):
    """paho's client on a socket of ours, which paho's own hook lets us put there."""

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        return start_tls(self._ssl_context, tcp_sock, self._host, self.connect_timeout)

    def _create_socket(self) -> SocketLike:
        made = super()._create_socket()
        if not isinstance(made, socket.socket):
            raise TypeError(f"expected a plain or TLS socket, got {type(made).__name__}")
        is_v5 = self.protocol == MQTTProtocolVersion.MQTTv5
        return PacketSocket(made, PACKET_MAX_BYTES, has_properties=is_v5, is_bound_announced=is_v5)

    def open(self, broker: BrokerConfig, keepalive_s: int) -> None:
        """Open the connection and send CONNECT.

        Raises:
            LinkDown: nobody answers there; `HungUp` where somebody ends the connection instead.
            BrokerRefused: somebody does, and TLS fails.
        """
        try:
            if self.protocol == MQTTProtocolVersion.MQTTv5:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho
                properties.ReceiveMaximum = RECEIVE_MAXIMUM
                properties.MaximumPacketSize = PACKET_MAX_BYTES
                self.connect(
                    broker.host, broker.port, keepalive_s, clean_start=True, properties=properties
                )
            else:
                self.connect(broker.host, broker.port, keepalive_s)
        except OSError as exc:
            raise explain_unopened(broker.name, exc, is_tls=broker.is_tls) from exc
        except ValueError as exc:
            raise LinkDown(f"{broker.name}: cannot connect: {exc}") from exc

    def note_bytes(self) -> None:
        """Tell the keep-alive that bytes came: the answer to a ping may wait behind many.

        paho notes it for what it reads itself, and otherwise ends a connection that is only slow.
        """
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()


def make_client(
    broker: BrokerConfig, config: DeviceConfig, client_id: str, *, is_v5: bool
) -> Client:
    """Make a client that is not connected yet.

    Args:
        broker: where it is to connect to, and as whom.
        config: waits, and the folder of the TLS files.
        client_id: unique on the broker.
        is_v5: whether it speaks MQTT 5; else 3.1.1.

    Raises:
        BrokerRefused: the TLS files cannot be used.
    """
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if is_v5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = config.values.timing.connect_timeout_s
    client.max_queued_messages_set(QUEUED_MAX)
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.is_tls:
        client.tls_set_context(_make_tls_context(broker, config))
    return client


def _make_tls_context(broker: BrokerConfig, config: DeviceConfig) -> ssl.SSLContext:
    ca, certificate, key = (
        None if name is None else config.folder / name
        for name in (broker.ca, broker.certificate, broker.key)
    )
    try:
        return tls_context(ca, certificate, key)
    except UsageError as exc:  # others of the configuration's brokers may still serve
        raise BrokerRefused(f"{broker.name}: {exc}") from exc
