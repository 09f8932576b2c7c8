"""What is stored comes back as it was: figures, texts of any origin, rows written over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sqlalchemy import select

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import open_database
from slotcast_publisher.fleet.database.figures_blob import pack, pack_summary, unpack
from slotcast_publisher.fleet.database.listing import CLOCK_OFF_S, is_clock_off
from slotcast_publisher.fleet.database.upsert import insert_missing, upsert
from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, figures_of, together
from slotcast_schemas.messages.metrics import Latency, Summary
from tests.support.engine import REPOSITORY

COUNTS = (0,) * 30 + (5, 80, 12, 3) + (0,) * 31


def summary(bounds_s: tuple[float, ...] = GRID_S, **fields: object) -> Summary:
    latency = Latency(
        p50_s=0.01,
        p95_s=0.02,
        p99_s=0.03,
        max_s=0.5,
        sum_s=1.25,
        bounds_s=bounds_s,
        counts=COUNTS[-len(bounds_s) - 1 :],
    )
    values = {"requests": 100, "errors": 3, "latency": latency, "load_s": 0.25} | fields
    return Summary(model="clf", version="1.0", sequence=3, start=100, end=160, **values)  # type: ignore[arg-type]


def assert_same(one: ReleaseFigures, other: ReleaseFigures) -> None:
    for name in ("requests", "errors", "nonfinite", "memory_bytes", "load_s", "output_mean"):
        assert getattr(one, name) == getattr(other, name)
    assert one.output_std == other.output_std
    mine, its = one.latency, other.latency
    assert np.array_equal(mine.surely_below, its.surely_below)
    assert np.array_equal(mine.maybe_below, its.maybe_below)
    assert (mine.requests, mine.max_s, mine.sum_s) == (its.requests, its.max_s, its.sum_s)


def test_figures_come_back_as_they_were() -> None:
    foreign = summary(bounds_s=tuple(0.001 * 1.7**i for i in range(34)), output_mean=-2.5)
    silent = Summary(model="clf", version="1.0", sequence=3, start=1, end=2, requests=0)
    for each in (summary(), foreign, silent):
        assert_same(unpack(pack_summary(each)), figures_of([each]))
    sum_of_both = together([figures_of([summary()]), figures_of([foreign])])
    assert_same(unpack(pack(sum_of_both)), sum_of_both)


def test_figures_take_little_room() -> None:
    assert len(pack_summary(summary())) < 100


def test_rows_are_written_over_or_left_as_they_are(tmp_path: Path) -> None:
    with open_database(tmp_path / "fleet.db") as database, database.transaction() as connection:
        rows = [{"reason": "doubled", "count": 1, "last_s": 1}]
        upsert(connection, tables.dropped, rows)
        upsert(connection, tables.dropped, [{"reason": "doubled", "count": 2, "last_s": 9}])
        upsert(
            connection,
            tables.dropped,
            [{"reason": "doubled", "count": 3, "last_s": 10}],
            keep=["last_s"],
        )
        insert_missing(connection, tables.dropped, rows)
        upsert(connection, tables.dropped, [])
        assert connection.execute(select(tables.dropped)).all() == [("doubled", 3, 9)]


def test_texts_are_bounded_and_have_nothing_that_a_database_refuses(tmp_path: Path) -> None:
    with open_database(tmp_path / "fleet.db") as database, database.transaction() as connection:
        row = {"id": "cam-1", "software": "a\0b" + "x" * 500}
        upsert(connection, tables.devices, [row])
        (stored,) = connection.scalars(select(tables.devices.c.software))
        assert stored.startswith("a\ufffdbxxx")
        assert len(stored) == 128


def test_the_document_says_from_when_a_clock_is_off() -> None:
    text = (REPOSITORY / "docs" / "fleet.md").read_text()
    assert f"*A clock that is off* by more than {CLOCK_OFF_S} s is shown" in text
    assert is_clock_off(-CLOCK_OFF_S - 1)
    assert not is_clock_off(CLOCK_OFF_S)
