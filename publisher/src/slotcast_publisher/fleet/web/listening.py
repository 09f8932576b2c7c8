"""Where the page listens: an address taken apart, a socket opened, and what browsers open."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from slotcast_publisher.cli.serving import PAGE_LISTEN
from slotcast_publisher.page_settings import PageSettings
from slotcast_schemas.errors import StorageFailed, UsageError

_BACKLOG: Final = 128
"""The most connections that wait to be taken (listen(2))."""


def parse_listen(text: str) -> tuple[str, int]:
    """Take an address apart: `HOST:PORT`, `[IPV6]:PORT`, or a port alone.

    Raises:
        UsageError: it is none.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"listen: expected HOST:PORT, such as {PAGE_LISTEN}, got {text!r:.80}")
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


def unsafe_words(opened: socket.socket, settings: PageSettings) -> str | None:
    """Say what is not safe about where the page listens, and what to do; None where nothing is.

    The page speaks HTTP. Between it and a proxy on the same machine nobody reads along; over a
    network, passwords, the cookies of sessions and tokens can be read and used by others.

    Args:
        opened: where it listens.
        settings: how browsers reach it.
    """
    is_https = (settings.url or "").lower().startswith("https://")
    if is_https and not settings.proxies:
        return (
            f"page.url is {settings.url}, and page.proxies names no proxy: whether a browser came"
            " over HTTPS is not believed of anybody, so cookies are not marked Secure. Name the"
            ' proxy in slotcast.toml, such as [page] proxies = ["127.0.0.1"]'
        )
    host, port = opened.getsockname()[:2]
    if is_https or _is_loopback(host):
        return None
    return (
        f"the page listens at {host}:{port} and speaks HTTP without encryption: who is on the way"
        " can read passwords, and use the sessions and tokens of others. Listen at 127.0.0.1, and"
        " let a proxy speak HTTPS: [page] url and proxies in slotcast.toml"
    )


def _is_loopback(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
