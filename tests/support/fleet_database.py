"""Rows of a fleet's database, and a version of the software that is to come."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest
from sqlalchemy import Engine, Table, func, insert, select

from slotcast_publisher.fleet.database import database, migrate
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.database.figures_blob import pack_summary
from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_schemas.messages.metrics import Latency, Summary

DAY_S: Final = 86400
NOW_S: Final = 1_800_000_000 - 1_800_000_000 % DAY_S
NEXT_STEP: Final = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"


def upgrade():
    op.add_column("devices", sa.Column("colour", sa.String(8)))
    {more}
"""


def make_database(where: str | Path) -> Database:
    """Open a database; of a new file the steps that make tables were run before, for a copy.

    They are most of what a test of a page computes. `test_opening.py` has those of each database.
    """
    with quick_databases():
        return open_database(where)


@contextlib.contextmanager
def quick_databases() -> Iterator[None]:
    """For the length of the block, a new database in a file is a copy, whoever opens it here."""

    def bring_up_to_date(engine: Engine, name: str, path: Path | None) -> None:
        if path is not None and path.parent.is_dir() and not path.exists():
            _put_empty_database(path)
        migrate.bring_up_to_date(engine, name, path)

    _empty_database()
    with patch.object(database, "bring_up_to_date", bring_up_to_date):
        yield


def _put_empty_database(path: Path) -> None:
    """Put a new database there, with its own id."""
    path.write_bytes(_empty_database())
    path.chmod(0o600)
    made = {migrate.ID: secrets.token_hex(8), migrate.KNOWS_SINCE: str(int(time.time()))}
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "UPDATE meta SET value = ? WHERE key = ?", [(v, k) for k, v in made.items()]
        )


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        open_database(path).close()
        return path.read_bytes()


class Versions:
    """This version of the software, and one that comes after it with one more step."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._this, self._next = migrate._SCRIPTS, folder / "scripts"
        self._latest = migrate.latest_version()
        shutil.copytree(self._this, self._next)

    def run_this(self) -> None:
        self._monkeypatch.setattr(migrate, "_SCRIPTS", self._this)

    def run_next(self, more: str = "") -> None:
        step = NEXT_STEP.format(before=self._latest, more=more)
        (self._next / "versions" / "v9999_next.py").write_text(step)
        self._monkeypatch.setattr(migrate, "_SCRIPTS", self._next)


def summary(end_s: int, sequence: int = 3, requests: int = 10) -> Summary:
    counts = [0] * 65
    counts[20 + sequence] = requests
    latency = Latency(
        p50_s=0.1, p95_s=0.1, p99_s=0.1, max_s=1.0, sum_s=2.0, bounds_s=GRID_S, counts=tuple(counts)
    )
    return Summary(
        model="clf",
        version=f"{sequence}.0",
        sequence=sequence,
        start=end_s - 60,
        end=end_s,
        requests=requests,
        errors=1,
        latency=latency,
    )


def metrics_row(device: str, counter: int, heard_s: int, part: Summary) -> dict[str, Any]:
    return {
        "device": device,
        "counter": counter,
        "number": 0,
        "model": part.model,
        "version": part.version,
        "sequence": part.sequence,
        "heard_s": heard_s,
        "start_s": part.start,
        "end_s": part.end,
        "on_trial": False,
        "requests": part.requests,
        "errors": part.errors,
        "figures": pack_summary(part),
    }


def put(database: Database, table: Table, *rows: dict[str, Any]) -> None:
    with database.transaction() as connection:
        connection.execute(insert(table), list(rows))


def rows_of(database: Database, table: Table) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


def count(database: Database, table: Table) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def history_row(device: str, at_s: int) -> dict[str, Any]:
    return {"device": device, "model": "clf", "at_s": at_s, "state": "COMMITTED"}
