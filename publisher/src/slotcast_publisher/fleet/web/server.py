"""Runs the page: uvicorn, on a socket that is open already, until it is told to stop."""

from __future__ import annotations

import socket
from typing import Final

import uvicorn
from litestar import Litestar

from slotcast_schemas.errors import StorageFailed, UsageError

DEFAULT_LISTEN: Final = "127.0.0.1:8470"
"""Where the page is, unless somebody says otherwise."""
CONNECTIONS_MAX: Final = 1000
"""So many connections at once; more are told to come again."""
_HEADER_MAX_BYTES: Final = 32 * 1024
_BACKLOG: Final = 128
_STOP_S: Final = 2
"""The seconds that running answers have when the page stops; a stream of events has no end."""


def parse_listen(text: str) -> tuple[str, int]:
    """Take an address apart: `HOST:PORT`, `[IPV6]:PORT`, or a port alone.

    Raises:
        UsageError: it is none.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"listen: expected HOST:PORT, such as {DEFAULT_LISTEN}, got {text!r:.80}")
    return host, int(port)


def open_socket(host: str, port: int) -> socket.socket:
    """Open the socket that the page listens at.

    Args:
        host: name or address.
        port: 0 for any that is free.

    Raises:
        UsageError: the host is not known.
        StorageFailed: the port is taken, or may not be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as exc:
        raise UsageError(f"listen: {host!r:.80} is no address of this machine: {exc}") from exc
    # With the protocol named, asyncio sends short answers at once (TCP_NODELAY).
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except OSError as exc:
        opened.close()
        raise StorageFailed(
            f"the page cannot listen at {host}:{port} ({exc.strerror}): choose another with"
            " --listen HOST:PORT"
        ) from exc
    return opened


def url_of(opened: socket.socket) -> str:
    """Give the address that a browser of this machine opens."""
    host, port = opened.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not listened at
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class PageServer:
    """The page on an open socket.

    Args:
        app: the page.
        opened: where it listens.
    """

    def __init__(self, app: Litestar, opened: socket.socket) -> None:
        self._opened = opened
        config = uvicorn.Config(
            app,
            http="h11",
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
