"""Several processes that watch one fleet, on PostgreSQL: each message counts once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.database.kept_counts import count_anew
from slotcast_publisher.fleet.database.upsert import is_one_of, upsert
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.serve.companion import Heard
from slotcast_schemas import wire
from slotcast_schemas.topics import Topics
from tests.support import messages as given
from tests.support.brokers import Broker
from tests.support.counted_fleet import counts_of, said_by_a_fleet
from tests.support.fleet import Publisher
from tests.support.fleet_fixtures import new_prefix
from tests.support.postgresql import PostgresqlUnavailable, postgresql
from tests.support.waiting import WAIT_S, wait_until
from tests.support.watching import crowd, watching

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
TOPICS = Topics("t")
DEVICES = 20
ROUNDS = 15


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    try:
        with postgresql() as url:
            yield url
    except PostgresqlUnavailable as exc:
        pytest.skip(str(exc))


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """An empty database."""
    with open_database(server) as database:
        yield server
        with database.transaction() as connection:
            for table in tables.METADATA.sorted_tables:
                if table is not tables.meta:
                    connection.execute(table.delete())


def heard(message: Any, at_s: float) -> Heard:
    topic = TOPICS.device(message.device, message.KIND)
    return Heard(topic, wire.encode(message), False, at_s, "b")


def count(database: Database, table: Any) -> int:
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_two_that_write_at_once_count_each_device_once(url: str) -> None:
    """And a third that counts all anew again and again, as `serve` does once an hour."""
    with open_database(url) as database:
        done = threading.Event()

        def count_again() -> None:
            while not done.is_set():
                with database.transaction() as connection:
                    count_anew(connection)

        def take(seed: int) -> None:
            chance, stop = random.Random(seed), threading.Event()
            stop.set()
            for turn in range(ROUNDS):
                intake = Intake(database, TOPICS, lambda *_, **__: None, IntakeBounds(batch_max=9))
                for each in said_by_a_fleet(chance, 1 + 30 * turn, 30):
                    intake.take(each)
                intake.run(stop)

        writers = [threading.Thread(target=take, args=(seed,)) for seed in range(2)]
        counter = threading.Thread(target=count_again)
        for thread in (*writers, counter):
            thread.start()
        for writer in writers:
            writer.join()
        done.set()
        counter.join()
        kept = counts_of(database)
        assert kept["model_counts"]
        with database.transaction() as connection:
            count_anew(connection)
        assert kept == counts_of(database)


def test_columns_come_back_as_they_were_packed(url: str) -> None:
    """Of every type that a table has, with texts of any origin and values that are none."""
    texts = ["", "NULL", '{"a", \\b}', "größer \U0001f600", "n\0l", "x" * 300]
    numbers = [0, -1, 2**63 - 1, -(2**63), 1, 2]
    blobs = [b"", bytes(range(256)), b"\x00", b"\xff" * 9, b"{}", b"\\x"]
    rows = [
        {
            "id": f"cam-{place}",
            "software": text,
            "tags": text.replace("\0", ""),
            "counter": number,
            "online": bool(place % 2),
            "status_sha256": None if place == 3 else blob,
            "clock_off_s": None if place == 2 else number,
        }
        for place, (text, number, blob) in enumerate(zip(texts, numbers, blobs, strict=True))
    ]
    with open_database(url) as database:
        with database.transaction() as connection:
            upsert(connection, tables.devices, rows)
            upsert(connection, tables.devices, rows[:1])  # one alone goes the same way
        with database.reading() as connection:
            columns = [tables.devices.c[name] for name in rows[0]]
            query = select(*columns).order_by(tables.devices.c.id)
            wanted = is_one_of(connection, tables.devices.c.id, ["cam-1", "cam-4", "none"])
            nobody = is_one_of(connection, tables.devices.c.id, [])
            found = [dict(row) for row in connection.execute(query).mappings()]
            some = connection.execute(query.where(wanted)).scalars().all()
            none = connection.execute(query.where(nobody)).scalars().all()
    assert found == [row | {"software": stored(str(row["software"]))} for row in rows]
    assert (some, none) == (["cam-1", "cam-4"], [])


def stored(text: str) -> str:
    """What the column takes of a text: no NUL, and no more than 128 characters."""
    return text.replace("\0", "\ufffd")[:128]


def test_processes_that_take_messages_of_the_same_devices_lose_none_and_count_none_twice(
    url: str,
) -> None:
    now_s = time.time()
    came = [
        heard(message, now_s)
        for number in range(1, ROUNDS + 1)
        for device in (f"cam-{n}" for n in range(DEVICES))
        for message in (
            given.status(device=device, counter=number, time=int(now_s)),
            given.metrics(device=device, counter=number, time=int(now_s)),
        )
    ]
    rng = random.Random(7)
    log: list[str] = []
    stop = threading.Event()
    stop.set()

    def take(seed: int, part: list[Heard]) -> None:
        with open_database(url) as database:
            small = IntakeBounds(batch_max=37, retry_s=0.05)
            intake = Intake(database, TOPICS, lambda *said, **more: log.append(str(more)), small)
            for message in part:
                intake.take(message)
            intake.run(stop)

    rng.shuffle(came)
    threads = [
        threading.Thread(target=take, args=(seed, came[seed::3] + came[:50])) for seed in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert log == []
    with open_database(url) as database:
        assert count(database, tables.metrics) == DEVICES * ROUNDS
        with database.reading() as connection:
            last = connection.execute(select(tables.devices.c.counter)).scalars().all()
            twins = connection.execute(select(tables.devices.c.twins_seen_s)).scalars().all()
            dropped = connection.execute(select(func.sum(tables.dropped.c.count))).scalar_one()
        assert last == [ROUNDS] * DEVICES
        assert set(twins) == {None}
        assert dropped >= 150  # what each of them was given once more


def test_two_serve_divide_what_devices_say(url: str, broker: Broker, tmp_path: Path) -> None:
    publisher = Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())
    with (
        crowd(broker.url) as devices,
        watching(publisher.path, url) as one,
        watching(publisher.path, url) as other,
    ):
        for watched in (one, other):
            watched.served.wait_for("sharing")
        now_s = int(time.time())
        sent = [
            given.metrics(device=f"cam-{number}", counter=counter, time=now_s)
            for number in range(50)
            for counter in range(1, 5)
        ]
        devices.say(publisher.topics, *sent)
        wait_until(
            lambda: one.fleet.intake.taken + other.fleet.intake.taken == len(sent), every_s=0.1
        )
        assert count(one.database, tables.metrics) == len(sent)
        # Each says what it has taken once that is written.
        wait_until(lambda: one.fleet.intake.taken + other.fleet.intake.taken == len(sent))
        assert one.fleet.intake.taken > 0
        assert other.fleet.intake.taken > 0
        assert one.rows(tables.dropped) == []
