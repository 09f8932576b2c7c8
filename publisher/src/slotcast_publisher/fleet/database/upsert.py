"""Rows that are there or not: written either way, by one statement, in SQLite and PostgreSQL.

Many rows go to PostgreSQL as one statement with an array for each column: a statement for each row
costs both sides several times as much. SQLite is in this process, and takes them one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Table, bindparam, cast, func, select
from sqlalchemy.dialects import postgresql, sqlite

Row = Mapping[str, Any]
"""Values by column."""


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Row],
    *,
    keep: Collection[str] = (),
) -> None:
    """Write rows, over those with the same primary key.

    Args:
        connection: with a transaction that may write.
        table: whose primary key says which rows are the same.
        rows: all with the same columns; no two of them with the same key.
        keep: columns that a row which is there keeps, such as when it was made.
    """
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    statement = _insert(connection, table)
    changed = {
        name: statement.excluded[name] for name in rows[0] if name not in keys and name not in keep
    }
    if changed:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    _write(connection, statement, table, rows)


def insert_missing(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Write rows whose primary key is not there yet; the others stay as they are.

    Args:
        connection: with a transaction that may write.
        table: whose primary key says which rows are the same.
        rows: all with the same columns.
    """
    if rows:
        keys = [column.name for column in table.primary_key]
        statement = _insert(connection, table).on_conflict_do_nothing(index_elements=keys)
        _write(connection, statement, table, rows)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Write new rows.

    Args:
        connection: with a transaction that may write.
        table: which gives them their numbers.
        rows: all with the same columns.
    """
    if rows:
        _write(connection, _insert(connection, table), table, rows)


def _write(connection: Connection, statement: Insert, table: Table, rows: Sequence[Row]) -> None:
    if connection.dialect.name != "postgresql" or len(rows) == 1:
        connection.execute(statement, list(rows))
        return
    names = list(rows[0])
    arrays = {name: postgresql.ARRAY(table.c[name].type) for name in names}
    columns = [
        func.unnest(cast(bindparam(f"of_{name}", type_=array), array)).label(name)
        for name, array in arrays.items()
    ]
    values = {f"of_{name}": [row[name] for row in rows] for name in names}
    connection.execute(statement.from_select(names, select(*columns)), values)


def _insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
