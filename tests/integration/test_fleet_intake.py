"""What devices say, through Mosquitto into a database: whole, once, and anew after a loss."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import open_database
from slotcast_publisher.fleet.intake.intake import IntakeBounds
from slotcast_publisher.serve import listener
from slotcast_schemas.messages import Metrics, Presence, Status
from slotcast_schemas.messages.status import Inventory
from slotcast_schemas.states import State
from tests.support import messages as given
from tests.support.brokers import Broker, mosquitto
from tests.support.fleet import Publisher
from tests.support.fleet_fixtures import new_prefix
from tests.support.waiting import wait_until
from tests.support.watching import Watched, crowd, watching

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

NO_DATABASE = {k: v for k, v in os.environ.items() if k != "SLOTCAST_DATABASE"}
HEARD = frozenset({"seen_s", "first_seen_s", "online_since_s", "status_heard_s", "changed_s"})
"""When something was heard is history: it goes with the database."""
OF_METRICS = frozenset({"metrics_counter", "metrics_lost", "intake"})
"""What is not retained is not heard again."""


@pytest.fixture
def empty(broker: Broker, tmp_path: Path) -> Publisher:
    """A repository without releases: its fleet is watched all the same."""
    return Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())


def present(watched: Watched) -> dict[str, list[Mapping[str, Any]]]:
    """The fleet as it is, without what is only known from having listened."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for table in (tables.devices, tables.device_models, tables.device_tags):
        rows = watched.rows(table)
        found[table.name] = [
            {key: row[key] for key in row if key not in HEARD | OF_METRICS} for row in rows
        ]
        found[table.name].sort(key=str)
    return found


def a_fleet(devices: int) -> list[Status | Presence | Metrics]:
    """What so many devices say: where they are, what they run, how it does."""
    now_s = int(time.time())
    states = itertools.cycle((State.COMMITTED, State.TRIAL, State.FAILED))
    said: list[Status | Presence | Metrics] = []
    for number, state in zip(range(devices), states, strict=False):
        device, site = f"cam-{number}", f"site-{number % 7}"
        model = given.model_status(state=state, reason="committed", progress=None)
        said += [
            given.presence(device=device, time=now_s, session="s1", online=number % 5 > 0),
            given.status(
                device=device,
                counter=number + 1,
                time=now_s,
                models=(model,),
                inventory=Inventory(software="1.0", tags={"site": site}),
            ),
            given.metrics(device=device, counter=1, time=now_s),
        ]
    return said


def shown(repo: Path) -> Any:
    """What `slotcast fleet --json` prints, but for history and what only listening tells."""
    command = [sys.executable, "-m", "slotcast_publisher", "fleet", str(repo), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=NO_DATABASE)
    found = json.loads(done.stdout)
    del found["history"]
    for device in found["devices"]:
        del device["heard"]
    return found


def test_a_lost_database_is_made_anew_from_what_the_broker_retains(
    empty: Publisher, broker: Broker
) -> None:
    with crowd(broker.url) as devices:
        with watching(empty.path) as watched:
            devices.say(empty.topics, *a_fleet(1000))
            watched.wait_for_taken(3000)
            before = present(watched)
            assert len(watched.rows(tables.metrics)) == 1000
            assert len(watched.rows(tables.history)) == 1000
        shown_before = shown(empty.path)
        assert shown_before["counts"]["devices"] == len(before["devices"]) == 1000
        for file in empty.path.glob("fleet.db*"):
            file.unlink()
        with watching(empty.path) as again:
            again.wait_for_taken(2000)
            assert present(again) == before
            assert again.rows(tables.metrics) == []
        assert shown(empty.path) == shown_before


def _delete(path: Path) -> None:
    """Delete the file alone: its log and the index of that stay."""
    path.unlink()


def _delete_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def _replace(path: Path) -> None:
    """Put another database in its place, with its log full of what was written last."""
    other = path.with_name("other.db")
    with open_database(other) as database, database.transaction() as connection:
        connection.execute(
            insert(tables.devices).values(id="cam-of-before", seen_s=int(time.time()))
        )
    other.rename(path)


@pytest.mark.parametrize("lose", [_delete, _delete_all, _replace])
def test_a_database_that_is_lost_while_it_is_served_is_made_anew_from_what_the_broker_retains(
    empty: Publisher, broker: Broker, lose: Callable[[Path], None]
) -> None:
    path = empty.path / "fleet.db"
    with crowd(broker.url) as devices, watching(empty.path) as watched:
        devices.say(empty.topics, *a_fleet(200))
        watched.wait_for_taken(600)
        before = shown(empty.path)
        lose(path)
        said = watched.served.wait_for("database_gone")
        assert said["level"] == "warning"
        watched.served.wait_for("database_began")
        watched.served.wait_for("listening", count=2)
        watched.wait_for_taken(400)  # what is retained; metrics are not
        devices.say(empty.topics, given.status(device="cam-new", time=int(time.time())))
        watched.wait_for_taken(401)
        found = shown(empty.path)
    added = {"cam-new", "cam-of-before"} if lose is _replace else {"cam-new"}
    assert {each["device"] for each in found["devices"]} - {
        each["device"] for each in before["devices"]
    } == added
    assert [e for e in found["devices"] if e["device"] not in added] == before["devices"]
    assert len(watched.served.of("database_gone")) == 1
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def refusals(watched: Watched) -> list[Any]:
    return [e for e in watched.served.of("error") if "cannot go on with" in e["detail"]]


