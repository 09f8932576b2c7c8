"""Brings a database to the version of this software, after a copy; refuses a newer one.

Versions are Alembic's: `migrations/versions` has a step for each. A step and the note that it was
made are one transaction, so a process that dies in between leaves the old version.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from slotcast_publisher.durable import exclusive, fsync_dir, storage_errors
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.connect import WRITES
from slotcast_publisher.fleet.database.upsert import insert_missing
from slotcast_schemas.errors import StateTooNew, StorageFailed

KNOWS_SINCE: Final = "knows_since_s"
"""The key in `meta` under which it says when this database was made."""
ID: Final = "id"
"""The key in `meta` of what tells this database from others."""
_SCRIPTS: Final = Path(__file__).parent / "migrations"
_LOCK_WAIT_S: Final = 60.0
"""How long to wait for another process that migrates."""
_LOCK_KEY: Final = 0x510CA57
"""Of PostgreSQL's advisory lock: held while the version is looked at and changed."""
_BACKUP_SCHEMA: Final = "slotcast_before_"
"""What the schema of a copy in PostgreSQL is called, with the version behind it."""


def bring_up_to_date(engine: Engine, name: str, path: Path | None) -> None:
    """Make the tables, or migrate those of an older version after a copy of them.

    Args:
        engine: of the database.
        name: for people.
        path: of the file, for SQLite.

    Raises:
        StateTooNew: a newer version of this software made it.
        StorageFailed: it cannot be opened, copied or changed; it is as it was.
    """
    if path is None or path.exists():
        with engine.connect() as connection, connection.begin():
            if _version(connection, name) == latest_version():
                return
    with (
        _alone(path),
        engine.connect().execution_options(**{WRITES: True}) as connection,
        connection.begin(),
    ):
        _make_or_migrate(connection, name, path)
    if path is not None:
        with storage_errors(path):
            fsync_dir(path.resolve().parent)


def _make_or_migrate(connection: Connection, name: str, path: Path | None) -> None:
    if path is None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    version = _version(connection, name)
    if version == latest_version():
        return  # another process was first
    if version is not None:
        _copy(connection, path, version)
    _migrate(connection)
    made = {KNOWS_SINCE: str(int(time.time())), ID: secrets.token_hex(8)}
    rows = [{"key": key, "value": value} for key, value in made.items()]
    insert_missing(connection, tables.meta, rows)


def check_version(engine: Engine, name: str) -> None:
    """See that a database is of the version of this software, without changing it.

    Args:
        engine: of the database.
        name: for people.

    Raises:
        StateTooNew: it is of a newer version.
        StorageFailed: it is of an older one, or none of ours.
    """
    with engine.connect() as connection, connection.begin():
        version = _version(connection, name)
    if version is None:
        raise StorageFailed(f"{name} has nothing of a fleet yet: `slotcast serve` fills it")
    if version != latest_version():
        raise StorageFailed(
            f"{name} is of an older version ({version}, expected {latest_version()}):"
            " start `slotcast serve` of this version, which migrates it after a copy"
        )


def latest_version() -> str:
    """Give the version that this software works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise AssertionError("expected one last migration")
    return head


def _version(connection: Connection, name: str) -> str | None:
    version = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if version is not None and version not in known:
        raise StateTooNew(
            f"{name} was made by a newer version of this software (its tables are {version!r:.40},"
            f" known here are those up to {latest_version()!r}): update slotcast-publisher, or"
            " name another database"
        )
    return version


def _migrate(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextlib.contextmanager
def _alone(path: Path | None) -> Iterator[None]:
    """Keep others from making or migrating the same file; for a server, its own lock does."""
    if path is None:
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    with exclusive(lock, str(path), wait_s=_LOCK_WAIT_S):
        with storage_errors(path):
            path.touch(mode=0o600)  # tags and details may say more than the owner wants known
        yield


# --- copies -------------------------------------------------------------------------------------


def _copy(connection: Connection, path: Path | None, version: str) -> None:
    """Copy all that is there; an earlier copy goes, so that there is never more than one."""
    if path is None:
        _copy_schema(connection, version)
        return
    final = path.with_name(f"{path.name}.before-{latest_version()}")
    temporary = path.with_name(f".{path.name}.copy")
    with storage_errors(final):
        temporary.unlink(missing_ok=True)
        source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        target = sqlite3.connect(temporary)
        try:
            source.backup(target)
        finally:
            target.close()
            source.close()
        for older in path.parent.glob(f"{path.name}.before-*"):
            older.unlink()
        temporary.rename(final)
        fsync_dir(final.resolve().parent)


def _copy_schema(connection: Connection, version: str) -> None:
    inspector = inspect(connection)
    quote = connection.dialect.identifier_preparer.quote
    for schema in inspector.get_schema_names():
        if schema.startswith(_BACKUP_SCHEMA):
            connection.exec_driver_sql(f"DROP SCHEMA {quote(schema)} CASCADE")
    copy = quote(f"{_BACKUP_SCHEMA}{latest_version()}")
    connection.exec_driver_sql(f"CREATE SCHEMA {copy}")
    for name in inspector.get_table_names():
        table = quote(name)
        connection.exec_driver_sql(f"CREATE TABLE {copy}.{table} AS TABLE {table}")
    connection.exec_driver_sql(f"COMMENT ON SCHEMA {copy} IS 'as it was at version {version}'")
