"""Who asks, and whether they may: each route says what it needs, or that everybody may.

@get("/devices", opt=needs(Permission.SEE))
@get("/sign-in", opt=PUBLIC)

A route that says neither is a mistake, and the page does not start with it (`check_routes`).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import HTTPRouteHandler
from litestar.handlers.base import BaseRouteHandler
from litestar.routes import ASGIRoute, BaseRoute, HTTPRoute, WebSocketRoute

from slotcast_publisher.fleet.access.audit import Actor, How
from slotcast_publisher.fleet.access.roles import Permission, Role, role_that_may
from slotcast_schemas.errors import UsageError

NEEDS: Final = "needs"
"""The option of a route that says what it needs."""
_EVERYBODY: Final = "everybody"
PUBLIC: Final[dict[str, Any]] = {NEEDS: _EVERYBODY}
"""The options of a route that everybody may use."""


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: a person or a program.

    Attributes:
        name: of the user or the token.
        how: they are known.
        permissions: what they may do.
        address: they come from.
        role: of a person; None for a program.
        session_key: of the session, for a person who signed in here.
    """

    name: str
    how: How
    permissions: frozenset[Permission]
    address: str
    role: Role | None = None
    session_key: bytes | None = None

    def may(self, permission: Permission) -> bool:
        """Say whether they may do something."""
        return permission in self.permissions

    @property
    def actor(self) -> Actor:
        """How the audit log names them."""
        return Actor(self.name, self.how, self.address)


AnyConnection = ASGIConnection[Any, Any, Any, Any]


def needs(permission: Permission) -> dict[str, Any]:
    """Give the options of a route that only those may use who have a permission."""
    return {NEEDS: permission}


def who_asks(connection: AnyConnection) -> Who:
    """Give who asks.

    Raises:
        NotAuthorizedException: nobody whom we know.
    """
    who = connection.scope.get("user")
    if not isinstance(who, Who):
        raise NotAuthorizedException("sign in first, or send a token")
    return who


def check_gives(who: Who, scope: AbstractSet[Permission]) -> None:
    """See that nobody gives a token more than they may do themselves.

    Args:
        who: gives it.
        scope: of the token.

    Raises:
        UsageError: they do.
    """
    if not who.permissions >= scope:
        raise UsageError("scope: nobody gives a token more than they may do themselves")


def check_permission(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Let through who may use a route.

    Args:
        connection: of who asks.
        handler: of the route.

    Raises:
        NotAuthorizedException: nobody whom we know.
        PermissionDeniedException: somebody who may not.
    """
    needed = handler.opt.get(NEEDS)
    if needed == _EVERYBODY or _is_options(handler):
        return
    who = who_asks(connection)
    if not isinstance(needed, Permission) or not who.may(needed):
        raise PermissionDeniedException(_refusal(who, needed))


def _refusal(who: Who, needed: object) -> str:
    if not isinstance(needed, Permission):
        return "nobody may use this"
    if who.role is None:
        return f"this token may not {needed}: its scope is {', '.join(sorted(who.permissions))}"
    return (
        f"this needs the role {role_that_may(needed)}, and {who.name} has the role {who.role}:"
        f" an admin may change that (`slotcast users role REPO {who.name} ROLE`)"
    )


def check_routes(app: Litestar) -> None:
    """See that every route says who may use it.

    Raises:
        AssertionError: one does not; names it.
    """
    for route in app.routes:
        for handler in _handlers(route):
            needed = handler.opt.get(NEEDS)
            if not isinstance(needed, Permission) and needed != _EVERYBODY:
                raise AssertionError(f"expected {route.path} to say who may use it")


def _handlers(route: BaseRoute) -> list[BaseRouteHandler]:
    """Give who answers a route, but for the framework's own answer to OPTIONS: the methods."""
    if isinstance(route, HTTPRoute):
        return [h for h in route.route_handlers if not _is_options(h)]
    return [route.route_handler] if isinstance(route, ASGIRoute | WebSocketRoute) else []


def _is_options(handler: BaseRouteHandler) -> bool:
    """Say whether it is the framework's own answer: the methods of a path, which are no secret."""
    return isinstance(handler, HTTPRouteHandler) and handler.http_methods == {"OPTIONS"}
