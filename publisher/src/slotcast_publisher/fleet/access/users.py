"""Users: who they are, their roles and passwords, and the one-time links that set a password.

The first user is made by a link, too: it has no name yet, and whoever opens it becomes the owner.
Each change is in the audit log, in the same transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.fleet.access.audit import Actor, write_entry
from slotcast_publisher.fleet.access.passwords import (
    check_password,
    hash_password,
    is_outdated,
    is_password,
)
from slotcast_publisher.fleet.access.roles import Role
from slotcast_publisher.fleet.access.secret import digest_of, new_secret
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_schemas.errors import UsageError

LINK_S: Final = 3600
"""The seconds for which a one-time link counts."""
USERS_MAX: Final = 1000
"""The most users of one fleet."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """One user.

    Attributes:
        made_s: when, seconds since 1970.
        password_s: when the password was set; None while there is none.
        signed_in_s: the last time; None for never.
    """

    name: str
    role: Role
    made_s: int
    password_s: int | None
    signed_in_s: int | None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time link, without its secret.

    Attributes:
        user: whose password it sets; empty where whoever opens it names themselves.
        role: they have.
        ends_s: when it counts no more, seconds since 1970.
    """

    user: str
    role: Role
    ends_s: int


def user_name(text: str) -> str:
    """Give the name of a user as it is kept: small letters, so that nobody is there twice.

    Raises:
        UsageError: it is none.
    """
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise UsageError(
            "user: expected 1 to 64 letters, digits and . _ @ + - (the first a letter or a digit),"
            f" got {text!r:.80}"
        )
    return name


def role_of(text: str) -> Role:
    """Give the role of this name.

    Raises:
        UsageError: there is none.
    """
    try:
        return Role(text)
    except ValueError as exc:
        raise UsageError(f"role: expected one of {', '.join(Role)}, got {text!r:.40}") from exc


