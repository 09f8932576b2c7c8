"""Runs the page: uvicorn, on a socket that is open already, until it is told to stop."""

from __future__ import annotations

import resource
import socket
from collections.abc import Sequence
from typing import Final

import uvicorn
from litestar import Litestar

from slotcast_publisher.fleet.web.head import head_as_get
from slotcast_publisher.fleet.web.patience import BoundedProtocol
from slotcast_publisher.fleet.web.places import Places
from slotcast_publisher.page_settings import Network

CONNECTIONS_MAX: Final = 1000
"""So many connections at once; who comes then takes the place of another (`places`)."""
_OTHER_FILES: Final = 256
"""The most descriptors of the process that are no client's."""
_LEAST: Final = 16
"""The fewest places, where the system allows hardly any descriptors."""
_HEADER_MAX_BYTES: Final = 32 * 1024
_STOP_S: Final = 2
"""The seconds that running answers have when the page stops; a stream of events has no end."""


class PageServer:
    """The page on an open socket.

    Args:
        app: the page.
        opened: where it listens.
        proxies: networks of proxies, through each of which many people come.
    """

    def __init__(
        self, app: Litestar, opened: socket.socket, proxies: Sequence[Network] = ()
    ) -> None:
        self._opened = opened
        most = min(CONNECTIONS_MAX, _allow_files(CONNECTIONS_MAX + _OTHER_FILES) - _OTHER_FILES)

        class PageProtocol(BoundedProtocol):
            places = Places(max(most, _LEAST), proxies)

        config = uvicorn.Config(
            head_as_get(app),
            http=PageProtocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
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


def _allow_files(count: int) -> int:
    """Let this process have so many open files, where it may; gives how many it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return count
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
