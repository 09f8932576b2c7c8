"""What rollouts read of the fleet, and the lease of whoever drives them."""

from __future__ import annotations

import json

import msgspec
import pytest

from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.figures_blob import pack
from slotcast_publisher.fleet.database.lease import LeaseLost
from slotcast_publisher.fleet.database.rollouts import (
    LogLine,
    add_log,
    devices_of,
    log_of,
    saved_bytes_of,
)
from slotcast_publisher.fleet.database.tables import (
    device_models,
    devices,
    metrics,
    metrics_releases,
)
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.steering.fleet_database import DatabaseFleet
from slotcast_schemas.states import State
from tests.support.latencies import histogram
from tests.support.rollouts import status_of


def add_device(database: Database, name: str, *, runs: int, saved_bytes: int = 0) -> None:
    status = status_of(State.COMMITTED, "committed", runs=runs, target=runs)
    row = {
        "device": name,
        "model": "detector",
        "state": "COMMITTED",
        "active_sequence": runs,
        "target_sequence": runs,
        "saved_bytes": saved_bytes,
        "status": msgspec.msgpack.encode(status),
    }
    with database.transaction() as connection:
        tags = json.dumps({"board": "rev-b"})
        connection.execute(
            devices.insert(), {"id": name, "seen_s": 77, "online": True, "tags": tags}
        )
        connection.execute(device_models.insert(), row)


def test_a_device_comes_with_its_status_its_tags_and_all_that_it_reported(
    database: Database,
) -> None:
    add_device(database, "cam-1", runs=2)
    figures = pack(ReleaseFigures(requests=100, latency=histogram(0.01)))
    one = {"device": "cam-1", "model": "detector", "figures": figures}
    with database.transaction() as connection:
        connection.execute(metrics_releases.insert(), {**one, "sequence": 1})
        connection.execute(metrics_releases.insert(), {**one, "sequence": 2})
        for number, is_folded in enumerate((False, True)):  # what was folded is in the sum already
            row = {**one, "counter": 7, "number": number, "sequence": 2, "is_folded": is_folded}
            connection.execute(metrics.insert(), row)
        connection.execute(metrics_releases.insert(), {**one, "sequence": 2, "model": "other"})

    with database.reading() as connection:
        (device,) = devices_of(connection, "detector")
        assert devices_of(connection, "nobody's") == []
    assert (device.id, device.runs, device.seen_s, device.online) == ("cam-1", 2, 77, True)
    assert device.tags == {"board": "rev-b"}
    assert {s: f.requests for s, f in device.figures.items()} == {1: 100, 2: 200}


def test_what_was_saved_counts_where_the_release_runs(database: Database) -> None:
    add_device(database, "cam-1", runs=2, saved_bytes=900)
    add_device(database, "cam-2", runs=2, saved_bytes=100)
    add_device(database, "cam-3", runs=1, saved_bytes=5000)
    with database.reading() as connection:
        assert saved_bytes_of(connection, "detector", 2) == 1000
        assert saved_bytes_of(connection, "detector", 3) == 0


def test_the_last_lines_of_a_log_come_the_oldest_first(database: Database) -> None:
    with database.transaction() as connection:
        for number in range(5):
            add_log(connection, LogLine(number, "m", "r1", "", "word", f"{number}\0", "ada"))
        add_log(connection, LogLine(9, "m", "r2", "", "word", "another rollout's"))
    with database.reading() as connection:
        assert [line.text for line in log_of(connection, "r1", 3)] == [
            "2\ufffd",
            "3\ufffd",
            "4\ufffd",
        ]


# --- the lease ------------------------------------------------------------------------------------


def decide(fleet: DatabaseFleet, now_s: float) -> None:
    with fleet.deciding(now_s):
        pass


def test_a_look_that_takes_longer_than_the_lease_decides_if_nobody_had_it_meanwhile(
    database: Database,
) -> None:
    fleet = DatabaseFleet(database, "first", lease_s=10.0)
    assert fleet.hold_lease(0.0)
    decide(fleet, 50.0)
    assert not DatabaseFleet(database, "second").hold_lease(55.0)


def test_who_lost_the_lease_decides_nothing_even_after_the_other_one_is_gone(
    database: Database,
) -> None:
    first, second = (DatabaseFleet(database, name, lease_s=10.0) for name in ("first", "second"))
    assert first.hold_lease(0.0)
    assert second.hold_lease(20.0)
    with pytest.raises(LeaseLost):
        decide(first, 21.0)
    with pytest.raises(LeaseLost):
        decide(first, 100.0)  # the second one was killed


def test_who_lets_the_lease_go_is_followed_at_once(database: Database) -> None:
    first, second = (DatabaseFleet(database, name) for name in ("first", "second"))
    assert first.hold_lease(0.0)
    assert not second.hold_lease(1.0)
    first.release_lease()
    assert second.hold_lease(1.0)
    with pytest.raises(LeaseLost):
        decide(first, 2.0)


def test_two_that_were_never_given_it_decide_nothing(database: Database) -> None:
    with pytest.raises(LeaseLost):
        decide(DatabaseFleet(database, "first"), 0.0)
