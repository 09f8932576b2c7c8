"""Addresses that no page has: with control characters, which files and databases choke on."""

from __future__ import annotations

from typing import Final

from litestar.exceptions import ClientException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

_DELETE: Final = "\x7f"


class PlainAddresses(ASGIMiddleware):
    """Refuses an address with control characters in its path, or a zero byte in its query."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Look at the address, and go on.

        Args:
            scope: of the request.
            receive: of the request.
            send: of the request.
            next_app: what answers it.

        Raises:
            ClientException: there are such characters.
        """
        is_plain = all(" " <= letter != _DELETE for letter in scope["path"])
        if not is_plain or b"%00" in scope["query_string"]:
            raise ClientException("the address has control characters, which no page has")
        await next_app(scope, receive, send)
