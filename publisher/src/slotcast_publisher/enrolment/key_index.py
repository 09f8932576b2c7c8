"""Which enrolled device has which key, without reading every device's file.

A table beside the files, which may be deleted: it is made anew from them. It knows of the folder's
time when it was written last; where another tool put a file there, or took one away, the times
differ, and all files are read again. What it says of a key is looked up in that device's file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from slotcast_schemas.errors import StorageFailed

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, device TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS folder (changed_ns INTEGER NOT NULL);
"""
"""The keys by their ids, and the time of the folder of which they are true, in one row."""


@contextlib.contextmanager
def open_key_index(path: Path, folder: Path) -> Iterator[KeyIndex]:
    """Open the table, and keep at the end what changed; one at a time.

    One that is damaged is made anew.

    Args:
        path: the table's file; its folder is there.
        folder: with a file for each device.

    Raises:
        StorageFailed: the file cannot be made.
    """
    try:
        table = _connect(path)
    except sqlite3.Error:
        path.unlink(missing_ok=True)
        try:
            table = _connect(path)
        except sqlite3.Error as exc:
            raise StorageFailed(f"could not write {path}: {exc}") from exc
    with contextlib.closing(table):
        index = KeyIndex(path, folder, table)
        try:
            yield index
        finally:
            index.keep()


def _connect(path: Path) -> sqlite3.Connection:
    table = sqlite3.connect(path)
    try:
        table.executescript(_TABLES)
        table.execute("SELECT changed_ns FROM folder").fetchone()
    except sqlite3.Error:
        table.close()
        raise
    return table


class KeyIndex:
    """The table while it is open.

    Args:
        path: its file, for messages.
        folder: with a file for each device.
        table: the connection.
    """

    def __init__(self, path: Path, folder: Path, table: sqlite3.Connection) -> None:
        self._path = path
        self._folder = folder
        self._table = table
        row = table.execute("SELECT changed_ns FROM folder").fetchone()
        self._is_true = row is not None and row[0] == self._changed_ns()

    def holder(self, key_id: str, read_all: Callable[[], Iterable[tuple[str, str]]]) -> str | None:
        """Give the device that was last noted with a key, which may have another one since.

        Args:
            key_id: of the key.
            read_all: gives key and device of all files; called where the table is not true of them.

        Raises:
            StorageFailed: it cannot be written.
        """
        try:
            if not self._is_true:
                self._table.execute("DELETE FROM keys")
                self._table.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?)", read_all())
                self._is_true = True
            found = self._table.execute("SELECT device FROM keys WHERE key = ?", (key_id,))
            row = found.fetchone()
        except sqlite3.Error as exc:
            raise StorageFailed(f"could not write {self._path}: {exc}") from exc
        return None if row is None else str(row[0])

    def note(self, key_id: str, device: str) -> None:
        """A device has a key from now on.

        Raises:
            StorageFailed: the index cannot be written.
        """
        try:
            self._table.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", (key_id, device))
        except sqlite3.Error as exc:
            raise StorageFailed(f"could not write {self._path}: {exc}") from exc

    def keep(self) -> None:
        """Keep what changed, as of the folder's time now."""
        # Where it cannot be kept, the times will differ, and it is made anew: nothing is lost.
        with contextlib.suppress(sqlite3.Error):
            if self._is_true:
                self._table.execute("DELETE FROM folder")
                self._table.execute("INSERT INTO folder VALUES (?)", (self._changed_ns(),))
                self._table.commit()

    def _changed_ns(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0
