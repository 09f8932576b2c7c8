"""How long a client may take to send a request and to take an answer, and how long its head may be.

One that drips a byte a minute holds a place, and so does one that asks for much and reads nothing;
one with a megabyte of headers holds memory. Who comes when no place is left, takes one of the
address that has most (`places`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from slotcast_publisher.fleet.web.places import Places

REQUEST_MAX_S: Final = 30.0
"""The seconds in which a request must have come whole, from the connection or its first byte on."""
UNREAD_MAX_S: Final = 60.0
"""The seconds in which a client must take some of an answer that waits for it; a stream of events
waits for a client in its own way (`live`), and here as well once the system holds no more."""
PART_BYTES: Final = 4096
"""What came is looked at in parts of this: h11 bounds a head only while it is not whole, so one of
256 KiB that came at once would pass."""
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER (socket(7)): wait no seconds for what was not sent."""
_COMING: Final = (h11.IDLE, h11.SEND_BODY)
"""The states of h11 in which a request has not come whole."""


class BoundedProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1, which hangs up on who takes too long to ask or to listen."""

    places: Places
    _coming: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered (`places.Holder`)."""
        cycle: RequestResponseCycle | None = self.cycle  # None until there was a request
        is_idle = cycle is None or cycle.response_complete
        return is_idle or self._coming is not None

    def connection_made(self, transport: Any) -> None:
        """Take a place, and wait for a request, but not for ever."""
        super().connection_made(transport)
        self._wait()
        leaving = self.places.take(self, self.client[0] if self.client else "")
        if isinstance(leaving, BoundedProtocol):
            leaving.drop()

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
        """Wait no more, and give the place back."""
        self.places.leave(self)
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that takes nothing, but not for ever; what waits for it is dropped."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_MAX_S, self.drop)

    def resume_writing(self) -> None:
        """Go on: it took most of what waited."""
        self._stop_watching()
        super().resume_writing()

    def drop(self) -> None:
        """End at once: the system keeps nothing, either, of what the client does not take."""
        opened = self.transport.get_extra_info("socket")
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

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
