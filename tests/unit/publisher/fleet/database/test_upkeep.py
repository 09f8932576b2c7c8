"""Figures are added up once, and old rows go: the file stops growing."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, update

from slotcast_publisher.fleet.database import folding, retention, tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.folding import fold_metrics, hour_of
from slotcast_publisher.fleet.database.kept_counts import count_anew
from slotcast_publisher.fleet.database.retention import forget_old
from slotcast_publisher.fleet.database.upkeep import Upkeep
from slotcast_publisher.fleet.figures.release_figures import figures_of
from slotcast_publisher.settings import FleetSettings
from slotcast_schemas.errors import StorageFailed
from tests.support.fleet_database import (
    DAY_S,
    NOW_S,
    count,
    history_row,
    metrics_row,
    put,
    rows_of,
    summary,
)

KEEP = FleetSettings(metrics_days=2, hours_days=30, history_days=60, devices_days=90)


def fold_all(database: Database) -> int:
    with database.transaction() as connection:
        return fold_metrics(connection)


# --- adding up ----------------------------------------------------------------------------------


def test_summaries_are_added_to_their_hour_and_their_release_once(database: Database) -> None:
    parts = [summary(NOW_S + 600 * i, 3 + i // 7) for i in range(10)]
    rows = [metrics_row("cam-1", i, part.end + 1, part) for i, part in enumerate(parts)]
    put(database, tables.metrics, *rows[:4])
    assert fold_all(database) == 4
    put(database, tables.metrics, *rows[4:])
    assert fold_all(database) == 6
    assert fold_all(database) == 0
    hours = rows_of(database, tables.metrics_hours)
    assert [(r.sequence, r.hour_s - NOW_S, r.requests, r.errors) for r in hours] == [
        (3, 0, 60, 6),
        (3, 3600, 10, 1),
        (4, 3600, 30, 3),
    ]
    releases = rows_of(database, tables.metrics_releases)
    assert [(r.sequence, r.version, r.requests) for r in releases] == [
        (3, "3.0", 70),
        (4, "4.0", 30),
    ]
    assert (releases[0].first_s, releases[0].last_s) == (NOW_S + 1, NOW_S + 3601)
    whole = figures_of(parts[:7])
    assert unpack(releases[0].figures).latency.cumulative().tolist() == (
        whole.latency.cumulative().tolist()
    )


def test_a_step_that_fails_half_way_adds_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, tables.metrics, metrics_row("cam-1", 1, NOW_S, summary(NOW_S)))

    def dies(_connection: Connection, _rows: object) -> None:
        raise StorageFailed("the power went")

    monkeypatch.setattr(folding, "_mark", dies)
    with pytest.raises(StorageFailed):
        fold_all(database)
    monkeypatch.undo()
    assert count(database, tables.metrics_hours) == 0
    fold_all(database)
    assert rows_of(database, tables.metrics_releases)[0].requests == 10


@pytest.mark.parametrize(
    ("end_s", "clock_off_s", "hour_s"),
    [
        (NOW_S, None, NOW_S),
        (NOW_S - 90, -90, NOW_S - 3600),
        (300, 300 - NOW_S, NOW_S),
        (NOW_S + 10**9, 10**9, NOW_S),
        (NOW_S + 10**9, 0, NOW_S),
        (0, 0, NOW_S - 40 * DAY_S),
    ],
    ids=["right", "a little off", "of 1970", "far ahead", "unknown", "too old"],
)
def test_the_hour_is_by_our_clock(end_s: int, clock_off_s: int | None, hour_s: int) -> None:
    assert hour_of(end_s, NOW_S + 5, clock_off_s) == hour_s


# --- forgetting ---------------------------------------------------------------------------------


def test_each_kind_is_kept_as_long_as_it_shall_be(database: Database) -> None:
    days_ago = [NOW_S - days * DAY_S for days in (1, 3, 40, 70, 100)]
    for number, at_s in enumerate(days_ago):
        name = f"cam-{number}"
        put(database, tables.devices, {"id": name, "seen_s": at_s})
        put(database, tables.device_models, {"device": name, "model": "clf", "status": b""})
        put(database, tables.device_tags, {"device": name, "key": "site", "value": "a"})
        put(database, tables.history, history_row(name, at_s))
        put(database, tables.metrics, metrics_row(name, 1, at_s, summary(at_s)))
    fold_all(database)
    forget_old(database, KEEP, NOW_S)
    left = {
        table.name: count(database, table)
        for table in (
            tables.metrics,
            tables.metrics_hours,
            tables.history,
            tables.devices,
            tables.device_models,
            tables.device_tags,
            tables.metrics_releases,
        )
    }
    assert left == {
        "metrics": 1,
        "metrics_hours": 2,
        "history": 3,
        "devices": 4,
        "device_models": 4,
        "device_tags": 4,
        "metrics_releases": 4,
    }


def test_devices_that_are_forgotten_are_counted_no_more(database: Database) -> None:
    for name, at_s in (("cam-old", NOW_S - 100 * DAY_S), ("cam-new", NOW_S)):
        put(database, tables.devices, {"id": name, "seen_s": at_s})
        put(database, tables.device_models, {"device": name, "model": "clf", "status": b""})
        put(database, tables.device_tags, {"device": name, "key": "site", "value": "a"})
    with database.transaction() as connection:
        count_anew(connection)
    assert [row.devices for row in rows_of(database, tables.model_counts)] == [2]
    Upkeep(database, KEEP).look(NOW_S)
    assert [row.devices for row in rows_of(database, tables.model_counts)] == [1]
    assert [row.devices for row in rows_of(database, tables.tag_counts)] == [1]


def test_figures_that_are_not_added_up_yet_are_not_forgotten(database: Database) -> None:
    put(database, tables.metrics, metrics_row("cam-1", 1, NOW_S - 9 * DAY_S, summary(NOW_S)))
    forget_old(database, KEEP, NOW_S)
    assert count(database, tables.metrics) == 1


def test_a_device_that_flaps_keeps_its_newest_history_and_others_keep_theirs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 50
    whole = retention._LONGEST[0]
    monkeypatch.setattr(retention, "_LONGEST", ((*whole[:3], most),))
    flaps = [history_row("cam-1", NOW_S + i) for i in range(3 * most)]
    put(database, tables.history, history_row("cam-2", NOW_S), *flaps)
    forget_old(database, KEEP, NOW_S)
    left = rows_of(database, tables.history)
    assert [r.at_s for r in left if r.device == "cam-1"] == [
        NOW_S + i for i in range(2 * most, 3 * most)
    ]
    assert len(left) == most + 1


def test_deletes_are_bounded_and_the_next_pass_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_MAX", 10)
    monkeypatch.setattr(retention, "STEPS_MAX", 3)
    put(database, tables.history, *(history_row(f"cam-{i}", 1) for i in range(50)))
    assert forget_old(database, KEEP, NOW_S) == 30
    assert forget_old(database, KEEP, NOW_S, goes_on=lambda: False) == 0
    assert forget_old(database, KEEP, NOW_S) == 20


def test_the_file_stops_growing_over_simulated_months(database: Database) -> None:
    """A small fleet, a day at a time, with times in proportion: 12 days stand for a year."""
    keep = FleetSettings(metrics_days=1, hours_days=4, history_days=6, devices_days=6)
    upkeep = Upkeep(database, keep)
    pages: list[int] = []
    with database.reading() as connection:  # tables and indexes without a row are pages, too
        empty = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    counter = 0
    for day in range(24):
        day_s = NOW_S + day * DAY_S
        for hour in range(0, 24, 4):
            at_s = day_s + hour * 3600
            counter += 1
            names = [f"cam-{number}" for number in range(12)]
            sequence = 1 + day // 3
            put(
                database,
                tables.metrics,
                *(metrics_row(name, counter, at_s, summary(at_s, sequence)) for name in names),
            )
            put(database, tables.history, *(history_row(name, at_s) for name in names))
            if not hour and not day:
                put(database, tables.devices, *({"id": name} for name in names))
            with database.transaction() as connection:
                connection.execute(update(tables.devices).values(seen_s=at_s))
        upkeep.look(day_s + DAY_S - 1)
        with database.reading() as connection:
            pages.append(connection.exec_driver_sql("PRAGMA page_count").scalar_one() - empty)
    assert pages[3] > 1.2 * pages[0], "it does grow at first, or this test says nothing"
    assert max(pages[12:]) <= 1.1 * max(pages[:12])
    assert count(database, tables.metrics) <= 2 * 6 * 12
    assert count(database, tables.devices) == 12


def test_room_is_given_back_to_the_disk(database: Database) -> None:
    put(database, tables.history, *(history_row(f"cam-{i}", 1) for i in range(5000)))

    def pages() -> int:
        with database.reading() as connection:
            return int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())

    before = pages()
    forget_old(database, KEEP, NOW_S)
    assert pages() < before / 2


def test_two_processes_do_not_both_look_after_one_database(database: Database) -> None:
    put(database, tables.metrics, metrics_row("cam-1", 1, NOW_S, summary(NOW_S)))
    one, other = Upkeep(database, KEEP), Upkeep(database, KEEP)
    one.look(NOW_S)
    put(database, tables.metrics, metrics_row("cam-1", 2, NOW_S, summary(NOW_S)))
    other.look(NOW_S + 10)
    assert rows_of(database, tables.metrics_releases)[0].requests == 10
    one.close()
    other.look(NOW_S + 11)
    assert rows_of(database, tables.metrics_releases)[0].requests == 20
