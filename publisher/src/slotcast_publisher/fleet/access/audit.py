"""The audit log: each change by a person or a program, written with the change itself.

How many entries are kept is decided by `fleet.database.retention`, and how long by `settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, insert, select

from slotcast_publisher.fleet.database import tables

How = Literal["session", "token", "proxy", "link", "command", "nobody"]
"""How somebody is known: signed in on the page, by a token, by a proxy's word, by a one-time link,
by a command on this machine, or not at all."""
LISTED_MAX: Final = 1000
"""The most entries that are given at once."""


class Actor(msgspec.Struct, frozen=True):
    """Who does something, and from where.

    Attributes:
        name: of the user or the token.
        how: they are known.
        address: they come from; empty for a command.
    """

    name: str
    how: How
    address: str = ""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change.

    Attributes:
        id: grows with each entry.
        at_s: seconds since 1970.
        who: the name of the user or the token.
        how: they were known.
        address: they came from; empty for a command.
        action: what was done, such as `user.role` or `rollout.pause`.
        subject: to what: a user, a rollout, a device.
        before: what was, as JSON; empty where nothing was.
        after: what is now, as JSON; empty where nothing is left.
    """

    id: int
    at_s: int
    who: str
    how: str
    address: str
    action: str
    subject: str
    before: str
    after: str


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are asked for; an empty text asks for all.

    Attributes:
        who: made the change.
        action: what was done, `user.role`, or the word before the dot for all of a kind.
        subject: to what.
    """

    who: str = ""
    action: str = ""
    subject: str = ""

    @property
    def is_any(self) -> bool:
        """Whether all entries are asked for."""
        return not (self.who or self.action or self.subject)


EVERYTHING: Final = AuditFilter()


def write_entry(
    connection: Connection,
    actor: Actor,
    action: str,
    subject: str,
    *,
    at_s: float,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write down a change, in the transaction that makes it.

    Args:
        connection: of that transaction.
        actor: who changes it.
        action: what is done.
        subject: to what.
        at_s: seconds since 1970.
        before: what was; no secrets.
        after: what is now; no secrets.
    """
    connection.execute(
        insert(tables.audit).values(
            at_s=int(at_s),
            who=actor.name,
            how=actor.how,
            address=actor.address,
            action=action,
            subject=subject,
            before=_json(before),
            after=_json(after),
        )
    )


def _json(fields: Mapping[str, Any] | None) -> str:
    return msgspec.json.encode(fields).decode() if fields else ""


def entries(
    connection: Connection, *, before_id: int | None, limit: int, asked: AuditFilter = EVERYTHING
) -> list[AuditEntry]:
    """Give entries, the newest first.

    Args:
        connection: to the database.
        before_id: only older ones than this one; None for the newest.
        limit: at most so many, and at most `LISTED_MAX`.
        asked: which ones.
    """
    c = tables.audit.c
    query = select(tables.audit).order_by(c.id.desc()).limit(min(limit, LISTED_MAX))
    if before_id is not None:
        query = query.where(c.id < before_id)
    if asked.who:
        query = query.where(c.who == asked.who)
    if asked.action:
        family = c.action.startswith(f"{asked.action}.", autoescape=True)
        query = query.where((c.action == asked.action) | family)
    if asked.subject:
        query = query.where(c.subject == asked.subject)
    return [AuditEntry(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001
