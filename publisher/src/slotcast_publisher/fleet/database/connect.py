"""Opens SQLite and PostgreSQL alike: one writer at a time, snapshots for readers, no surprise.

SQLite with a write-ahead log: readers never wait for the writer, nor it for them. A power cut may
take the last transactions, and never damages the file; what must not be lost is not here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from slotcast_schemas.errors import UsageError

BUSY_TIMEOUT_S: Final = 15.0
"""How long a writer of SQLite waits for another one."""
CONNECT_TIMEOUT_S: Final = 10
"""How long a server may take to answer."""
_WAL_MAX_BYTES: Final = 32 * 1024 * 1024
"""To what the write-ahead log is cut back when it has been worked in."""
WRITES: Final = "slotcast_writes"
"""The execution option of a connection that is to write."""
_PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}",
    "PRAGMA auto_vacuum = INCREMENTAL",  # counts only before the first table is made
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    f"PRAGMA journal_size_limit = {_WAL_MAX_BYTES}",
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA temp_store = MEMORY",
)
_FORMS: Final = "a path, sqlite:///PATH, or postgresql://[USER[:PASSWORD]@]HOST[:PORT]/NAME"
_NOT_SHOWN: Final = "what came is not shown, since it may hold a password"


def url_of(where: str | Path) -> URL:
    """Give the URL of a database that is named by its path or by a URL.

    Raises:
        UsageError: neither SQLite nor PostgreSQL, or none at all.
    """
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite+pysqlite", database=str(where))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as exc:
        raise UsageError(f"database: expected {_FORMS}; {_NOT_SHOWN}") from exc
    match url.drivername:
        case "sqlite" if url.database:
            return url.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres" | "postgresql+psycopg" if url.database:
            return url.set(drivername="postgresql+psycopg")
    raise UsageError(f"database: expected {_FORMS}, got {url.drivername!r:.40}; {_NOT_SHOWN}")


def file_of(url: URL) -> Path | None:
    """Give the file of a SQLite database; None for a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def name_of(url: URL) -> str:
    """Say which database it is, without user and password."""
    path = file_of(url)
    if path is not None:
        return str(path)
    port = f":{url.port}" if url.port else ""
    return f"{url.database} at {url.host or 'this machine'}{port}"


def make_engine(url: URL) -> Engine:
    """Make what gives connections; none is opened yet."""
    if file_of(url) is None:
        options = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "slotcast"}
        engine = create_engine(url, connect_args=options, pool_pre_ping=True, pool_size=8)
        event.listen(engine, "begin", _begin_postgresql)
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not where it thinks
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Connection) -> None:
    """Take the one place of a writer at once: a reader that wants to write later may be refused."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
