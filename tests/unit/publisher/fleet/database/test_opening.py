"""A database is made, found again, migrated after a copy, refused where it is not understood."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.connect import name_of, url_of
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_schemas.errors import (
    DiskFull,
    StateLocked,
    StateTooNew,
    StateUnwritable,
    StorageFailed,
    UsageError,
)
from tests.support.fleet_database import Versions
from tests.support.older_fleet import all_rows, check_upgrade, make_older


@pytest.fixture(scope="module")
def new_databases() -> None:
    """Make the tables of each database here step by step."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Versions:
    return Versions(tmp_path, monkeypatch)


def fill(path: Path) -> None:
    with open_database(path) as database, database.transaction() as connection:
        connection.execute(insert(tables.devices).values(id="cam-1", seen_s=7))


def ids(path: Path) -> list[str]:
    with open_database(path) as database, database.reading() as connection:
        return list(connection.scalars(select(tables.devices.c.id)))


def columns(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        found = {row[1] for row in connection.execute("PRAGMA table_info(devices)")}
    connection.close()
    return found


def test_what_was_written_is_there_when_it_is_opened_again(path: Path) -> None:
    fill(path)
    assert ids(path) == ["cam-1"]
    assert path.stat().st_mode & 0o077 == 0, "statuses are for whoever may read the repository"


def test_a_database_keeps_its_id_and_says_since_when_it_knows(tmp_path: Path) -> None:
    with open_database(tmp_path / "a.db") as one, open_database(tmp_path / "b.db") as other:
        assert one.id != other.id
        assert len(one.id) == 16
    with open_database(tmp_path / "a.db") as again:
        assert (again.id, again.knows_since_s) == (one.id, one.knows_since_s)
        assert abs(again.knows_since_s - time.time()) < 3600


def test_migrations_give_the_tables_that_the_code_speaks_of(path: Path) -> None:
    with open_database(path) as database, database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, tables.METADATA) == []


def test_a_database_of_an_older_version_is_migrated_after_a_copy(
    path: Path, versions: Versions
) -> None:
    fill(path)
    versions.run_next()
    assert ids(path) == ["cam-1"]
    assert "colour" in columns(path)
    (copy,) = path.parent.glob("fleet.db.before-*")
    assert copy.name == "fleet.db.before-9999"
    assert "colour" not in columns(copy)
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT id FROM devices").fetchall() == [("cam-1",)]
    connection.close()


def test_what_an_older_version_wrote_is_there_after_the_migration(path: Path) -> None:
    make_older(path)
    before = all_rows(path)
    check_upgrade(path)
    (copy,) = path.parent.glob("fleet.db.before-*")
    assert all_rows(copy) == before


def test_a_migration_that_fails_changes_nothing(path: Path, versions: Versions) -> None:
    fill(path)
    versions.run_next('op.execute("not SQL at all")')
    with pytest.raises(StorageFailed, match="syntax"):
        open_database(path)
    assert "colour" not in columns(path)
    versions.run_this()
    assert ids(path) == ["cam-1"]


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(
    path: Path, versions: Versions
) -> None:
    versions.run_next()
    fill(path)
    versions.run_this()
    for may_change in (True, False):
        with pytest.raises(StateTooNew, match=r"'9999'.*update slotcast-publisher"):
            open_database(path, may_change=may_change)
    assert "colour" in columns(path)


def test_who_only_reads_makes_and_changes_nothing(path: Path, versions: Versions) -> None:
    with pytest.raises(NotFound, match="slotcast serve"):
        open_database(path, may_change=False)
    assert not path.exists()
    fill(path)
    versions.run_next()
    with pytest.raises(StorageFailed, match="of an older version"):
        open_database(path, may_change=False)
    assert "colour" not in columns(path)


def test_a_file_that_is_no_database_is_named_and_kept(path: Path) -> None:
    path.write_bytes(b"somebody's notes\n" * 100)
    with pytest.raises(StorageFailed, match=r"none of ours.*fleet\.db"):
        open_database(path)
    assert path.read_bytes().startswith(b"somebody's notes")


def test_a_folder_that_cannot_be_written_says_who_must_act(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="file"):
        open_database(tmp_path / "file" / "fleet.db")


def write(database: Database, *ids: str, first: str = "") -> None:
    with database.transaction() as connection:
        if first:
            connection.exec_driver_sql(first)
        for each in ids:
            connection.execute(insert(tables.devices).values(id=each))


def test_a_block_that_raises_writes_nothing(path: Path) -> None:
    with open_database(path) as database:
        with pytest.raises(StorageFailed, match="UNIQUE"):
            write(database, "cam-2", "cam-2")
        with database.reading() as connection:
            assert connection.scalars(select(tables.devices.c.id)).all() == []


def test_a_reader_sees_one_moment_while_others_write(path: Path) -> None:
    with open_database(path) as database, database.reading() as early:
        assert early.scalars(select(tables.devices.c.id)).all() == []
        fill(path)
        assert early.scalars(select(tables.devices.c.id)).all() == []
        with database.reading() as late:
            assert late.scalars(select(tables.devices.c.id)).all() == ["cam-1"]


def test_a_writer_that_waits_too_long_says_that_another_one_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotcast_publisher.fleet.database.connect._PRAGMAS", ())
    monkeypatch.setattr("slotcast_publisher.fleet.database.connect.BUSY_TIMEOUT_S", 0.01)
    with open_database(path) as database, open_database(path) as other:
        writing = database.transaction()
        with writing, pytest.raises(StateLocked, match=r"fleet\.db"):
            write(other, "cam-1")


def test_a_full_disk_and_a_read_only_one_are_told_apart(path: Path) -> None:
    fill(path)
    many = (f"cam-{number:05}-new" for number in range(10_000))
    with open_database(path) as database, pytest.raises(DiskFull, match=r"no room for .*fleet\.db"):
        write(database, *many, first="PRAGMA max_page_count = 1")
    with open_database(path) as database, pytest.raises(StateUnwritable, match="may not write"):
        write(database, "cam-3", first="PRAGMA query_only = 1")


@pytest.mark.parametrize("given", ["mysql://h/x", "postgresql://h", "sqlite://", "://", "ftp://x"])
def test_other_addresses_are_refused_with_what_is_expected(given: str) -> None:
    with pytest.raises(UsageError, match="expected a path, sqlite:///PATH, or postgresql://"):
        open_database(given)


def test_no_password_is_shown() -> None:
    assert name_of(url_of("postgresql://ada:geheim@db.example:5433/fleet")) == (
        "fleet at db.example:5433"
    )
    with pytest.raises(UsageError) as refused:
        open_database("mysql://ada:geheim@db.example/fleet")
    assert "geheim" not in str(refused.value)
