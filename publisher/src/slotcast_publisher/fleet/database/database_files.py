"""Which files a SQLite database lies in: so that another one under the same name is noticed.

What has a file open goes on with it when it is deleted, and nobody else sees what it writes. Beside
it lie its write-ahead log and the index of that; SQLite finds both by their names alone, and would
take those of the old file for the new one's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slotcast_publisher.durable import storage_errors

_BESIDE: Final = ("-wal", "-shm")
"""The endings of the files that SQLite keeps beside a database (its "Write-Ahead Logging")."""
_Identity = tuple[int, int]


class DatabaseFiles:
    """The files of one database, as they were when it was opened; from one thread.

    Args:
        path: of the database; None for a server, which has none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._own = None if path is None else _identity_of(path)
        self._beside: dict[Path, _Identity | None] = {}
        self.are_replaced()

    def are_replaced(self) -> bool:
        """Say whether the database was deleted, or another one lies in its place."""
        if self._path is None:
            return False
        if _identity_of(self._path) != self._own:
            return True
        beside = (self._path.with_name(self._path.name + end) for end in _BESIDE)
        self._beside = {path: _identity_of(path) for path in beside}
        return False

    def delete_rest(self) -> None:
        """Delete log and index of a database that was replaced; those of another one stay.

        Raises:
            StorageFailed: they cannot be deleted.
        """
        for path, identity in self._beside.items():
            if identity is not None and _identity_of(path) == identity:
                with storage_errors(path):
                    path.unlink(missing_ok=True)


def _identity_of(path: Path) -> _Identity | None:
    """Give what tells a file from others that had its name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
