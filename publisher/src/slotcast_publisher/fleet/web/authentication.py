"""Says who asks: by a token, by the word of a believed proxy, or by the cookie of a session."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from slotcast_publisher.fleet.access.audit import How
from slotcast_publisher.fleet.access.roles import PERMISSIONS, Role
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.cookies import SESSION, read_cookie
from slotcast_publisher.fleet.web.guards import AnyConnection, Who
from slotcast_publisher.fleet.web.proxies import PROXY_USER

_BEARER: Final = "bearer "


class Authentication(ASGIMiddleware):
    """Puts a `Who` into the scope of each request, or None.

    Args:
        context: of the page.
    """

    def __init__(self, context: WebContext) -> None:
        self._context = context

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Find out who asks, and go on.

        Args:
            scope: of the request.
            receive: of the request.
            send: of the request.
            next_app: what answers it.

        Raises:
            NotAuthorizedException: a token was sent that does not count.
        """
        connection: AnyConnection = ASGIConnection(scope)
        scope["user"] = await asyncio.to_thread(who_of, self._context, connection)
        await next_app(scope, receive, send)


def who_of(context: WebContext, connection: AnyConnection) -> Who | None:
    """Give who asks, as it is now; None for nobody whom we know. Reads the database.

    Args:
        context: of the page.
        connection: of who asks.

    Raises:
        NotAuthorizedException: a token was sent that does not count.
    """
    address = address_of(connection)
    given = connection.headers.get("authorization", "")
    if given.lower().startswith(_BEARER):
        return _program(context, given[len(_BEARER) :].strip(), address)
    named = connection.scope["state"].get(PROXY_USER)
    user = context.users.find(named) if named else None
    if user is not None:
        return _person(user.name, user.role, "proxy", address)
    secret = read_cookie(connection, SESSION, context.database.id)
    session = context.sessions.find(secret) if secret else None
    if session is None:
        return None
    who = _person(session.user, session.role, "session", address)
    return msgspec.structs.replace(who, session_key=session.key)


def _program(context: WebContext, token: str, address: str) -> Who:
    found = context.tokens.check(token)
    if found is None:
        raise NotAuthorizedException("this token does not count: it ended, or never was")
    return Who(name=f"token {found.name}", how="token", permissions=found.scope, address=address)


def _person(name: str, role: Role, how: How, address: str) -> Who:
    return Who(name=name, how=how, permissions=PERMISSIONS[role], address=address, role=role)


def address_of(connection: AnyConnection) -> str:
    """Give the address that a request comes from."""
    return connection.client.host if connection.client else ""
