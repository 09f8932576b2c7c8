"""Telling systemd that the agent is ready and alive (sd_notify(3)); nothing where it is not there.

The watchdog is fed from the agent's own loop, so a loop that hangs is restarted.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable

import msgspec


class Supervisor(msgspec.Struct):
    """Speaks to the service manager named in the environment.

    Attributes:
        address: its socket; None where there is no service manager.
        every_s: how often it must hear from us; None where there is no watchdog.
    """

    address: str | None = msgspec.field(default_factory=lambda: os.environ.get("NOTIFY_SOCKET"))
    every_s: float | None = msgspec.field(default_factory=lambda: _read_watchdog_s(os.environ))
    _next_s: float = 0.0

    def ready(self) -> None:
        """Say that start-up is over."""
        self._send_message("READY=1")

    def stopping(self) -> None:
        """Say that the end is meant."""
        self._send_message("STOPPING=1")

    def alive(self, now_s: float, text: Callable[[], str]) -> None:
        """Feed the watchdog when it is due; `text` is shown by `systemctl status`."""
        if self.every_s is not None and now_s >= self._next_s:
            self._next_s = now_s + self.every_s / 3
            self._send_message(f"WATCHDOG=1\nSTATUS={text()}")

    def _send_message(self, message: str) -> None:
        if self.address is None:
            return
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.sendto(message.encode(), path)


def _read_watchdog_s(environment: os._Environ[str]) -> float | None:
    """Read the watchdog's period; it may be meant for another process of the service."""
    text = environment.get("WATCHDOG_USEC", "")
    for_pid = environment.get("WATCHDOG_PID", str(os.getpid()))
    return int(text) / 1e6 if text.isdigit() and for_pid == str(os.getpid()) else None
