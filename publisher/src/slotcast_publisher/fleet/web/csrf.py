"""Changes come from our own pages only: a token that other sites cannot read, and the origin.

The token is made of the secret in a cookie, one way, so nothing is kept for it, and it ends with
the session. A browser that is not signed in has a cookie for that, too: nobody is signed in by a
form of another site. A program's own token is sent by nobody but itself, so it needs none of this.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final
from urllib.parse import urlsplit

from litestar.connection import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import PermissionDeniedException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from slotcast_publisher.fleet.access.secret import new_secret
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.cookies import SESSION, VISIT, make_cookie, read_cookie
from slotcast_publisher.fleet.web.guards import AnyConnection, Who

FIELD: Final = "csrf"
"""The field of a form that holds the token."""
HEADER: Final = "x-csrf-token"
"""The header that holds it, for a script."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_STATE: Final = "csrf"
_FORM: Final = "application/x-www-form-urlencoded"


def csrf_token(connection: AnyConnection) -> str:
    """Give the token that a page sends along with its forms; empty for a program."""
    token: str = connection.scope["state"].get(_STATE, "")
    return token


def token_of(secret: str) -> str:
    """Give the token that belongs to the secret in a cookie."""
    return hmac.new(secret.encode(), b"slotcast csrf", hashlib.sha256).hexdigest()


class CsrfProtection(ASGIMiddleware):
    """Refuses changes that do not come from our own pages.

    Args:
        context: of the page.
    """

    def __init__(self, context: WebContext) -> None:
        self._id = context.database.id
        self._public_host = urlsplit(context.settings.url or "").netloc

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Check a change, or prepare the token of a page.

        Args:
            scope: of the request.
            receive: of the request.
            send: of the request.
            next_app: what answers it.

        Raises:
            PermissionDeniedException: it does not come from our own page.
        """
        who = scope.get("user")
        if isinstance(who, Who) and who.how == "token":
            await next_app(scope, receive, send)
            return
        request: Request[Any, Any, Any] = Request(scope, receive=receive, send=send)
        secret = self._secret(request)
        if request.method not in _SAFE:
            await self._check(request, secret)
        elif not secret:
            secret = new_secret()
            send = self._giving_cookie(request, secret, send)
        scope["state"][_STATE] = token_of(secret)
        await next_app(scope, receive, send)

    def _secret(self, connection: AnyConnection) -> str:
        who = connection.scope.get("user")
        is_session = isinstance(who, Who) and who.how == "session"
        return read_cookie(connection, SESSION if is_session else VISIT, self._id)

    def _giving_cookie(self, connection: AnyConnection, secret: str, send: Send) -> Send:
        cookie = make_cookie(connection, VISIT, self._id, secret)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.add("set-cookie", cookie.to_header(header=""))
            await send(message)

        return sending

    async def _check(self, request: Request[Any, Any, Any], secret: str) -> None:
        if not self._is_from_here(request):
            raise PermissionDeniedException("this change was asked for by another site")
        given = request.headers.get(HEADER, "")
        if not given and request.headers.get("content-type", "").startswith(_FORM):
            form = await request.form()
            given = str(form.get(FIELD, ""))
        if not secret or not hmac.compare_digest(given.encode(), token_of(secret).encode()):
            raise PermissionDeniedException(
                "this form is too old, or not from this page: go back, load the page again, and"
                " send it once more"
            )

    def _is_from_here(self, request: Request[Any, Any, Any]) -> bool:
        """Say whether a browser calls it a request of our own pages; older ones say nothing."""
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site in {"same-origin", "none"}
        origin = request.headers.get("origin")
        if origin is None:
            return True
        host = urlsplit(origin).netloc
        return bool(host) and host in {request.headers.get("host"), self._public_host}
