"""How long a client may take to send a request, and how long its head may be.

One that drips a byte a minute holds a place; one with a megabyte of headers holds memory.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_MAX_S: Final = 30.0
"""The seconds in which a request must have come whole, from the connection or its first byte on."""
PART_BYTES: Final = 4096
"""What came is looked at in parts of this: h11 bounds a head only while it is not whole, so one of
256 KiB that came at once would pass."""
_COMING: Final = (h11.IDLE, h11.SEND_BODY)


class BoundedProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1, which hangs up on who takes too long to ask."""

    _coming: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for a request, but not for ever."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; the wait goes on while it is not whole."""
        for begin in range(0, len(data), PART_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[begin : begin + PART_BYTES])
        if self.conn.their_state not in _COMING:
            self._stop_waiting()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._coming is None:
            self._coming = self.loop.call_later(REQUEST_MAX_S, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
