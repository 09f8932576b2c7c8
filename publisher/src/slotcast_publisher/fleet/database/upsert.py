"""Rows that are there or not: written either way, by one statement, in SQLite and PostgreSQL.

Many rows go to PostgreSQL as one statement with an array for each column: a statement for each row
costs both sides several times as much. SQLite is in this process, and takes them one by one.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    String,
    Table,
    any_,
    bindparam,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator

from slotcast_publisher.fleet.database.packed_array import PackedArray

Row = Mapping[str, Any]
"""Values by column."""

_STATEMENTS_MAX: Final = 256
"""The most statements that are kept made: one for each set of columns that is written."""


def is_one_of(
    connection: Connection, column: ColumnElement[str], values: Sequence[str]
) -> ColumnElement[bool]:
    """Say in a query that a column has one of many texts, as one parameter where that can be.

    Args:
        connection: that the query is for.
        column: of texts.
        values: any number of them, in PostgreSQL; in SQLite, which has them one by one, 30,000.
    """
    if connection.dialect.name != "postgresql":
        return column.in_(values)
    return column == any_(literal(values, PackedArray(String())))


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
    if rows:
        _write(connection, table, rows, _Clash.REPLACE, frozenset(keep))


def insert_missing(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Write rows whose primary key is not there yet; the others stay as they are.

    Args:
        connection: with a transaction that may write.
        table: whose primary key says which rows are the same.
        rows: all with the same columns.
    """
    if rows:
        _write(connection, table, rows, _Clash.KEEP)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Write new rows.

    Args:
        connection: with a transaction that may write.
        table: which gives them their numbers.
        rows: all with the same columns.
    """
    if rows:
        _write(connection, table, rows, _Clash.NONE)


def add_to_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Add numbers to those of the rows with the same primary key; a missing row is made.

    Args:
        connection: with a transaction that may write.
        table: whose primary key says which rows are the same; its other columns are numbers.
        rows: all with the same columns; no two of them with the same key.
    """
    if rows:
        _write(connection, table, rows, _Clash.ADD)


class _Clash(enum.Enum):
    """What becomes of a row whose primary key is there."""

    NONE = "there is none"
    KEEP = "stays"
    REPLACE = "is written over"
    ADD = "is added to"


def _write(
    connection: Connection,
    table: Table,
    rows: Sequence[Row],
    clash: _Clash,
    keep: frozenset[str] = frozenset(),
) -> None:
    names = tuple(rows[0])
    if connection.dialect.name != "postgresql":
        text, order = _sqlite_text(table, names, clash, keep)
        columns = [_values(table, name, rows, connection.dialect) for name in order]
        connection.exec_driver_sql(text, list(zip(*columns, strict=True)))
        return
    values = {f"of_{name}": [row[name] for row in rows] for name in names}
    connection.execute(_statement("postgresql", table, names, clash, keep), values)


def _values(table: Table, name: str, rows: Sequence[Row], dialect: Dialect) -> list[Any]:
    """Give a column of rows as the driver takes it."""
    kind = table.c[name].type
    if isinstance(kind, TypeDecorator):
        return [kind.process_bind_param(row[name], dialect) for row in rows]
    return [row[name] for row in rows]


@functools.lru_cache(_STATEMENTS_MAX)
def _sqlite_text(
    table: Table, names: tuple[str, ...], clash: _Clash, keep: frozenset[str]
) -> tuple[str, Sequence[str]]:
    """Give a statement's text and the order of its parameters.

    SQLAlchemy makes a dict and then a tuple of each row, which costs more than SQLite itself.
    """
    statement = _statement("sqlite", table, names, clash, keep)
    compiled = statement.compile(dialect=sqlite.dialect(), column_keys=list(names))
    return str(compiled), compiled.positiontup or ()


@functools.lru_cache(_STATEMENTS_MAX)
def _statement(
    dialect: str, table: Table, names: tuple[str, ...], clash: _Clash, keep: frozenset[str]
) -> Insert:
    """Make a statement; SQLAlchemy knows one again that it has compiled, and need not look."""
    keys = [column.name for column in table.primary_key]
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    changed: dict[str, ColumnElement[Any]] = {
        n: table.c[n] + statement.excluded[n] if clash is _Clash.ADD else statement.excluded[n]
        for n in names
        if n not in keys and n not in keep
    }
    if clash in {_Clash.REPLACE, _Clash.ADD} and changed:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
    elif clash is not _Clash.NONE:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    if dialect != "postgresql":
        return statement
    columns = [
        func.unnest(bindparam(f"of_{name}", type_=PackedArray(table.c[name].type))).label(name)
        for name in names
    ]
    return statement.from_select(list(names), select(*columns))