def test_what_cannot_be_opened_in_place_of_a_database_is_said_once_until_it_can(
    empty: Publisher, broker: Broker
) -> None:
    path = empty.path / "fleet.db"
    with crowd(broker.url) as devices, watching(empty.path) as watched:
        path.with_name("no.db").write_bytes(b"no database at all, " * 1000)
        path.with_name("no.db").rename(path)
        wait_until(lambda: len(refusals(watched)) > 0)
        path.unlink()
        watched.served.wait_for("database_began")
        assert len(refusals(watched)) == len(watched.served.of("database_gone")) == 1
        devices.say(empty.topics, given.status(device="cam-new", time=int(time.time())))
        watched.wait_for_taken(1)
        assert shown(empty.path)["counts"]["devices"] == 1


def test_a_fleet_larger_than_the_brokers_queue_is_seen_whole(tmp_path: Path) -> None:
    """Mosquitto drops in silence what is above these for one client: all but 30 of 80 messages.

    It counts what it could not send at once, too; so few bytes fit between the two at any speed.
    """
    narrow = ["max_inflight_messages 20", "max_queued_messages 10"]
    with mosquitto(extra=narrow) as broker, crowd(broker.url) as devices:
        publisher = Publisher.make(tmp_path / "repo", broker.url)
        said = [m for m in a_fleet(40) if not isinstance(m, Metrics)]
        devices.say(publisher.topics, *said)
        with watching(publisher.path) as watched:
            watched.wait_for_taken(80)
            assert len(watched.rows(tables.device_models)) == 40


def test_hostile_and_doubled_messages_change_nothing_and_are_counted(
    empty: Publisher, broker: Broker
) -> None:
    topics, now_s = empty.topics, int(time.time())
    good = given.status(counter=41, time=now_s)
    with crowd(broker.url) as devices, watching(empty.path) as watched:
        devices.say(topics, good)
        watched.wait_for_taken(1)
        before = present(watched)
        devices.say(topics, given.status(counter=40, time=now_s - 9), good)
        devices.say(topics, given.status(counter=2**53 - 1, time=now_s))
        devices.put(topics.device("cam-1", "status"), b"\xc1" * 50)
        devices.put(topics.device("cam-1", "metrics"), bytes(65_537))
        devices.put(topics.device("cam-2", "status"), b"")
        wait_until(lambda: watched.fleet.intake.dropped.total() == 6, "all but the good one")
        assert present(watched) == before
        counted = {row["reason"]: row["count"] for row in watched.rows(tables.dropped)}
    assert counted == {
        "older_counter": 1,
        "repeated": 1,
        "impossible_counter": 1,
        "malformed": 1,
        "oversized": 1,
        "empty": 1,
    }


def test_two_devices_under_one_id_and_a_wrong_clock_are_shown(
    empty: Publisher, broker: Broker
) -> None:
    now_s = int(time.time())
    with crowd(broker.url) as devices, watching(empty.path) as watched:
        for session in ("a", "b", "a"):
            devices.say(empty.topics, given.presence(time=now_s, session=session))
        late = given.status(device="cam-2", time=now_s - 7200)
        devices.say(empty.topics, late)
        watched.wait_for_taken(4)
        twins, off = sorted(watched.rows(tables.devices), key=lambda row: row["id"])
    assert "turns" in twins["twins_why"]
    assert twins["twins_seen_s"] >= now_s
    assert off["twins_seen_s"] is None
    assert (off["status_at_s"], off["status_heard_s"] >= now_s) == (now_s - 7200, True)
    assert abs(off["clock_off_s"] + 7200) < 300


def test_a_broker_that_restarts_is_heard_again(tmp_path: Path) -> None:
    with mosquitto() as broker:
        publisher = Publisher.make(tmp_path / "repo", broker.url)
        with watching(publisher.path) as watched:
            broker.restart(keep_data=False)
            watched.served.wait_for("listening", count=2)
            with crowd(broker.url) as devices:
                devices.say(publisher.topics, given.status())
                wait_until(lambda: len(watched.rows(tables.devices)) == 1)
            assert watched.served.of("deaf")


def test_statuses_that_found_no_room_are_asked_for_again(
    empty: Publisher, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = listener.Listener.__init__.__kwdefaults__
    assert waits is not None
    monkeypatch.setitem(waits, "look_again_s", (0.5, 1.0))
    bounds = IntakeBounds(waiting_max=50, full_wait_s=1.0, batch_max=20)
    with crowd(broker.url) as devices, watching(empty.path, bounds=bounds) as watched:
        with watched.database.transaction():  # nobody else writes meanwhile
            devices.say(empty.topics, *(given.status(device=f"cam-{n}") for n in range(120)))
            wait_until(lambda: watched.fleet.intake.lost > 0)
        watched.served.wait_for("look_again")
        wait_until(lambda: len(watched.rows(tables.devices)) == 120)


def test_a_look_that_the_broker_may_have_cut_is_said_with_what_to_do(
    empty: Publisher, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "IN_FLIGHT_MAX", 3)
    with crowd(broker.url) as devices:
        devices.say(empty.topics, *(given.status(device=f"cam-{n}") for n in range(3)))
        with watching(empty.path) as watched:
            line = watched.served.wait_for("look_cut")
    assert line["retained"] == 3
    assert "max_queued_messages" in line["detail"]
