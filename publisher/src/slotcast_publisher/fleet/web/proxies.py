"""What a proxy before the page says, and only if it is one of those that are believed.

From anybody else these headers are what a stranger claims, and they are not looked at.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from litestar.datastructures import Headers
from litestar.exceptions import ClientException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from slotcast_publisher.page_settings import PageSettings

PROXY_USER: Final = "proxy_user"
"""The key in a request's state under which the user stands whom a believed proxy has named."""
_FORWARDED_MAX: Final = 20
"""The most addresses of `X-Forwarded-For` that are looked at, the last ones."""


class TrustedProxies(ASGIMiddleware):
    """Puts the browser's address and scheme into the scope, where a believed proxy names them.

    Args:
        settings: of the page.
    """

    def __init__(self, settings: PageSettings) -> None:
        self._networks = settings.networks
        self._user_header = settings.user_header
        self._usual_scheme = "https" if (settings.url or "").startswith("https://") else "http"

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Look at what a proxy says, and go on.

        Args:
            scope: of the request.
            receive: of the request.
            send: of the request.
            next_app: what answers it.

        Raises:
            ClientException: it names two users.
        """
        client = scope.get("client")
        if self._networks and client is not None and self._is_believed(client[0]):
            headers = Headers.from_scope(scope)
            self._take_user(scope, headers)
            scope["client"] = (self._browser(headers, client[0]), 0)
            said = headers.get("x-forwarded-proto", self._usual_scheme)
            if said.strip().lower() == "https":
                scope["scheme"] = "https"
        await next_app(scope, receive, send)

    def _is_believed(self, address: str) -> bool:
        try:
            found: Any = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found
        return any(mapped in network for network in self._networks)

    def _browser(self, headers: Headers, peer: str) -> str:
        """Give the last address that no believed proxy has: what is before it may be invented."""
        named = ",".join(headers.getall("x-forwarded-for", [])).split(",")[-_FORWARDED_MAX:]
        for text in reversed(named):
            address = text.strip()
            if not self._is_believed(address):
                return address if _is_address(address) else peer
        return peer

    def _take_user(self, scope: Scope, headers: Headers) -> None:
        if self._user_header is None:
            return
        names = headers.getall(self._user_header, [])
        if len(names) > 1:
            raise ClientException(
                f"the proxy named {len(names)} users in {self._user_header}, expected one: it must"
                " take this header off what browsers send"
            )
        if names:
            scope["state"][PROXY_USER] = names[0].strip().lower()[:64]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
