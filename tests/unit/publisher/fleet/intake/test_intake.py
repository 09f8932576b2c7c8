"""What is written of what devices say, into a real SQLite file: all of it, once, whatever fails."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from sqlalchemy import Table, select

from slotcast_publisher.delivery.broker_link import KEEPALIVE_S
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.fleet.intake.messages import Message
from slotcast_publisher.serve.companion import Heard
from slotcast_schemas import wire
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.messages.status import Inventory, ModelStatus, Progress
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics
from tests.support import messages as given
from tests.support.messages import sha
from tests.support.waiting import WAIT_S, wait_until

TOPICS = Topics("t")
NOW_S = 1_790_000_300.0
HASTY = IntakeBounds(batch_wait_s=0.01, retry_s=0.01, full_wait_s=0.01)


def rows(database: Database, table: Table) -> list[dict[str, Any]]:
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def heard(message: Message, at_s: float = NOW_S, *, retained: bool = False) -> Heard:
    topic = TOPICS.device(message.device, message.KIND)
    return Heard(topic, wire.encode(message), retained, at_s, "b")


def take(
    database: Database, *came: Heard, bounds: IntakeBounds = HASTY, log: list[Any] | None = None
) -> Intake:
    """Hand messages to an intake that is stopped at once: what it has is written all the same."""
    lines = [] if log is None else log

    def say(event: str, **fields: Any) -> None:
        lines.append((event, fields))

    intake = Intake(database, TOPICS, say, bounds)
    for message in came:
        intake.take(message)
    stop = threading.Event()
    stop.set()
    intake.run(stop)
    return intake


def test_a_device_is_written_with_all_that_it_says(database: Database) -> None:
    status = given.status(
        counter=41,
        time=int(NOW_S) - 4000,
        clock="behind",
        inventory=Inventory(software="0.9", disk_free_bytes=7, tags={"b": "2", "a": "1"}),
    )
    take(
        database,
        heard(given.presence(session="s1")),
        heard(status),
        heard(given.metrics(dropped=3)),
    )
    (device,) = rows(database, tables.devices)
    said = {
        "id": "cam-1",
        "counter": 41,
        "status_at_s": NOW_S - 4000,
        "status_heard_s": NOW_S,
        "clock": "behind",
        "clock_off_s": -4000,
        "tags": '{"a":"1","b":"2"}',
        "software": "0.9",
        "disk_free_bytes": 7,
        "online": True,
        "session": "s1",
        "seen_s": NOW_S,
        "metrics_counter": 9,
        "metrics_lost": 3,
        "twins_seen_s": None,
    }
    assert {key: device[key] for key in said} == said
    (model,) = rows(database, tables.device_models)
    assert (model["state"], model["active_sequence"], model["target_version"]) == (
        "DOWNLOADING",
        6,
        "1.2.0",
    )
    assert msgspec.msgpack.decode(model["status"], type=ModelStatus) == status.models[0]
    (step,) = rows(database, tables.history)
    assert (step["reason"], step["at_s"], step["device_at_s"]) == ("fetching", NOW_S, NOW_S - 4000)
    (summary,) = rows(database, tables.metrics)
    assert unpack(summary["figures"]).requests == 100
    assert {(r["key"], r["value"]) for r in rows(database, tables.device_tags)} == {
        ("a", "1"),
        ("b", "2"),
    }


def test_what_comes_again_after_a_restart_changes_nothing(database: Database) -> None:
    messages = [
        heard(given.presence(session="s1")),
        heard(given.status()),
        heard(given.metrics()),
    ]
    take(database, *messages)
    before = {table.name: rows(database, table) for table in tables.METADATA.sorted_tables}
    again = take(database, *messages)
    assert again.dropped == {"repeated": 3}
    after = {table.name: rows(database, table) for table in tables.METADATA.sorted_tables}
    assert before.pop("dropped") == []
    (counted,) = after.pop("dropped")
    assert (counted["reason"], counted["count"]) == ("repeated", 3)
    assert after == before
    take(database, *messages)
    assert rows(database, tables.dropped)[0]["count"] == 6


def test_a_device_that_counts_anew_after_a_restart_loses_no_figures(database: Database) -> None:
    take(
        database,
        heard(given.presence(session="s1")),
        heard(given.status(counter=500, time=int(NOW_S))),
        heard(given.metrics(counter=1)),
        heard(given.presence(session="s2", time=int(NOW_S) + 5)),
    )
    take(
        database,
        heard(given.status(counter=1, time=int(NOW_S) + 6), NOW_S + 6),
        heard(given.metrics(counter=1, time=int(NOW_S) + 7), NOW_S + 7),
    )
    (device,) = rows(database, tables.devices)
    assert (device["counter"], device["started_anew_s"]) == (1, NOW_S + 6)
    assert len(rows(database, tables.metrics)) == 2


def test_tags_and_models_that_are_gone_are_gone(database: Database) -> None:
    one = given.status(counter=1, inventory=Inventory(tags={"site": "north", "old": "1"}))
    two = given.status(counter=2, inventory=Inventory(tags={"site": "south"}), models=())
    take(database, heard(one))
    take(database, heard(two))
    assert [(r["key"], r["value"]) for r in rows(database, tables.device_tags)] == [
        ("site", "south")
    ]
    assert not rows(database, tables.device_models)


def test_what_was_spared_and_when_it_changed_outlast_later_statuses(database: Database) -> None:
    spared = Progress(
        payload=sha("p"), codec="delta+v1", size_bytes=9, verified_bytes=9, saved_bytes=700
    )
    fetching = given.model_status(progress=spared)
    for counter, model in enumerate(
        [fetching, given.model_status(progress=None), given.model_status(progress=None)]
    ):
        status = given.status(counter=counter, models=(model,))
        take(database, heard(status, NOW_S + counter))
    (model_row,) = rows(database, tables.device_models)
    assert (model_row["saved_bytes"], model_row["changed_s"]) == (700, NOW_S)
    done = given.model_status(progress=None, state=State.COMMITTED, reason="committed")
    take(database, heard(given.status(counter=9, models=(done,)), NOW_S + 9))
    (model_row,) = rows(database, tables.device_models)
    assert (model_row["saved_bytes"], model_row["changed_s"]) == (700, NOW_S + 9)


def test_a_database_that_fails_for_a_while_loses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([StorageFailed("disk full"), StorageFailed("disk full")])
    whole = Database.transaction

    def transaction(self: Database) -> Any:
        for failure in failures:
            raise failure
        return whole(self)

    monkeypatch.setattr(Database, "transaction", transaction)
    log: list[Any] = []
    intake = Intake(database, TOPICS, lambda event, **fields: log.append(event), HASTY)
    stop = threading.Event()
    thread = threading.Thread(target=intake.run, args=(stop,))
    thread.start()
    for number in range(30):
        intake.take(heard(given.status(device=f"cam-{number}")))
    wait_until(lambda: intake.taken == 30)
    stop.set()
    thread.join(WAIT_S)
    assert len(rows(database, tables.devices)) == 30
    assert log == ["error"]  # said once


def test_what_comes_faster_than_it_is_written_is_dropped_and_counted(database: Database) -> None:
    came = [heard(given.status(device=f"cam-{number}")) for number in range(12)]
    narrow = IntakeBounds(waiting_max=10, full_wait_s=0.01)
    intake = take(database, *came, bounds=narrow)
    assert intake.dropped == {"queue_full": 2}
    assert intake.lost == 2, "a broker has them still"
    assert len(rows(database, tables.devices)) == 10
    assert rows(database, tables.dropped)[0]["count"] == 2


def test_what_comes_while_a_batch_takes_long_waits_and_none_is_dropped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_writing, may_write = threading.Event(), threading.Event()
    whole = Database.transaction

    def transaction(self: Database) -> Any:
        is_writing.set()
        assert may_write.wait(WAIT_S)
        return whole(self)

    monkeypatch.setattr(Database, "transaction", transaction)
    patient = IntakeBounds(waiting_max=10, batch_wait_s=0.01, full_wait_s=WAIT_S)
    intake = Intake(database, TOPICS, lambda event, **_: None, patient)
    stop = threading.Event()
    writer = threading.Thread(target=intake.run, args=(stop,))
    writer.start()
    intake.take(heard(given.status(device="cam-0")))
    assert is_writing.wait(WAIT_S)  # a batch of one is on its way
    for number in range(1, 11):
        intake.take(heard(given.status(device=f"cam-{number}")))
    last = threading.Thread(target=intake.take, args=(heard(given.status(device="cam-11")),))
    last.start()
    assert last.is_alive()  # there is no room
    may_write.set()
    last.join(WAIT_S)
    stop.set()
    writer.join(WAIT_S)
    assert intake.dropped == {}
    assert len(rows(database, tables.devices)) == 12


def test_who_waits_for_room_is_not_taken_for_gone_by_a_broker() -> None:
    assert IntakeBounds().full_wait_s < KEEPALIVE_S, "a broker waits for half as long again"


def test_hostile_texts_are_kept_as_data(database: Database) -> None:
    nasty = "'; DROP TABLE devices; --\0<script>\u202e"
    model = given.model_status(detail=nasty)
    take(database, heard(given.status(models=(model,), inventory=Inventory(software=nasty))))
    (device,) = rows(database, tables.devices)
    assert "DROP TABLE" in device["software"]
