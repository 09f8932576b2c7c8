"""The database's upkeep beside `serve`: adds figures up, forgets, counts; one process at a time."""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Final

from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.folding import ROWS_MAX, fold_metrics
from slotcast_publisher.fleet.database.kept_counts import count_anew
from slotcast_publisher.fleet.database.lease import LeaseLost, check, hold, release
from slotcast_publisher.fleet.database.retention import forget_old
from slotcast_publisher.settings import FleetSettings

LEASE: Final = "upkeep"
"""The name of the lease by which one process alone does this work."""
LEASE_S: Final = 60.0
"""The seconds after which another process takes over from one that was killed."""
FORGET_EVERY_S: Final = 3600.0
"""The seconds between two passes that delete, and count what is left."""
_FOLDS_MAX: Final = 20
"""The most transactions that add figures up in one look."""


class Upkeep:
    """Looks after a database, again and again; `serve` may run as often as it likes.

    Args:
        database: of the fleet.
        keep: how long what is kept.
    """

    name = "upkeep"
    every_s = 10.0

    def __init__(self, database: Database, keep: FleetSettings) -> None:
        self._database = database
        self._keep = keep
        self._holder = f"{socket.gethostname()[:64]} {os.getpid()} {secrets.token_hex(4)}"
        self._term = 0
        self._forgot_s: float | None = None

    def look(self, now_s: float) -> None:
        """Do what is due, unless another process does it.

        Args:
            now_s: the time, in seconds since 1970.

        Raises:
            StorageFailed: the database could not be changed; the next look goes on.
        """
        began_s = time.monotonic()
        if not self._hold(now_s):
            return
        for _ in range(_FOLDS_MAX):
            if self._fold(now_s + time.monotonic() - began_s) < ROWS_MAX:
                break
        if self._forgot_s is None or not 0 <= now_s - self._forgot_s < FORGET_EVERY_S:
            forget_old(
                self._database,
                self._keep,
                now_s,
                goes_on=lambda: self._hold(now_s + time.monotonic() - began_s),
            )
            self._count_anew(now_s + time.monotonic() - began_s)
            self._forgot_s = now_s

    def close(self) -> None:
        """Let another process do it at once."""
        if self._term:
            with self._database.transaction() as connection:
                release(connection, LEASE, self._holder, self._term)

    def _hold(self, now_s: float) -> bool:
        with self._database.transaction() as connection:
            self._term = hold(connection, LEASE, self._holder, now_s, LEASE_S) or 0
        return self._term > 0

    def _count_anew(self, now_s: float) -> None:
        """Count all devices: some are forgotten, and older versions of this keep no counts."""
        try:
            with self._database.transaction() as connection:
                check(connection, LEASE, self._holder, self._term, now_s)
                count_anew(connection)
        except LeaseLost:
            pass  # who has it now does the same

    def _fold(self, now_s: float) -> int:
        try:
            with self._database.transaction() as connection:
                check(connection, LEASE, self._holder, self._term, now_s)
                return fold_metrics(connection)
        except LeaseLost:
            return 0
