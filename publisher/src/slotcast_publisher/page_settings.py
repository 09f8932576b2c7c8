"""`[page]` in `slotcast.toml`: how browsers reach the fleet's page through a proxy.

Of the fleet (`slotcast-publisher[fleet]`), and here because the file is read as one: a key that is
wrong, or not known, is said wherever the file is read.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from slotcast_schemas.errors import UsageError

_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class PageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How browsers reach the page; nothing is needed where they come to it directly."""

    url: Annotated[
        str | None,
        Meta(
            description="What people open, such as `https://fleet.example.org`, where a proxy"
            " stands before the page: one-time links begin with it."
        ),
    ] = None
    proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of proxies, such as `127.0.0.1` or `10.0.0.0/24`,"
            " that are believed from where a request comes (`X-Forwarded-For`) and whether it came"
            " over HTTPS (`X-Forwarded-Proto`)."
        ),
    ] = ()
    user_header: Annotated[
        str | None,
        Meta(
            description="The header in which these proxies name the user that they let in, such as"
            " `X-Forwarded-User`. The user must be known here, and has the role given here. The"
            " proxy must take this header off what browsers send."
        ),
    ] = None

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of the proxies.

        Raises:
            ValueError: one is none; `check_page` has said so.
        """
        return tuple(ipaddress.ip_network(proxy, strict=False) for proxy in self.proxies)


def check_page(page: PageSettings, where: str = "") -> None:
    """Check what no single key can say.

    Args:
        page: the settings.
        where: what a message begins with.

    Raises:
        UsageError: an address, a network or a header that cannot be.
    """
    if page.url is not None:
        parts = urlsplit(page.url)
        is_plain = parts.path in {"", "/"} and not parts.query and not parts.fragment
        if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain:
            raise UsageError(
                f"{where}page.url: expected https://HOST, without a path, got {page.url!r:.80}"
            )
    try:
        _ = page.networks
    except ValueError as exc:
        raise UsageError(f"{where}page.proxies: expected addresses or networks: {exc}") from exc
    if page.user_header is not None:
        if not _HEADER.fullmatch(page.user_header):
            raise UsageError(
                f"{where}page.user_header: expected the name of a header, such as"
                f" X-Forwarded-User, got {page.user_header!r:.80}"
            )
        if not page.proxies:
            raise UsageError(
                f"{where}page.user_header: needs page.proxies, for anybody can send a header"
            )
