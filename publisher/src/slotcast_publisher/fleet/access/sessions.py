"""Sessions: who is signed in with a browser, kept here and not in the browser.

The browser holds a secret, the database its digest. A session ends when it was not used for
`IDLE_S`, and after `LONGEST_S` in any case; role and existence of the user are looked up each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, delete, insert, select, update

from slotcast_publisher.fleet.access.audit import Actor, write_entry
from slotcast_publisher.fleet.access.roles import Role
from slotcast_publisher.fleet.access.secret import digest_of, new_secret
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database

IDLE_S: Final = 12 * 3600
"""A session that was not used for so many seconds has ended."""
LONGEST_S: Final = 7 * 86400
"""The longest that a session lasts, in seconds."""
PER_USER_MAX: Final = 20
"""The most sessions of one user; the one used longest ago goes."""
_NOTED_EVERY_S: Final = 60
"""Use is noted this often, so that looking does not become writing."""


class WebSession(msgspec.Struct, frozen=True, kw_only=True):
    """One session.

    Attributes:
        key: the digest of its secret.
        user: who is signed in.
        role: that they have now.
        ends_s: when it ends in any case, seconds since 1970.
    """

    key: bytes
    user: str
    role: Role
    ends_s: int


class Sessions:
    """The sessions of a fleet's page.

    Args:
        database: of the fleet.
        now_s: seconds since 1970.
    """

    def __init__(self, database: Database, now_s: Callable[[], float]) -> None:
        self._database = database
        self._now_s = now_s

    def begin(self, user: str, address: str, agent: str) -> str:
        """Begin a session, always with a new secret; gives the secret.

        Args:
            user: who signed in.
            address: they come from.
            agent: what their browser calls itself.
        """
        secret, now_s, c = new_secret(), int(self._now_s()), tables.sessions.c
        kept = (
            select(c.secret_sha256)
            .where(c.user == user)
            .order_by(c.seen_s.desc())
            .limit(PER_USER_MAX - 1)
        )
        with self._database.transaction() as connection:
            newest = connection.execute(kept).scalars().all()
            others = (c.user == user) & c.secret_sha256.not_in(newest)
            connection.execute(delete(tables.sessions).where(others | _is_over(now_s)))
            connection.execute(
                insert(tables.sessions).values(
                    secret_sha256=digest_of(secret),
                    user=user,
                    made_s=now_s,
                    seen_s=now_s,
                    ends_s=now_s + LONGEST_S,
                    address=address,
                    agent=agent,
                )
            )
            write_entry(
                connection, Actor(user, "session", address), "session.begin", user, at_s=now_s
            )
        return secret

    def find(self, secret: str) -> WebSession | None:
        """Give the session that has this secret; None if there is none, or it has ended."""
        key, now_s = digest_of(secret), int(self._now_s())
        s, u = tables.sessions.c, tables.users.c
        query = (
            select(s.user, s.ends_s, s.seen_s, u.role)
            .join(tables.users, u.name == s.user)
            .where(s.secret_sha256 == key)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or row.ends_s <= now_s or row.seen_s <= now_s - IDLE_S:
            return None
        if row.seen_s <= now_s - _NOTED_EVERY_S:
            with self._database.transaction() as connection:
                mine = update(tables.sessions).where(s.secret_sha256 == key)
                connection.execute(mine.values(seen_s=now_s))
        return WebSession(key=key, user=row.user, role=Role(row.role), ends_s=row.ends_s)

    def end(self, key: bytes, by: Actor) -> None:
        """End a session.

        Args:
            key: of the session.
            by: who ends it.
        """
        with self._database.transaction() as connection:
            mine = delete(tables.sessions).where(tables.sessions.c.secret_sha256 == key)
            if connection.execute(mine).rowcount:
                write_entry(connection, by, "session.end", by.name, at_s=self._now_s())


def _is_over(now_s: int) -> ColumnElement[bool]:
    c = tables.sessions.c
    return (c.ends_s <= now_s) | (c.seen_s <= now_s - IDLE_S)
