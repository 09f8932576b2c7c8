"""paho's client for tests, on TLS that leaves no socket behind where it fails.

paho drops the socket of a handshake that failed, for the garbage to close: what connects again to a
broker that is being restarted has another test blamed for it.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import paho.mqtt.client as paho

from slotcast_schemas.broker import start_tls

if TYPE_CHECKING:
    import socket


class Client(paho.Client):
    """paho's client."""

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        return start_tls(self._ssl_context, tcp_sock, self._host, self.connect_timeout)
