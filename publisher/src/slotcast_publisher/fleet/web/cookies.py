"""The two cookies: of who is signed in, and of a browser that is not."""

from __future__ import annotations

from typing import Final, Literal

from litestar.datastructures import Cookie

from slotcast_publisher.fleet.access.sessions import LONGEST_S
from slotcast_publisher.fleet.web.guards import AnyConnection

SESSION: Final = "session"
VISIT: Final = "visit"
Kind = Literal["session", "visit"]
_ID_CHARS: Final = 8
"""The characters of the database's id in a cookie's name, so that two pages at one host do not
share cookies."""


def cookie_name(kind: Kind, database_id: str, *, is_secure: bool) -> str:
    """Give the name of a cookie.

    A browser sends the cookies of a host to all its ports, so the database's id tells two pages of
    one machine apart. Over HTTPS the prefix has browsers refuse such a cookie from anybody else.

    Args:
        kind: what it is for.
        database_id: of the fleet's database.
        is_secure: whether the browser came over HTTPS.
    """
    prefix = "__Host-" if is_secure else ""
    return f"{prefix}slotcast_{kind}_{database_id[:_ID_CHARS]}"


def is_secure(connection: AnyConnection) -> bool:
    """Say whether the browser came over HTTPS."""
    return connection.scope["scheme"] == "https"


def read_cookie(connection: AnyConnection, kind: Kind, database_id: str) -> str:
    """Give what a browser sent as a cookie; empty for nothing.

    Args:
        connection: of the browser.
        kind: which cookie.
        database_id: of the fleet's database.
    """
    name = cookie_name(kind, database_id, is_secure=is_secure(connection))
    return connection.cookies.get(name, "")


def make_cookie(connection: AnyConnection, kind: Kind, database_id: str, secret: str) -> Cookie:
    """Make a cookie; with an empty secret, one that has the browser forget it.

    Args:
        connection: of the browser.
        kind: which cookie.
        database_id: of the fleet's database.
        secret: what is in it.
    """
    secure = is_secure(connection)
    return Cookie(
        key=cookie_name(kind, database_id, is_secure=secure),
        value=secret,
        path="/",
        max_age=LONGEST_S if secret else 0,
        secure=secure,
        httponly=True,
        # Lax: whoever follows a link to a rollout from a chat is still signed in.
        samesite="lax" if kind == SESSION else "strict",
    )
