"""Tokens: what programs sign in with; each has a scope and an end, and is shown once.

A token is `slotcast_ID_SECRET`. The id may be shown and logged; of the secret only a digest is
kept. The form is told apart from other secrets by who looks for secrets in files.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, select, update

from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.fleet.access.audit import Actor, write_entry
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.access.secret import digest_of, new_secret
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_schemas.errors import UsageError

DAYS_MAX: Final = 366
"""The longest that a token may live, in days."""
TOKENS_MAX: Final = 1000
"""The most tokens that count at the same time."""
_NOTED_EVERY_S: Final = 60
"""The seconds between two notes of when a token was used last: each is a write."""
_FORM: Final = re.compile(r"slotcast_([0-9a-f]{12})_([A-Za-z0-9_-]{20,80})")
_ID: Final = re.compile(r"[0-9a-f]{12}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token, without its secret.

    Attributes:
        id: by which it is named.
        name: what it is for.
        scope: what it may do.
        made_by: who made it.
        made_s: when, seconds since 1970.
        ends_s: when it counts no more.
        used_s: the last time, within a minute; None for never.
        revoked_s: when somebody ended it; None for not yet.
    """

    id: str
    name: str
    scope: frozenset[Permission]
    made_by: str
    made_s: int
    ends_s: int
    used_s: int | None
    revoked_s: int | None


def scope_of(words: Collection[str]) -> frozenset[Permission]:
    """Give the scope that these words name.

    Raises:
        UsageError: none at all, or a word that is no permission.
    """
    unknown = sorted(set(words) - set(Permission))
    if unknown or not words:
        got = ", ".join(repr(word)[:40] for word in unknown) or "none"
        raise UsageError(f"scope: expected one or more of {', '.join(Permission)}, got {got}")
    return frozenset(Permission(word) for word in words)


class Tokens:
    """The tokens of a fleet's page.

    Args:
        database: of the fleet.
        now_s: seconds since 1970.
    """

    def __init__(self, database: Database, now_s: Callable[[], float]) -> None:
        self._database = database
        self._now_s = now_s

    def all(self) -> list[Token]:
        """Give all tokens, the newest first; those that have ended, too."""
        query = select(tables.tokens).order_by(tables.tokens.c.made_s.desc(), tables.tokens.c.id)
        with self._database.reading() as connection:
            return [_token(row) for row in connection.execute(query)]

    def make(
        self, name: str, scope: frozenset[Permission], days: float, by: Actor
    ) -> tuple[Token, str]:
        """Make a token.

        Args:
            name: what it is for.
            scope: what it may do.
            days: after which it counts no more.
            by: who makes it.

        Returns:
            The token, and what a program sends; that is not kept.

        Raises:
            UsageError: a name, a scope or a number of days that cannot be.
            Conflict: there are too many.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"name: expected 1 to 64 letters, digits, spaces and . _ @ + -, got {name!r:.80}"
            )
        if not 0 < days <= DAYS_MAX:
            raise UsageError(f"days: expected more than 0 and at most {DAYS_MAX}, got {days:g}")
        scope_of(scope)
        secret, now_s = new_secret(), int(self._now_s())
        token = Token(
            id=secrets.token_hex(6),
            name=name,
            scope=scope,
            made_by=by.name,
            made_s=now_s,
            ends_s=now_s + round(days * 86400),
            used_s=None,
            revoked_s=None,
        )
        fields = _fields(token)
        with self._database.transaction() as connection:
            c = tables.tokens.c
            count = select(func.count()).select_from(tables.tokens)
            count = count.where(c.revoked_s.is_(None), c.ends_s > now_s)
            if connection.execute(count).scalar_one() >= TOKENS_MAX:
                raise Conflict(f"there are {TOKENS_MAX} tokens already: revoke one first")
            connection.execute(
                insert(tables.tokens).values(
                    id=token.id,
                    secret_sha256=digest_of(secret),
                    made_by=by.name,
                    made_s=now_s,
                    **{**fields, "scope": msgspec.json.encode(fields["scope"]).decode()},
                )
            )
            write_entry(connection, by, "token.create", token.id, at_s=now_s, after=fields)
        return token, f"slotcast_{token.id}_{secret}"

    def revoke(self, token_id: str, by: Actor) -> Token:
        """End a token now; one that has ended stays as it is.

        Args:
            token_id: of the token.
            by: who ends it.

        Raises:
            NotFound: no such token.
        """
        c, now_s = tables.tokens.c, int(self._now_s())
        mine = select(tables.tokens).where(c.id == token_id)
        with self._database.transaction() as connection:
            row = connection.execute(mine).one_or_none() if _ID.fullmatch(token_id) else None
            if row is None:
                raise NotFound(f"no token {token_id!r:.40}: `slotcast tokens list REPO` names them")
            if row.revoked_s is None:
                change = update(tables.tokens).where(c.id == token_id)
                connection.execute(change.values(revoked_s=now_s))
                before = _fields(_token(row))
                write_entry(connection, by, "token.revoke", token_id, at_s=now_s, before=before)
            return _token(connection.execute(mine).one())

    def check(self, text: str) -> Token | None:
        """Give the token that a program sent; None if it does not count, or never did."""
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        c, now_s = tables.tokens.c, int(self._now_s())
        with self._database.reading() as connection:
            mine = select(tables.tokens).where(c.id == form[1])
            row = connection.execute(mine).one_or_none()
        if row is None or not hmac.compare_digest(row.secret_sha256, digest_of(form[2])):
            return None
        if row.revoked_s is not None or row.ends_s <= now_s:
            return None
        if (row.used_s or 0) <= now_s - _NOTED_EVERY_S:
            with self._database.transaction() as connection:
                change = update(tables.tokens).where(c.id == form[1])
                connection.execute(change.values(used_s=now_s))
        return _token(row)


def _fields(token: Token) -> dict[str, Any]:
    return {"name": token.name, "scope": sorted(token.scope), "ends_s": token.ends_s}


def _token(row: Any) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scope=frozenset(Permission(word) for word in msgspec.json.decode(row.scope)),
        made_by=row.made_by,
        made_s=row.made_s,
        ends_s=row.ends_s,
        used_s=row.used_s,
        revoked_s=row.revoked_s,
    )
