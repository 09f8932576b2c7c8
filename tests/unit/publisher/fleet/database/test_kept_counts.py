"""What is counted as devices speak is what a count of all of them gives, whatever they say."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.database.kept_counts import (
    CountChanges,
    count_anew,
    kept_count,
    standing_of,
    write_changes,
)
from slotcast_publisher.fleet.database.listing import DevicesWanted
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from tests.support import messages as given
from tests.support.counted_fleet import TOPICS, Counts, counts_of, said_by_a_fleet

BATCH = IntakeBounds(batch_max=7, batch_wait_s=0.01, retry_s=0.01, full_wait_s=0.01)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "fleet.db") as opened:
        yield opened


def counted_anew(database: Database) -> Counts:
    with database.transaction() as connection:
        count_anew(connection)
    return counts_of(database)


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_all_devices_after_each_batch(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    stop = threading.Event()
    stop.set()
    most = Counter[str]()
    for turn in range(6):
        intake = Intake(database, TOPICS, lambda *_, **__: None, BATCH)
        for heard in said_by_a_fleet(chance, 1 + 20 * turn, 20):
            intake.take(heard)
        intake.run(stop)
        assert intake.taken
        kept = counts_of(database)
        assert kept == counted_anew(database)
        most |= Counter({table: len(rows) for table, rows in kept.items()})
    assert min(most[table.name] for table in (tables.model_counts, tables.tag_counts)) > 3


def test_texts_that_no_database_takes_are_counted_as_they_are_stored(database: Database) -> None:
    changes = CountChanges()
    (model,) = given.status().models
    standings = [
        standing_of(msgspec.structs.replace(model, reason=reason), online=True)
        for reason in ("a\0b", "a\ufffdb", "x" * 64 + "y", "x" * 64 + "z")
    ]
    changes.note(standings, {"site": "n\0"}, 1)
    with database.transaction() as connection:
        write_changes(connection, changes)
    kept = counts_of(database)
    assert {key[4]: n for key, n in kept["model_counts"].items()} == {"a\ufffdb": 2, "x" * 64: 2}
    assert [key[2] for key in kept["tag_counts"]] == ["n\ufffd"]


def test_of_devices_with_two_models_the_counts_do_not_tell_how_many_there_are(
    database: Database,
) -> None:
    rows = [
        {"device": f"cam-{n}", "model": model, "state": "COMMITTED", "status": b""}
        for n in range(3)
        for model in ("clf", "ocr")
    ]
    with database.transaction() as connection:
        connection.execute(tables.devices.insert(), [{"id": f"cam-{n}"} for n in range(3)])
        connection.execute(tables.device_models.insert(), rows)
        count_anew(connection)
    with database.reading() as connection:
        assert kept_count(connection, DevicesWanted(state="COMMITTED")) is None
        assert kept_count(connection, DevicesWanted(state="COMMITTED", model="ocr")) == (3, 0)
        assert kept_count(connection, DevicesWanted(model="ocr", tags={"site": "a"})) is None
