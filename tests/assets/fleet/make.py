"""Makes `v0004.sqlite.sql` and `v0004.postgresql.sql`: a fleet's database of an older version.

    python -m tests.assets.fleet.make 0004

It runs the migrations up to that version, and writes some rows into each table that they made: two
of each, and of devices four, whose clocks differ. What it made is not made again: it stands for
what an older version wrote.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command

from slotcast_publisher.fleet.database import migrate
from slotcast_publisher.fleet.database.connect import WRITES, make_engine, url_of
from tests.support.postgresql import postgresql, tool

FOLDER: Final = Path(__file__).parent
CLOCKS_OFF_S: Final = (None, 120, 121, -7_200)
"""How far the clocks of the devices are off."""


def fill(connection: sa.Connection, version: str) -> None:
    """Make the tables of a version, and write rows into each."""
    config = migrate._config()
    config.attributes["connection"] = connection
    command.upgrade(config, version)
    found = sa.MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        if table.name != "alembic_version":
            connection.execute(table.insert(), list(_rows(table)))


def _rows(table: sa.Table) -> Iterator[dict[str, Any]]:
    for number in range(len(CLOCKS_OFF_S) if table.name == "devices" else 2):
        row = {column.name: _value(column, number) for column in table.columns}
        if table.name == "devices":
            row["clock_off_s"] = CLOCKS_OFF_S[number]
        yield row


def _value(column: sa.Column[Any], number: int) -> Any:
    """Give a value that no other column has, with what is hard to write in SQL."""
    size = sum(map(ord, f"{column.table.name}.{column.name}"))
    match column.type:
        case sa.LargeBinary():
            return bytes([0, 39, 92, 255, number]) * 3
        case sa.Boolean():
            return bool(number % 2)
        case sa.Float():
            return size + number + 0.25
        case sa.Integer():
            return size * 1_000 + number
    return f"{column.name} {number}: ä'\\;\n"[: getattr(column.type, "length", None) or 64]


def _of_sqlite(version: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        with make_engine(url_of(path)).begin() as connection:
            fill(connection, version)
        made = sqlite3.connect(path)
        try:
            return "\n".join(made.iterdump()) + "\n"
        finally:
            made.close()


def _of_postgresql(version: str) -> str:
    with postgresql() as url:
        with make_engine(url_of(url)).connect().execution_options(**{WRITES: True}) as connection:
            fill(connection, version)
            connection.commit()
        dump = [tool("pg_dump"), "--inserts", "--no-owner", "--no-comments", url]
        lines = subprocess.run(dump, check=True, capture_output=True, text=True).stdout.splitlines()
    # What is for psql alone, or says how that dump was made.
    unwanted = ("\\", "--", "SET ", "SELECT pg_catalog.set_config")
    return "\n".join(line for line in lines if line and not line.startswith(unwanted)) + "\n"


def main() -> None:
    """Write both files."""
    (version,) = sys.argv[1:]
    (FOLDER / f"v{version}.sqlite.sql").write_text(_of_sqlite(version))
    (FOLDER / f"v{version}.postgresql.sql").write_text(_of_postgresql(version))


if __name__ == "__main__":
    main()