class Users:
    """The users of a fleet.

    Args:
        database: of the fleet.
        now_s: seconds since 1970.

    Attributes:
        database: as above.
    """

    def __init__(self, database: Database, now_s: Callable[[], float]) -> None:
        self.database = database
        self._now_s = now_s

    def all(self) -> list[User]:
        """Give all users, by name."""
        with self.database.reading() as connection:
            rows = connection.execute(_SELECT.order_by(tables.users.c.name))
            return [_user(row) for row in rows]

    def find(self, name: str) -> User | None:
        """Give a user; None if there is none of this name."""
        with self.database.reading() as connection:
            return _find(connection, name)

    def known(self, name: str) -> User:
        """Give a user who must be there.

        Raises:
            NotFound: there is none of this name.
        """
        with self.database.reading() as connection:
            return _known(connection, name)

    def add(self, name: str, role: Role, by: Actor) -> User:
        """Add a user, who has no password yet: `set_password` or a link gives one.

        Args:
            name: of the user.
            role: that they have.
            by: who adds them.

        Raises:
            UsageError: a name that cannot be.
            Conflict: there is one of this name, or too many.
        """
        name = user_name(name)
        with self.database.transaction() as connection:
            self._insert(connection, name, role, by)
            return _known(connection, name)

    def _insert(self, connection: Connection, name: str, role: Role, by: Actor) -> None:
        if _find(connection, name) is not None:
            raise Conflict(f"there is a user {name!r} already")
        if _count(connection) >= USERS_MAX:
            raise Conflict(f"there are {USERS_MAX} users already: remove one first")
        now_s = int(self._now_s())
        connection.execute(insert(tables.users).values(name=name, role=role, made_s=now_s))
        write_entry(connection, by, "user.add", name, at_s=now_s, after={"role": role})

    def set_role(self, name: str, role: Role, by: Actor) -> User:
        """Give a user another role; it counts from the next request on.

        Args:
            name: of the user.
            role: the new one.
            by: who changes it.

        Raises:
            NotFound: no such user.
            Conflict: nobody would be left who may administer.
        """
        with self.database.transaction() as connection:
            user = _known(connection, name)
            if user.role is Role.ADMIN and role is not Role.ADMIN:
                _keep_an_admin(connection, name)
            connection.execute(_update(name).values(role=role))
            write_entry(
                connection,
                by,
                "user.role",
                name,
                at_s=self._now_s(),
                before={"role": user.role},
                after={"role": role},
            )
            return _known(connection, name)

    def remove(self, name: str, by: Actor) -> None:
        """Remove a user, who is signed out everywhere.

        Args:
            name: of the user.
            by: who removes them.

        Raises:
            NotFound: no such user.
            Conflict: nobody would be left who may administer.
        """
        with self.database.transaction() as connection:
            user = _known(connection, name)
            if user.role is Role.ADMIN:
                _keep_an_admin(connection, name)
            _sign_out(connection, name)
            connection.execute(delete(tables.links).where(tables.links.c.user == name))
            connection.execute(delete(tables.users).where(tables.users.c.name == name))
            write_entry(
                connection,
                by,
                "user.remove",
                name,
                at_s=self._now_s(),
                before={"role": user.role},
            )

    # --- passwords ------------------------------------------------------------------------------

    def set_password(self, name: str, password: str, by: Actor) -> None:
        """Give a user a new password; they are signed out everywhere.

        Args:
            name: of the user.
            password: the new one.
            by: who sets it.

        Raises:
            NotFound: no such user.
            UsageError: a password that cannot be.
        """
        check_password(password, name)
        kept = hash_password(password)
        with self.database.transaction() as connection:
            _known(connection, name)
            self._keep_password(connection, name, kept, by)

    def _keep_password(self, connection: Connection, name: str, kept: str, by: Actor) -> None:
        now_s = int(self._now_s())
        _sign_out(connection, name)
        connection.execute(delete(tables.links).where(tables.links.c.user == name))
        connection.execute(_update(name).values(password_hash=kept, password_s=now_s))
        write_entry(connection, by, "user.password", name, at_s=now_s)

    def check(self, name: str, password: str) -> User | None:
        """Give the user whose name and password these are; None otherwise, after the same time.

        Args:
            name: as it was typed.
            password: as it was typed.
        """
        name = name.strip().lower()
        kept = self._kept_password(name)
        if not is_password(password, kept):
            return None
        changes: dict[str, Any] = {"signed_in_s": int(self._now_s())}
        if is_outdated(kept):
            changes["password_hash"] = hash_password(password)
        with self.database.transaction() as connection:
            # Only if it is still the one that was checked: an admin may have set another since.
            same = _update(name).where(tables.users.c.password_hash == kept)
            if connection.execute(same.values(**changes)).rowcount != 1:
                return None
            return _known(connection, name)

    def _kept_password(self, name: str) -> str:
        """Give what is kept of a password; empty where there is no such user, or no password."""
        if not _NAME.fullmatch(name):
            return ""
        query = select(tables.users.c.password_hash).where(tables.users.c.name == name)
        with self.database.reading() as connection:
            return connection.execute(query).scalar_one_or_none() or ""

    # --- one-time links -------------------------------------------------------------------------

    def make_link(self, name: str, by: Actor) -> str:
        """Make a link by which a user sets a password once; one made before counts no more.

        Args:
            name: of the user.
            by: who makes it.

        Returns:
            Its secret, which is not kept.

        Raises:
            NotFound: no such user.
        """
        with self.database.transaction() as connection:
            user = _known(connection, name)
            secret = self._put_link(connection, name, user.role, by)
            write_entry(connection, by, "user.link", name, at_s=self._now_s())
            return secret

    def make_owners_link(self, by: Actor) -> str | None:
        """Make the link by which the first user names themselves; None where there are users.

        Args:
            by: who makes it.
        """
        with self.database.transaction() as connection:
            if _count(connection) > 0:
                return None
            return self._put_link(connection, "", Role.ADMIN, by)

    def _put_link(self, connection: Connection, name: str, role: Role, by: Actor) -> str:
        secret, now_s = new_secret(), int(self._now_s())
        connection.execute(delete(tables.links).where(tables.links.c.user == name))
        connection.execute(
            insert(tables.links).values(
                secret_sha256=digest_of(secret),
                user=name,
                role=role,
                made_by=by.name,
                made_s=now_s,
                ends_s=now_s + LINK_S,
            )
        )
        return secret

    def read_link(self, secret: str) -> Link:
        """Give what a link is for.

        Raises:
            NotFound: it was used, is too old, or never was; says how to get another.
        """
        with self.database.reading() as connection:
            return _right(connection, self._find_link(connection, secret))

    def _find_link(self, connection: Connection, secret: str) -> Link | None:
        c = tables.links.c
        query = select(c.user, c.role, c.ends_s).where(c.secret_sha256 == digest_of(secret))
        row = connection.execute(query).one_or_none()
        if row is None or row.ends_s <= self._now_s():
            return None
        if not row.user and _count(connection) > 0:
            return None  # somebody else became the owner meanwhile
        return Link(user=row.user, role=Role(row.role), ends_s=row.ends_s)

    def use_link(self, secret: str, name: str, password: str, address: str) -> User:
        """Set the password that a link is for, and end the link.

        Args:
            secret: of the link.
            name: of whoever names themselves; not looked at for a link that has a user.
            password: the new one.
            address: where they come from, for the audit log.

        Raises:
            NotFound: the link counts no more.
            UsageError: a name or a password that cannot be; the link still counts.
        """
        with self.database.reading() as connection:
            found = _right(connection, self._find_link(connection, secret))
        name = found.user or user_name(name)
        check_password(password, name)
        kept = hash_password(password)
        by = Actor(name, "link", address)
        with self.database.transaction() as connection:
            # Used by nobody else meanwhile?
            link = _right(connection, self._find_link(connection, secret))
            if not link.user:
                self._insert(connection, name, link.role, by)
            connection.execute(
                delete(tables.links).where(tables.links.c.secret_sha256 == digest_of(secret))
            )
            self._keep_password(connection, name, kept, by)
            return _known(connection, name)


