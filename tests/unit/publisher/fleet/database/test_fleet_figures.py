"""What releases do over all devices: added up as figures come, and by the migration."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import create_engine, select

from slotcast_publisher.fleet.database import migrate, tables
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.database.figures_blob import pack, unpack
from slotcast_publisher.fleet.database.fleet_figures import (
    hours_of_device,
    hours_of_model,
    release_sums,
)
from slotcast_publisher.fleet.database.folding import HOUR_S, fold_metrics
from slotcast_publisher.fleet.figures.release_figures import figures_of, together
from tests.support.fleet_database import NOW_S, metrics_row, put, summary


def sums(database: Database) -> dict[int, tuple[int, int, Any]]:
    with database.reading() as connection:
        return {
            each.sequence: (each.figures.requests, each.figures.errors, each.figures.latency.sum_s)
            for each in release_sums(connection, "clf")
        }


def test_figures_of_all_devices_are_added_up_once_as_they_come(tmp_path: Path) -> None:
    with open_database(tmp_path / "fleet.db") as database:
        numbers = itertools.count(1)
        for _ in range(2):
            for device, sequence in itertools.product(("a", "b", "c"), (3, 4)):
                part = summary(NOW_S, sequence)
                put(database, tables.metrics, metrics_row(device, next(numbers), NOW_S, part))
            with database.transaction() as connection:
                fold_metrics(connection)
        assert sums(database) == {4: (60, 6, 12.0), 3: (60, 6, 12.0)}
        with database.reading() as connection:
            of_all = hours_of_model(connection, "clf", NOW_S - HOUR_S)
            of_one = hours_of_device(connection, "a", "clf", NOW_S - HOUR_S)
        assert [(h.sequence, h.figures.requests) for h in of_all] == [(3, 60), (4, 60)]
        assert [(h.sequence, h.figures.requests) for h in of_one] == [(3, 20), (4, 20)]


def test_figures_that_were_there_before_are_added_up_by_the_migration(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection, connection.begin():
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    of_one = pack(figures_of([summary(NOW_S)]))
    with sqlite3.connect(path) as raw:
        for device in "abc":
            raw.execute(
                "INSERT INTO metrics_releases VALUES (?, 'clf', 3, '3.0', ?, ?, 10, 1, ?)",
                (device, NOW_S - 60, NOW_S, of_one),
            )
            raw.execute(
                "INSERT INTO metrics_hours VALUES (?, 'clf', 3, ?, 10, 1, ?)",
                (device, NOW_S, of_one),
            )
    raw.close()
    with open_database(path) as database, database.reading() as connection:
        assert [
            (each.version, each.first_s, each.last_s, each.figures.requests)
            for each in release_sums(connection)
        ] == [("3.0", NOW_S - 60, NOW_S, 30)]
        stored = connection.execute(select(tables.release_hours.c.figures)).scalar_one()
    assert pack(unpack(stored)) == pack(together([unpack(of_one)] * 3))
