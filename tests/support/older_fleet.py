"""A fleet's database of an older version, and what of it is there after the migration.

The files were made by `tests/assets/fleet/make.py`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from slotcast_publisher.fleet.database.connect import make_engine, url_of
from slotcast_publisher.fleet.database.database import open_database

FOLDER: Final = Path(__file__).parents[1] / "assets" / "fleet"
VERSION: Final = "0004"
DROPPED: Final = {"gate_answers"}
"""Tables that later versions have no more."""
Rows = dict[str, list[dict[str, Any]]]
"""By table: its rows, each by column."""


def make_older(where: str | Path) -> None:
    """Make it: in a new file, or in the empty database of a URL."""
    if isinstance(where, Path):
        with sqlite3.connect(where) as made:
            made.executescript((FOLDER / f"v{VERSION}.sqlite.sql").read_text())
        made.close()
        return
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute((FOLDER / f"v{VERSION}.postgresql.sql").read_bytes())


def all_rows(where: str | Path) -> Rows:
    """Read all rows of all tables, as the database itself describes them."""
    engine = make_engine(url_of(where))
    try:
        with engine.connect() as connection, connection.begin():
            found = sa.MetaData()
            found.reflect(connection)
            return {
                table.name: [
                    dict(row)
                    for row in connection.execute(
                        sa.select(table).order_by(*table.primary_key.columns)
                    ).mappings()
                ]
                for table in found.sorted_tables
                if table.name != "alembic_version"
            }
    finally:
        engine.dispose()


def _check_counts(rows: Rows) -> None:
    """See that devices were counted."""
    online = {row["id"]: row["online"] for row in rows["devices"]}
    names = ("active_sequence", "active_version", "state", "reason", "deployment", "group_name")
    models = Counter(
        (row["model"], *(row[name] for name in names), online.get(row["device"], False))
        for row in rows["device_models"]
    )
    assert {tuple(row.values())[:-1]: row["devices"] for row in rows["model_counts"]} == models
    tags = Counter(
        (model["model"], tag["key"], tag["value"], model["active_sequence"], is_on_trial)
        for model in rows["device_models"]
        for is_on_trial in [model["state"] == "TRIAL"]
        for tag in rows["device_tags"]
        if tag["device"] == model["device"]
    )
    assert {tuple(row.values())[:-1]: row["devices"] for row in rows["tag_counts"]} == tags
    assert models
    assert tags


def check_upgrade(where: str | Path) -> None:
    """Open a database of an older version, and see that it says what it said before.

    Args:
        where: of `make_older`.
    """
    before = all_rows(where)
    open_database(where).close()
    after = all_rows(where)
    assert before.keys() - after.keys() == DROPPED
    for table in before.keys() - DROPPED:
        rows = after[table]
        if table == "meta":  # has since when it knows, and what tells it from others
            rows = [row for row in rows if row["key"] not in {"id", "knows_since_s"}]
        kept = [
            {name: row[name] for name in old} for row, old in zip(rows, before[table], strict=True)
        ]
        assert kept == before[table], table
        assert kept, f"{table} had no rows"
    _check_counts(after)
    assert [row["progress"] for row in after["history"]] == [None] * len(before["history"])
    clocks = {row["clock_off_s"]: row["clock_is_off"] for row in after["devices"]}
    assert clocks == {None: False, 120: False, 121: True, -7_200: True}
