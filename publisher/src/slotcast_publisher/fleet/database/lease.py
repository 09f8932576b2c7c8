"""Leases: what only one process may do at a time, such as drive a rollout.

A lease is a row with an end and a *term*, which grows with each new holder. A process that stops
without a word loses it by the clock. So the clock must not decide whether a decision counts: who
records one calls `check` in the same transaction, and until that ends no other process can take
the lease: SQLite has one writer at a time, PostgreSQL an advisory lock that `hold` takes, too. Two
clocks that differ cost at most that the lease moves early, never that two processes hold it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from sqlalchemy import Connection, Row, select, text

from slotcast_publisher.fleet.database.tables import leases
from slotcast_publisher.fleet.database.upsert import upsert
from slotcast_schemas.errors import StateLocked

_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")


class LeaseLost(StateLocked):
    """Another process holds the lease, or this one's has ended: nothing may be decided."""


def hold(connection: Connection, name: str, holder: str, now_s: float, for_s: float) -> int | None:
    """Take a lease, or keep it for longer; call it again well before it ends.

    Args:
        connection: with a transaction that may write.
        name: what the lease is for.
        holder: this process, by a name that no other has.
        now_s: the time, in seconds since 1970.
        for_s: how long it counts from now on.

    Returns:
        The term, for `check`; None while another process holds it.
    """
    found = _locked(connection, name)
    if found is not None and found.holder != holder and found.until_s > now_s:
        return None
    if found is None:
        term = 1
    else:
        is_kept = found.holder == holder and found.until_s > now_s
        term = found.term if is_kept else found.term + 1
    row = {"name": name, "holder": holder, "until_s": now_s + for_s, "term": term}
    upsert(connection, leases, [row])
    return term


def check(connection: Connection, name: str, holder: str, term: int, now_s: float) -> None:
    """See that a lease is still held, and keep it so until the transaction ends.

    Args:
        connection: with the transaction that records what is decided.
        name: what the lease is for.
        holder: this process.
        term: as `hold` gave it.
        now_s: the time, in seconds since 1970.

    Raises:
        LeaseLost: another process has it, or had it meanwhile, or its time is over.
    """
    found = _locked(connection, name)
    if found is None or (found.holder, found.term) != (holder, term):
        by = "nobody" if found is None else f"{found.holder}, term {found.term}"
        raise LeaseLost(f"lease {name}: expected {holder}, term {term}, got {by}")
    if found.until_s <= now_s:
        raise LeaseLost(f"lease {name}: it ended {now_s - found.until_s:.1f} s ago")


def release(connection: Connection, name: str, holder: str, term: int) -> None:
    """Give a lease back, so that another process need not wait for its end.

    Args:
        connection: with a transaction that may write.
        name: what the lease is for.
        holder: this process; nothing happens if it has it no more.
        term: as `hold` gave it.
    """
    found = _locked(connection, name)
    if found is not None and (found.holder, found.term) == (holder, term):
        row = {"name": name, "holder": "", "until_s": 0.0, "term": term}
        upsert(connection, leases, [row])


def _locked(connection: Connection, name: str) -> Row[Any] | None:
    """Read a lease that no other transaction can take until this one ends."""
    if connection.dialect.name == "postgresql":
        digest = hashlib.sha256(f"slotcast lease {name}".encode()).digest()
        connection.execute(_LOCK, {"key": int.from_bytes(digest[:8], "big", signed=True)})
    return connection.execute(select(leases).where(leases.c.name == name)).one_or_none()


def holders(connection: Connection, now_s: float) -> dict[str, bool]:
    """Say of each lease whether somebody holds it.

    Args:
        connection: to read with.
        now_s: the time, in seconds since 1970.
    """
    query = select(leases.c.name, leases.c.until_s).order_by(leases.c.name)
    return {row.name: row.until_s > now_s for row in connection.execute(query)}
