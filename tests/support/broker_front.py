"""What stands before a broker, such as a container's proxy: it hangs up while there is none yet.

with BrokerFront(hang_ups=2, target=("127.0.0.1", broker.port)) as front:
    ...                                     # connect to 127.0.0.1, front.port
front.connections
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from typing import Self


class BrokerFront:
    """Hangs up on so many connections once something came over them, and forwards the later ones.

    Attributes:
        port: where to connect, on 127.0.0.1.
        connections: how many there were.

    Args:
        hang_ups: how many it hangs up on; all unless given.
        target: host and port of the broker; unless given, the later ones are hung up on, too.
    """

    def __init__(self, hang_ups: float = math.inf, target: tuple[str, int] | None = None) -> None:
        self._hang_ups = hang_ups
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = contextlib.ExitStack()
        self._threads = [threading.Thread(target=self._serve)]
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0

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
        for source, sink in ((one, other), (other, one)):
            self._open.callback(source.close)
            self._open.callback(_end, source)
            self._threads.append(threading.Thread(target=_copy, args=(source, sink)))
            self._threads[-1].start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy until one side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    _end(sink)


def _end(made: socket.socket) -> None:
    with contextlib.suppress(OSError):
        made.shutdown(socket.SHUT_RDWR)
