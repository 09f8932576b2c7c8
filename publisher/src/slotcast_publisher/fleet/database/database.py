"""The database of a fleet: open it, read a snapshot of it, write to it.

with open_database(repo / FILE_NAME) as database:
    with database.transaction() as connection:
        ...
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import Connection, Engine, select

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.connect import WRITES, file_of, make_engine, name_of, url_of
from slotcast_publisher.fleet.database.database_errors import database_errors
from slotcast_publisher.fleet.database.database_files import DatabaseFiles
from slotcast_publisher.fleet.database.migrate import (
    ID,
    KNOWS_SINCE,
    bring_up_to_date,
    check_version,
)
from slotcast_schemas.errors import StorageFailed

FILE_NAME: Final = "fleet.db"
"""The file in a repository's folder, where nobody names another database."""


class Database:
    """An open database; may be used by several threads.

    Args:
        engine: what gives connections.
        name: which database it is, for people, without a password.
        path: of the file, for SQLite.

    Attributes:
        id: 16 hex digits, drawn when the database was made.
        knows_since_s: when that was, in seconds since 1970: nothing older is known.
    """

    def __init__(self, engine: Engine, name: str, path: Path | None) -> None:
        self._engine = engine
        self.name = name
        self.path = path
        self._files = DatabaseFiles(path)
        with self.reading() as connection:
            values: dict[str, str] = {
                row.key: row.value for row in connection.execute(select(tables.meta))
            }
        self.id = values.get(ID, "")
        self.knows_since_s = int(values.get(KNOWS_SINCE, "0"))

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file, with one writer at a time; else a server of PostgreSQL."""
        return self.path is not None

    @property
    def is_replaced(self) -> bool:
        """Whether the file was deleted, or another one lies in its place; never of a server.

        What is open goes on with a file that has no name any more: nobody else sees it, and it is
        gone with this process.
        """
        return self._files.are_replaced()

    def make_way(self) -> None:
        """Delete what is left beside the place of a file that was replaced, for the next one.

        Raises:
            StorageFailed: it cannot be deleted.
        """
        self._files.delete_rest()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write: all of the block or nothing. In SQLite one process writes at a time, others wait.

        Raises:
            StateLocked: another process has been writing for too long.
            StorageFailed: no room, no rights, no server, a damaged file, or one that was replaced.
        """
        self._check_file()
        with (
            database_errors(self.name),
            self._engine.connect().execution_options(**{WRITES: True}) as connection,
            connection.begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read: all of the block sees the same moment. Nobody waits for it, and it for nobody.

        Raises:
            StorageFailed: no rights, no server, a damaged file, or one that was replaced.
        """
        self._check_file()
        with database_errors(self.name), self._engine.connect() as connection, connection.begin():
            yield connection

    def _check_file(self) -> None:
        """See that what is asked is what others see, too.

        Raises:
            StorageFailed: it is not.
        """
        if self.is_replaced:
            raise StorageFailed(
                f"{self.name} was deleted or replaced while it was in use: `slotcast serve` goes on"
                " with what lies there now, other commands have to be started again"
            )

    def shrink(self, pages_max: int) -> None:
        """Give free pages of a file back to the disk, at most so many; PostgreSQL does so itself.

        Raises:
            StorageFailed: no rights, or a damaged file.
        """
        if not self.is_sqlite:
            return
        with database_errors(self.name), contextlib.closing(self._engine.raw_connection()) as raw:
            # Each step of this statement gives one page back; only a script takes all its steps.
            cursor: Any = raw.cursor()
            cursor.executescript(f"PRAGMA incremental_vacuum({pages_max})")

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_database(where: str | Path, *, may_change: bool = True) -> Database:
    """Open a database; a new one is made, and one of an older version migrated, after a copy.

    Args:
        where: a path, or a URL: `sqlite:///PATH`, `postgresql://USER@HOST/NAME`.
        may_change: False for who only reads: then a database that is missing or of an older
            version is an error, and nothing is made.

    Raises:
        UsageError: not such a path or URL.
        NotFound: `may_change` is False, and there is none.
        StateTooNew: a newer version of this software made it.
        StorageFailed: it cannot be opened, or, with `may_change` False, is of an older version.
    """
    url = url_of(where)
    path = file_of(url)
    name = name_of(url)
    if path is not None and not may_change and not path.exists():
        raise NotFound(f"there is no database at {path}: `slotcast serve` makes it, and fills it")
    engine = make_engine(url)
    try:
        with database_errors(name):
            if may_change:
                bring_up_to_date(engine, name, path)
            else:
                check_version(engine, name)
        return Database(engine, name, path)
    except BaseException:
        engine.dispose()
        raise
