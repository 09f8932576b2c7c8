"""A fleet's database for tests is a copy, and yet one of its own."""

from __future__ import annotations

import stat
import time
from pathlib import Path

from sqlalchemy import text

from slotcast_publisher.fleet.database.database import Database, open_database
from tests.support.fleet_database import make_database


def schema_of(database: Database) -> list[tuple[str, str]]:
    with database.reading() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master ORDER BY name"))
        return [(name, sql) for name, sql in rows]


def test_a_copied_database_is_as_a_new_one_and_has_its_own_id(tmp_path: Path) -> None:
    began_s = int(time.time())
    with (
        make_database(tmp_path / "a.db") as one,
        make_database(tmp_path / "b.db") as other,
        open_database(tmp_path / "new.db") as new,
    ):
        assert schema_of(one) == schema_of(new)
        assert len({one.id, other.id, new.id}) == 3
        assert len(one.id) == len(new.id)
        assert one.knows_since_s >= began_s
        modes = {stat.S_IMODE(d.path.stat().st_mode) for d in (one, new) if d.path is not None}
        assert modes == {0o600}
