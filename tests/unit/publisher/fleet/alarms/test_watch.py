"""Alarms from rows of a real SQLite file to rows, log and webhook; over deaths and failures."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator

import pytest

from slotcast_publisher.alarm_settings import Webhook
from slotcast_publisher.fleet.alarms import alarm_store
from slotcast_publisher.fleet.alarms.board import Alarm
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.alarms.watch import Sources, make_watch
from slotcast_publisher.fleet.alarms.webhook import Poster
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.broker_health import BrokerHealth
from slotcast_publisher.settings import change
from slotcast_schemas.errors import DiskFull, UsageError
from tests.support.alarm_stand import NOW_S, AlarmStand, look_again
from tests.support.webhook_receiver import Receiver, receiving

SECRET = b"a secret of some length"


@pytest.fixture
def stand(repo: Repository, database: Database) -> AlarmStand:
    return AlarmStand(database, repo)


@contextlib.contextmanager
def posting(stand: AlarmStand, receiver: Receiver) -> Iterator[Poster]:
    poster = Poster(Webhook(url=receiver.url), SECRET, stand.say, random.Random(1), lambda: NOW_S)
    yield poster
    poster.close()


def test_a_thousand_devices_that_go_silent_are_one_row_one_line_and_one_post(
    stand: AlarmStand,
) -> None:
    stand.devices(1000)
    with receiving() as receiver, posting(stand, receiver) as poster:
        watch = stand.watch(poster)
        look_again(watch, NOW_S, NOW_S + 120)
        receiver.wait_for(lambda: receiver.got)
        stand.change(online=True)
        look_again(watch, NOW_S + 135, NOW_S + 150)
        receiver.wait_for(lambda: len(receiver.got) == 2)
    (row,) = stand.alarms()
    assert (row["kind"], row["subject"], row["count"]) == ("device_silent", "*", 1000)
    assert (row["raised_s"], row["cleared_s"]) == (NOW_S + 60, NOW_S + 135)
    assert stand.told() == [("alarm", "device_silent"), ("alarm_cleared", "device_silent")]
    raised, cleared = (json.loads(body) for body in receiver.bodies())
    assert (raised["event"], raised["count"], len(raised["subjects"])) == ("raised", 1000, 10)
    assert (cleared["event"], cleared["cleared_s"]) == ("cleared", NOW_S + 135)


def test_a_line_names_the_device(stand: AlarmStand) -> None:
    stand.devices(1, online=True, disk_free_bytes=1)
    look_again(stand.watch(), NOW_S, NOW_S + 60)
    (line,) = stand.lines
    assert line == {
        "event": "alarm",
        "level": "warning",
        "kind": "disk_low",
        "count": 1,
        "detail": "cam-0: 1 bytes free on its disk, below 268 MB",
        "device": "cam-0",
    }


def test_while_devices_are_not_heard_nothing_is_said_of_them(stand: AlarmStand) -> None:
    stand.devices(3)
    stand.heard_since_s = None
    watch = stand.watch()
    look_again(watch, NOW_S, NOW_S + 300)
    stand.heard_since_s = NOW_S + 300
    look_again(watch, NOW_S + 315, NOW_S + 465)
    assert stand.lines == []
    look_again(watch, NOW_S + 480, NOW_S + 480)
    assert stand.told() == [("alarm", "device_silent")] * 3


def test_a_process_that_comes_after_another_says_nothing_twice(stand: AlarmStand) -> None:
    stand.devices(1)
    look_again(stand.watch(), NOW_S, NOW_S + 60)
    second = stand.watch()
    look_again(second, NOW_S + 75, NOW_S + 105)  # the lease of the first lasts still
    look_again(second, NOW_S + 135, NOW_S + 300)
    assert stand.told() == [("alarm", "device_silent")]
    stand.change(online=True)
    look_again(second, NOW_S + 315, NOW_S + 315)
    assert stand.told()[1:] == [("alarm_cleared", "device_silent")]
    assert [row["cleared_s"] for row in stand.alarms()] == [NOW_S + 315]


def test_of_two_at_one_database_one_watches(stand: AlarmStand) -> None:
    stand.devices(1)
    first, second = stand.watch(), stand.watch()
    for at_s in range(0, 300, 15):
        first.look(NOW_S + at_s)
        second.look(NOW_S + at_s)
    assert stand.told() == [("alarm", "device_silent")]


def test_what_no_webhook_took_before_the_process_died_is_posted_by_the_next(
    stand: AlarmStand,
) -> None:
    stand.devices(1)
    look_again(stand.watch(), NOW_S, NOW_S + 60)  # there is no webhook, so nothing takes it
    with receiving() as receiver, posting(stand, receiver) as poster:
        watch = stand.watch(poster)
        watch.look(NOW_S + 300)
        receiver.wait_for(lambda: receiver.got)
        while not stand.alarms()[0]["raise_posted_s"]:
            watch.look(NOW_S + 315)
    with receiving() as receiver, posting(stand, receiver) as poster:
        stand.change(online=True)
        stand.watch(poster).look(NOW_S + 600)
        receiver.wait_for(lambda: receiver.got)
    (body,) = receiver.bodies()
    assert json.loads(body)["event"] == "cleared"


def test_a_database_that_cannot_be_written_is_told_and_written_down_later(
    stand: AlarmStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.devices(1)
    watch = stand.watch()
    look_again(watch, NOW_S, NOW_S + 60)

    def fail(self: Database) -> None:
        raise DiskFull("no room for fleet.db")

    with monkeypatch.context() as failing:
        failing.setattr(Database, "transaction", fail)
        look_again(watch, NOW_S + 75, NOW_S + 300)
    assert stand.told()[1:] == [("alarm", "database_failing")]
    assert "no room for fleet.db" in stand.lines[-1]["detail"]
    look_again(watch, NOW_S + 315, NOW_S + 375)
    assert stand.told()[2:] == [("alarm_cleared", "database_failing")]
    rows = {row["kind"]: row for row in stand.alarms()}
    assert rows["database_failing"]["cleared_s"] == NOW_S + 375
    assert rows["device_silent"]["cleared_s"] is None


def test_a_database_that_fails_from_the_start_hides_nothing_that_stood(
    stand: AlarmStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.devices(1)
    look_again(stand.watch(), NOW_S, NOW_S + 60)
    watch = stand.watch()
    with monkeypatch.context() as failing:
        failing.setattr(Database, "transaction", lambda self: (_ for _ in ()).throw(DiskFull("x")))
        look_again(watch, NOW_S + 600, NOW_S + 660)
    look_again(watch, NOW_S + 675, NOW_S + 900)
    assert stand.told() == [
        ("alarm", "device_silent"),
        ("alarm", "database_failing"),
        ("alarm_cleared", "database_failing"),
    ]
    assert [row["cleared_s"] is None for row in stand.alarms()] == [True, False]


def test_a_broker_that_refuses_again_and_again_is_one_alarm(stand: AlarmStand) -> None:
    watch = stand.watch()
    for at_s in range(0, 300, 15):
        stand.health.failed("b:1883", "broker_refused", "refused a message: Quota exceeded")
        stand.health.answered("b:1883")
        watch.look(NOW_S + at_s)
    (line,) = stand.lines
    assert (line["kind"], line["broker"]) == ("broker_refusing", "b:1883")


def test_a_broker_is_well_when_it_answers_for_a_minute() -> None:
    clock = [1000.0]
    health = BrokerHealth(lambda: clock[0])
    health.answered("new")
    assert [trouble.reason for trouble in health.look()] == [""]
    health.failed("new", "link_down", "no answer")
    clock[0] += 3600
    assert [trouble.reason for trouble in health.look()] == ["link_down"]
    health.answered("new")
    assert [trouble.reason for trouble in health.look()] == [""]


# --- settings and rows ----------------------------------------------------------------------------


def test_a_webhook_without_a_secret_is_refused_at_the_start(
    stand: AlarmStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLOTCAST_WEBHOOK_SECRET", raising=False)
    change(stand.repo.path, "alarms.webhook.url", "https://h/")
    sources = Sources(Repository(stand.repo.path), (), stand.health, lambda: None)
    with pytest.raises(UsageError, match="needs a secret"):
        make_watch(stand.database, sources, stand.say)


def test_alarms_are_listed_standing_first_and_rows_of_other_versions_are_left_out(
    stand: AlarmStand,
) -> None:
    def alarm(subject: str, raised_s: float, cleared_s: float | None = None) -> Alarm:
        return Alarm(
            kind=AlarmKind.DISK_LOW,
            subject=subject,
            raised_s=raised_s,
            updated_s=raised_s,
            cleared_s=cleared_s,
            names={"device": subject},
            subjects=(subject,),
        )

    given = [alarm("a", 1, 5), alarm("b", 2, 4), alarm("c", 3), alarm("a", 6), alarm("d", 2)]
    with stand.database.transaction() as connection:
        alarm_store.save(connection, given)
        alarm_store.save(connection, [alarm("c", 3, 7)])
        connection.execute(
            tables.alarms.insert().values(kind="of_later", subject="x", raised_s=0, updated_s=0)
        )
    with stand.database.reading() as connection:
        found = alarm_store.listed(connection, past=2)
    assert [(a.subject, a.raised_s) for a in found] == [("d", 2), ("a", 6), ("c", 3), ("a", 1)]
    assert found[1] == given[3]
