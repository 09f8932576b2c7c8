"""The fleet's database on PostgreSQL: the same promises as on SQLite, and several who write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import inspect, select

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.database.lease import LeaseLost, check, hold, release
from slotcast_publisher.fleet.database.retention import forget_old
from slotcast_publisher.fleet.database.upkeep import Upkeep
from slotcast_publisher.settings import FleetSettings
from slotcast_schemas.errors import StateTooNew, StorageFailed
from tests.support.fleet_database import (
    DAY_S,
    NOW_S,
    Versions,
    count,
    history_row,
    metrics_row,
    put,
    rows_of,
    summary,
)
from tests.support.older_fleet import check_upgrade, make_older
from tests.support.postgresql import PostgresqlUnavailable, postgresql

pytestmark = pytest.mark.timeout(240)
KEEP = FleetSettings(metrics_days=2, hours_days=30, history_days=60, devices_days=90)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    try:
        with postgresql() as url:
            yield url
    except PostgresqlUnavailable as exc:
        pytest.skip(str(exc))


@pytest.fixture
def url(server: str, tmp_path: Path) -> str:
    """An empty database of its own for each test."""
    name = f"of_{tmp_path.name}"[:60]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with open_database(url) as opened:
        yield opened


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Versions:
    return Versions(tmp_path, monkeypatch)


def columns(database: Database, schema: str | None = None) -> set[str]:
    with database.reading() as connection:
        found = inspect(connection).get_columns("devices", schema=schema)
    return {column["name"] for column in found}


def test_migrations_give_the_tables_that_the_code_speaks_of(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.METADATA) == []


def test_several_that_open_an_empty_database_at_once_make_it_once(url: str) -> None:
    ids: list[str] = []

    def open_it() -> None:
        with open_database(url) as opened:
            ids.append(opened.id)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_an_older_version_is_migrated_after_a_copy_and_a_newer_one_refused(
    url: str, versions: Versions
) -> None:
    with pytest.raises(StorageFailed, match="slotcast serve"):
        open_database(url, may_change=False)
    with open_database(url) as database:
        put(database, tables.devices, {"id": "cam-1"})
    versions.run_next()
    with pytest.raises(StorageFailed, match="of an older version"):
        open_database(url, may_change=False)
    with open_database(url) as database:
        assert "colour" in columns(database)
        assert "colour" not in columns(database, "slotcast_before_9999")
        with database.reading() as connection:
            copied = connection.exec_driver_sql("SELECT id FROM slotcast_before_9999.devices")
            assert copied.scalars().all() == ["cam-1"]
    versions.run_this()
    with pytest.raises(StateTooNew, match="update slotcast-publisher"):
        open_database(url)


def test_what_an_older_version_wrote_is_there_after_the_migration(url: str) -> None:
    make_older(url)
    check_upgrade(url)


def test_a_migration_that_fails_changes_nothing(url: str, versions: Versions) -> None:
    with open_database(url) as database:
        put(database, tables.devices, {"id": "cam-1"})
    versions.run_next('op.execute("not SQL at all")')
    with pytest.raises(StorageFailed, match="syntax"):
        open_database(url)
    versions.run_this()
    with open_database(url) as database:
        assert "colour" not in columns(database)
        assert count(database, tables.devices) == 1


def test_no_password_is_shown_where_no_server_answers() -> None:
    with pytest.raises(StorageFailed) as failed:
        open_database("postgresql://ada:geheim@127.0.0.1:1/fleet")
    assert "fleet at 127.0.0.1:1" in str(failed.value)
    assert "geheim" not in str(failed.value)


def test_texts_that_postgresql_refuses_are_stored_all_the_same(database: Database) -> None:
    put(database, tables.devices, {"id": "cam-1", "software": "a\0b" + "x" * 500})
    (row,) = rows_of(database, tables.devices)
    assert row.software.startswith("a\ufffdbx")


def test_nobody_takes_a_lease_while_a_decision_is_recorded(database: Database) -> None:
    """The lease's time is over for the other one, but not before what is decided is recorded."""
    with database.transaction() as connection:
        assert hold(connection, "rollouts", "a", 0, 30) == 1
    taken: list[int | None] = []

    def take() -> None:
        with database.transaction() as connection:
            taken.append(hold(connection, "rollouts", "b", 31, 30))
            taken.append(int(connection.scalars(select(tables.devices.c.counter)).one()))

    other = threading.Thread(target=take)
    with database.transaction() as connection:
        check(connection, "rollouts", "a", 1, 29)
        other.start()
        other.join(0.5)
        assert not taken
        connection.execute(tables.devices.insert().values(id="decided", counter=7))
    other.join()
    assert taken == [2, 7], "who takes it sees what was decided"
    with pytest.raises(LeaseLost), database.transaction() as connection:
        check(connection, "rollouts", "a", 1, 29)
    with database.transaction() as connection:
        release(connection, "rollouts", "b", 2)
        assert hold(connection, "rollouts", "a", 32, 30) == 3


def test_figures_are_added_up_once_and_what_is_old_goes(database: Database) -> None:
    for number, days in enumerate((1, 3, 40, 70, 100)):
        at_s, name = NOW_S - days * DAY_S, f"cam-{number}"
        put(database, tables.devices, {"id": name, "seen_s": at_s})
        put(database, tables.history, history_row(name, at_s))
        put(database, tables.metrics, metrics_row(name, 1, at_s, summary(at_s)))
    one, other = Upkeep(database, KEEP), Upkeep(database, KEEP)
    one.look(NOW_S)
    other.look(NOW_S)
    left = {
        table.name: count(database, table)
        for table in (tables.metrics, tables.metrics_hours, tables.history, tables.devices)
    }
    assert left == {"metrics": 1, "metrics_hours": 2, "history": 3, "devices": 4}
    assert all(row.requests == 10 for row in rows_of(database, tables.metrics_releases))
    assert forget_old(database, KEEP, NOW_S) == 0
