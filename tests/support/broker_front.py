"""What stands before a broker, such as a container's proxy: it hangs up while there is none yet.

with BrokerFront(hang_ups=2, target=("127.0.0.1", broker.port)) as front:
    ...                                     # connect to 127.0.0.1, front.port
front.connections

Or one that lies: with `added` it sends messages that nobody subscribed to, each time that the
broker has answered a subscription.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Sequence
from typing import Self

from tests.support.mqtt_packets import Packets, remaining_length


class BrokerFront:
    """Hangs up on so many connections once something came over them, and forwards the later ones.

    Attributes:
        port: where to connect, on 127.0.0.1.
        connections: how many there were.
        additions: how often it added its messages.

    Args:
        hang_ups: how many it hangs up on; all unless given.
        target: host and port of the broker; unless given, the later ones are hung up on, too.
        added: topics and bytes of messages that it adds to what the broker sends.
    """

    def __init__(
        self,
        hang_ups: float = math.inf,
        target: tuple[str, int] | None = None,
        added: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self._hang_ups = hang_ups
        self._target = target
        self._added = added
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = contextlib.ExitStack()
        self._threads = [threading.Thread(target=self._serve)]
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self.additions = 0

    @property
    def url(self) -> str:
        """Its address as a broker's."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self._open.close()
        for thread in self._threads[1:]:
            thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                made, _ = self._listener.accept()
                self.connections += 1
                if self._target is None or self.connections <= self._hang_ups:
                    with made:
                        made.recv(4096)
                else:
                    self._forward(made, socket.create_connection(self._target))

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        down = self._copy_and_add if self._added else _copy
        for copy, source, sink in ((_copy, one, other), (down, other, one)):
            self._open.callback(source.close)
            self._open.callback(_end, source)
            self._threads.append(threading.Thread(target=copy, args=(source, sink)))
            self._threads[-1].start()

    def _copy_and_add(self, broker: socket.socket, client: socket.socket) -> None:
        """Copy whole packets, and the messages to add behind each answer to SUBSCRIBE."""
        packets = Packets()
        is_v5 = False
        with contextlib.suppress(OSError):
            while data := broker.recv(65_536):
                for packet in packets.feed(data):
                    client.sendall(packet.raw)
                    if packet.name == "CONNACK":
                        is_v5 = len(packet.raw) > len(b"\x20\x02\0\0")
                    if packet.name == "SUBACK":
                        client.sendall(b"".join(_publish(*one, is_v5=is_v5) for one in self._added))
                        self.additions += 1
        _end(client)


def _publish(topic: str, data: bytes, *, is_v5: bool) -> bytes:
    """Give a PUBLISH of QoS 0, which is answered by nothing."""
    name = topic.encode()
    body = len(name).to_bytes(2) + name + (b"\0" if is_v5 else b"") + data
    return b"\x30" + remaining_length(len(body)) + body


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy until one side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    _end(sink)


def _end(made: socket.socket) -> None:
    with contextlib.suppress(OSError):
        made.shutdown(socket.SHUT_RDWR)
