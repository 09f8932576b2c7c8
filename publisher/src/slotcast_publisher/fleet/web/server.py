"""Runs the page: uvicorn, on a socket that is open already, until it is told to stop."""

from __future__ import annotations

import socket
from typing import Final

import uvicorn
from litestar import Litestar

from slotcast_publisher.fleet.web.head import head_as_get
from slotcast_publisher.fleet.web.patience import BoundedProtocol

CONNECTIONS_MAX: Final = 1000
"""So many connections at once; more are told to come again."""
_HEADER_MAX_BYTES: Final = 32 * 1024
_STOP_S: Final = 2
"""The seconds that running answers have when the page stops; a stream of events has no end."""


class PageServer:
    """The page on an open socket.

    Args:
        app: the page.
        opened: where it listens.
    """

    def __init__(self, app: Litestar, opened: socket.socket) -> None:
        self._opened = opened
        config = uvicorn.Config(
            head_as_get(app),
            http=BoundedProtocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=_STOP_S,
            h11_max_incomplete_event_size=_HEADER_MAX_BYTES,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Answer until `stop` is called, or a signal ends the process."""
        self._server.run(sockets=[self._opened])

    def stop(self) -> None:
        """Have `run` end soon; from any thread."""
        self._server.should_exit = True