_SELECT: Final = select(
    tables.users.c.name,
    tables.users.c.role,
    tables.users.c.made_s,
    tables.users.c.password_s,
    tables.users.c.signed_in_s,
)


def _update(name: str) -> Any:
    return update(tables.users).where(tables.users.c.name == name)


def _right(connection: Connection, link: Link | None) -> Link:
    if link is not None:
        return link
    another = (
        "ask an admin for another (`slotcast users password REPO NAME`)"
        if _count(connection) > 0
        # The owner's, who has nobody to ask.
        else "`slotcast users add REPO NAME --role admin` prints another, and so does the next"
        " start of `slotcast serve`"
    )
    raise NotFound(f"this link was used, or is older than an hour: {another}")


def _find(connection: Connection, name: str) -> User | None:
    if not _NAME.fullmatch(name):
        return None  # also for what no database takes as a text
    row = connection.execute(_SELECT.where(tables.users.c.name == name)).one_or_none()
    return None if row is None else _user(row)


def _known(connection: Connection, name: str) -> User:
    user = _find(connection, name)
    if user is None:
        raise NotFound(f"no user {name!r:.80}: `slotcast users list REPO` names them")
    return user


def _user(row: Any) -> User:
    return User(
        name=row.name,
        role=Role(row.role),
        made_s=row.made_s,
        password_s=row.password_s,
        signed_in_s=row.signed_in_s,
    )


def _count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(tables.users)).scalar_one()


def _keep_an_admin(connection: Connection, name: str) -> None:
    """See that somebody else may still administer.

    Raises:
        Conflict: nobody.
    """
    c = tables.users.c
    others = select(func.count()).select_from(tables.users)
    others = others.where(c.role == Role.ADMIN, c.name != name)
    if connection.execute(others).scalar_one() == 0:
        raise Conflict(f"{name} is the only admin: make another one first")


def _sign_out(connection: Connection, name: str) -> None:
    connection.execute(delete(tables.sessions).where(tables.sessions.c.user == name))
