"""The device's bad link: a small TCP relay that can be slowed down, cut and taken away.

Nothing in it knows MQTT; it counts bytes, so the story can tell what a resumed transfer cost.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Final, Self

_READ_BYTES: Final = 4096
_BUFFER_BYTES: Final = 16 * 1024
"""Of the kernel, so that what is throttled does not lie about there."""
_LATE_S: Final = 0.1
_HOLD_POLL_S: Final = 0.01
_RESET: Final = struct.pack("ii", 1, 0)
"""Lingering for zero seconds makes close() send a reset (socket(7)): a cut, not a goodbye."""


class BadLink:
    """Relays from `port` to a broker for as long as the `with` block lasts.

    Attributes:
        rate_bytes_per_s: towards the device; None for as fast as it goes.
        hold_at_bytes: of `down_bytes` at which the link stalls until this is raised; None: never.
        is_down: while set, nobody gets through.
        down_bytes: that reached the device, over all connections.
    """

    def __init__(self, broker_port: int) -> None:
        self.rate_bytes_per_s: float | None = None
        self.hold_at_bytes: int | None = None
        self.is_down = False
        self.down_bytes = 0
        self._target = ("127.0.0.1", broker_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address that the device is given for its broker."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="link", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_down = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Break every connection at once, in the middle of whatever it carries; gives how many."""
        with self._lock:
            broken, self._sockets = self._sockets, set()
        for sock in broken:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        return len(broken) // 2

    def _is_held(self) -> bool:
        return self.hold_at_bytes is not None and self.down_bytes >= self.hold_at_bytes

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return  # the listener was closed: the story is over
            if self.is_down:
                device.close()
                continue
            try:
                broker = socket.create_connection(self._target)
            except OSError:
                device.close()
                continue
            self._relay(device, broker)

    def _relay(self, device: socket.socket, broker: socket.socket) -> None:
        broker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        device.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        with self._lock:
            self._sockets |= {device, broker}
        for source, sink, counts in ((broker, device, True), (device, broker, False)):
            arguments = (source, sink, counts)
            threading.Thread(target=self._pump, args=arguments, name="link", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        due_s = 0.0
        with contextlib.suppress(OSError):
            while data := source.recv(_READ_BYTES):
                if counts and self.rate_bytes_per_s is not None:
                    # What was late may be caught up a little, so that the mean rate holds.
                    due_s = max(due_s, time.monotonic() - _LATE_S)
                    due_s += len(data) / self.rate_bytes_per_s
                    time.sleep(max(0.0, due_s - time.monotonic()))
                while counts and self._is_held() and source in self._sockets:
                    time.sleep(_HOLD_POLL_S)
                sink.sendall(data)
                if counts:
                    self.down_bytes += len(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        with self._lock:
            self._sockets -= {source, sink}
