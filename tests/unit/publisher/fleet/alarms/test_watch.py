"""Alarms from rows of a real SQLite file to rows, log and webhook; over deaths and failures."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, select, update

from slotcast_publisher.alarm_settings import AlarmSettings, Webhook
from slotcast_publisher.certificates.desk import CertificateDesk, open_desk
from slotcast_publisher.fleet.alarms import alarm_store, gather
from slotcast_publisher.fleet.alarms.board import Alarm
from slotcast_publisher.fleet.alarms.facts import PausedRollout, ReleaseFacts
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.alarms.watch import Sources, Watch, make_watch
from slotcast_publisher.fleet.alarms.webhook import Poster
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.statement import make_statement
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.broker_health import BrokerHealth
from slotcast_publisher.settings import Broker, change
from slotcast_schemas.errors import DiskFull, UsageError
from tests.support.certificates import Certificates
from tests.support.webhook_receiver import Receiver, receiving

NOW_S = 1_800_000_000.0
DAY_S = 86_400
SECRET = b"a secret of some length"


class Stand:
    """A database, a log, and watches over it."""

    def __init__(self, database: Database, repo: Repository) -> None:
        self.database = database
        self.health = BrokerHealth()
        self.lines: list[dict[str, Any]] = []
        self.heard_since_s: float | None = NOW_S - DAY_S
        self.repo = repo

    def say(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})

    def watch(self, poster: Poster | None = None, **settings: Any) -> Watch:
        sources = Sources(self.repo, (), self.health, lambda: self.heard_since_s)
        # What the repository of these tests has signed ended long before this story.
        off = ("signature_expiring", *settings.pop("off", ()))
        return Watch(self.database, sources, AlarmSettings(off=off, **settings), self.say, poster)

    def devices(self, count: int, **fields: Any) -> None:
        row = {"seen_s": int(NOW_S) - 2 * DAY_S, "clock": "ok", "software": "1.0"}
        row |= {"disk_free_bytes": 10**12, **fields}
        with self.database.transaction() as connection:
            rows = [{"id": f"cam-{number}", **row} for number in range(count)]
            connection.execute(tables.devices.insert(), rows)

    def change(self, **fields: Any) -> None:
        with self.database.transaction() as connection:
            connection.execute(update(tables.devices).values(**fields))

    def alarms(self) -> list[dict[str, Any]]:
        with self.database.reading() as connection:
            return [dict(row) for row in connection.execute(select(tables.alarms)).mappings()]

    def told(self) -> list[tuple[str, str]]:
        return [(line["event"], line["kind"]) for line in self.lines]


@pytest.fixture
def stand(repo: Repository, database: Database) -> Stand:
    return Stand(database, repo)


@contextlib.contextmanager
def posting(stand: Stand, receiver: Receiver) -> Iterator[Poster]:
    poster = Poster(Webhook(url=receiver.url), SECRET, stand.say, random.Random(1), lambda: NOW_S)
    yield poster
    poster.close()


def looks(watch: Watch, start_s: float, until_s: float) -> None:
    at_s = start_s
    while at_s <= until_s:
        watch.look(at_s)
        at_s += 15


def test_a_thousand_devices_that_go_silent_are_one_row_one_line_and_one_post(
    stand: Stand,
) -> None:
    stand.devices(1000)
    with receiving() as receiver, posting(stand, receiver) as poster:
        watch = stand.watch(poster)
        looks(watch, NOW_S, NOW_S + 120)
        receiver.wait_for(lambda: receiver.got)
        stand.change(online=True)
        looks(watch, NOW_S + 135, NOW_S + 150)
        receiver.wait_for(lambda: len(receiver.got) == 2)
    (row,) = stand.alarms()
    assert (row["kind"], row["subject"], row["count"]) == ("device_silent", "*", 1000)
    assert (row["raised_s"], row["cleared_s"]) == (NOW_S + 60, NOW_S + 135)
    assert stand.told() == [("alarm", "device_silent"), ("alarm_cleared", "device_silent")]
    raised, cleared = (json.loads(body) for body in receiver.bodies())
    assert (raised["event"], raised["count"], len(raised["subjects"])) == ("raised", 1000, 10)
    assert (cleared["event"], cleared["cleared_s"]) == ("cleared", NOW_S + 135)


def test_a_line_names_the_device(stand: Stand) -> None:
    stand.devices(1, online=True, disk_free_bytes=1)
    looks(stand.watch(), NOW_S, NOW_S + 60)
    (line,) = stand.lines
    assert line == {
        "event": "alarm",
        "level": "warning",
        "kind": "disk_low",
        "count": 1,
        "detail": "cam-0: 1 bytes free on its disk, below 268 MB",
        "device": "cam-0",
    }


def test_while_devices_are_not_heard_nothing_is_said_of_them(stand: Stand) -> None:
    stand.devices(3)
    stand.heard_since_s = None
    watch = stand.watch()
    looks(watch, NOW_S, NOW_S + 300)
    stand.heard_since_s = NOW_S + 300
    looks(watch, NOW_S + 315, NOW_S + 465)
    assert stand.lines == []
    looks(watch, NOW_S + 480, NOW_S + 480)
    assert stand.told() == [("alarm", "device_silent")] * 3


def test_a_process_that_comes_after_another_says_nothing_twice(stand: Stand) -> None:
    stand.devices(1)
    looks(stand.watch(), NOW_S, NOW_S + 60)
    second = stand.watch()
    looks(second, NOW_S + 75, NOW_S + 105)  # the lease of the first lasts still
    looks(second, NOW_S + 135, NOW_S + 300)
    assert stand.told() == [("alarm", "device_silent")]
    stand.change(online=True)
    looks(second, NOW_S + 315, NOW_S + 315)
    assert stand.told()[1:] == [("alarm_cleared", "device_silent")]
    assert [row["cleared_s"] for row in stand.alarms()] == [NOW_S + 315]


def test_of_two_at_one_database_one_watches(stand: Stand) -> None:
    stand.devices(1)
    first, second = stand.watch(), stand.watch()
    for at_s in range(0, 300, 15):
        first.look(NOW_S + at_s)
        second.look(NOW_S + at_s)
    assert stand.told() == [("alarm", "device_silent")]


def test_what_no_webhook_took_before_the_process_died_is_posted_by_the_next(
    stand: Stand,
) -> None:
    stand.devices(1)
    looks(stand.watch(), NOW_S, NOW_S + 60)  # there is no webhook, so nothing takes it
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
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.devices(1)
    watch = stand.watch()
    looks(watch, NOW_S, NOW_S + 60)

    def fail(self: Database) -> None:
        raise DiskFull("no room for fleet.db")

    with monkeypatch.context() as failing:
        failing.setattr(Database, "transaction", fail)
        looks(watch, NOW_S + 75, NOW_S + 300)
    assert stand.told()[1:] == [("alarm", "database_failing")]
    assert "no room for fleet.db" in stand.lines[-1]["detail"]
    looks(watch, NOW_S + 315, NOW_S + 375)
    assert stand.told()[2:] == [("alarm_cleared", "database_failing")]
    rows = {row["kind"]: row for row in stand.alarms()}
    assert rows["database_failing"]["cleared_s"] == NOW_S + 375
    assert rows["device_silent"]["cleared_s"] is None


def test_a_database_that_fails_from_the_start_hides_nothing_that_stood(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.devices(1)
    looks(stand.watch(), NOW_S, NOW_S + 60)
    watch = stand.watch()
    with monkeypatch.context() as failing:
        failing.setattr(Database, "transaction", lambda self: (_ for _ in ()).throw(DiskFull("x")))
        looks(watch, NOW_S + 600, NOW_S + 660)
    looks(watch, NOW_S + 675, NOW_S + 900)
    assert stand.told() == [
        ("alarm", "device_silent"),
        ("alarm", "database_failing"),
        ("alarm_cleared", "database_failing"),
    ]
    assert [row["cleared_s"] is None for row in stand.alarms()] == [True, False]


def test_a_broker_that_refuses_again_and_again_is_one_alarm(stand: Stand) -> None:
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


# --- what is gathered -----------------------------------------------------------------------------


def models(stand: Stand, *rows: dict[str, Any]) -> None:
    given = {"model": "clf", "target_version": "1.0", "target_sequence": 1, "deployment": "r-1"}
    with stand.database.transaction() as connection:
        for number, row in enumerate(rows):
            full = {"device": f"cam-{number}", "status": b"", "state": "IDLE", **given, **row}
            connection.execute(tables.device_models.insert(), [full])


def test_of_a_release_only_ends_that_are_its_own_count(stand: Stand) -> None:
    old = {"target_version": "0.9", "target_sequence": 0}
    models(
        stand,
        {"state": "FAILED", "reason": "too_slow"},
        {"state": "ROLLED_BACK", "reason": "errors"},
        {"state": "FAILED", "reason": "canceled"},
        {"state": "ROLLED_BACK", "reason": "by_hand"},
        {"state": "COMMITTED", "reason": "committed", "active_sequence": 1},
        {"state": "TRIAL", "reason": "on_trial", "active_sequence": 1},
        {"state": "DOWNLOADING", "reason": "fetching"},
        {"state": "FAILED", "reason": "too_slow", **old},
        {"model": "other", "state": "REJECTED", "reason": "incompatible", "target_sequence": 7},
    )
    with stand.database.reading() as connection:
        found = {release.model: release for release in gather.read_releases(connection)}
    clf = found["clf"]
    assert (clf.version, clf.rollout, clf.ended) == ("1.0", "r-1", 3)
    assert dict(clf.reasons) == {"too_slow": 1, "errors": 1}
    assert found["other"].failed == found["other"].ended == 1


def test_a_release_that_devices_run_is_named_when_its_support_ends_and_no_other(
    stand: Stand, model_file: Path
) -> None:
    until = datetime.fromtimestamp(NOW_S + 9 * DAY_S, UTC).date().isoformat()
    statement = make_statement("", supported_until=until)
    request = ReleaseRequest(
        model="clf", version="2.0", files=(model_file,), statement=statement, is_probed=False
    )
    stand.repo.build_release(request)
    models(
        stand,
        {"active_version": "2.0", "active_sequence": 2},
        {"active_version": "2.0", "active_sequence": 2},
        {"active_version": "1.0", "active_sequence": 1},  # which promises nothing
        {"active_version": "9.9", "active_sequence": 9},  # which this repository never had
        {"state": "DOWNLOADING"},
    )
    looks(stand.watch(off=("device_silent", "release_failing")), NOW_S, NOW_S + 30)
    (alarm,) = stand.alarms()
    assert alarm["kind"] == "support_ending"
    assert "2 devices run clf 2.0, whose support ends in 10 days" in alarm["text"]


def test_a_release_that_is_offered_no_more_fails_no_more(repo: Repository) -> None:
    repo.offer("clf", "1.0")
    now = ReleaseFacts("clf", "1.0", "", 2, (("too_slow", 2),))
    before = ReleaseFacts("clf", "0.9", "", 2, (("too_slow", 2),))
    well = ReleaseFacts("other", "3", "", 2, ())
    assert gather.still_offered([now, before, well], repo) == [now, well]


def test_a_paused_rollout_is_read_whatever_its_record_says(stand: Stand) -> None:
    pause = {"by": "limit", "who": "", "why": "0.3 > 0.02"}
    records = {"a": json.dumps({"pause": pause}), "b": "no json", "c": "[]"}
    with stand.database.transaction() as connection:
        rows = [
            {"model": "clf", "name": name, "state": "PAUSED", "record": record}
            for name, record in records.items()
        ]
        rows.append({"model": "clf", "name": "d", "state": "RUNNING", "record": "{}"})
        connection.execute(tables.rollouts.insert(), rows)
    with stand.database.reading() as connection:
        found = gather.read_rollouts(connection)
    assert found[0] == PausedRollout("clf", "a", "limit", "", "0.3 > 0.02")
    assert [rollout.name for rollout in found] == ["a", "b", "c"]
    looks(stand.watch(), NOW_S, NOW_S)
    assert [line["rollout"] for line in stand.lines] == ["a", "b", "c"]
    with stand.database.transaction() as connection:
        connection.execute(delete(tables.rollouts))


def test_signatures_of_every_role_have_an_end_and_a_life(repo: Repository) -> None:
    repo.offer("clf", "1.0")
    found = {expiring.name: expiring for expiring in gather.signatures(repo)}
    whose = ("snapshot of clf", "targets of clf", "timestamp of clf")
    assert {f"the signature of {name}" for name in ("root", *whose)} <= set(found)
    assert found["the signature of root"].life_s == 3650 * DAY_S
    assert all(one.expires_s > one.life_s > 0 for one in found.values())


def test_certificates_of_files_have_an_end_and_what_is_gone_is_left_out(
    repo: Repository,
) -> None:
    open_desk(repo.path, repo.ring).ensure_devices_authority()
    broker = Broker(url="mqtts://127.0.0.1:1", ca="gone.pem")
    found = list(gather.certificates(repo.path, [Broker(url="mqtt://h"), broker]))
    assert [one.name for one in found] == ["the CA of devices (ca.pem)"]
    assert found[0].life_s > 3649 * DAY_S


def test_the_lists_that_a_broker_reads_and_its_own_certificate_have_an_end(
    repo: Repository,
) -> None:
    open_desk(repo.path, repo.ring).init(["localhost"], broker_days=200, list_days=20)
    found = {one.name: one for one in gather.certificates(repo.path, [])}
    assert set(found) == {
        "the CA of devices (ca.pem)",
        "the CA of publishers (publishers-ca.pem)",
        "the CA of brokers (brokers-ca.pem)",
        "the broker's certificate (server.crt)",
        "the list of revoked certificates of devices (signed by Slotcast devices)",
        "the list of revoked certificates of publishers (signed by Slotcast publishers)",
    }
    lives = [round(one.life_s / DAY_S) for name, one in found.items() if "CA of" not in name]
    assert lives == [200, 20, 20]


def test_a_device_whose_last_certificate_ends_soon_is_named_and_no_other(
    repo: Repository,
) -> None:
    now = datetime.now(UTC)
    past = CertificateDesk(repo.path, repo.ring.secret, lambda: now - timedelta(days=80))
    past.init(["localhost"])
    keys = [Ed25519PrivateKey.generate().public_key() for _ in range(4)]
    for name, key in zip(("ends", "renewed", "fresh", "revoked"), keys, strict=True):
        past.issue_device(name, key, days=1000 if name == "fresh" else 90, how="sign")
    open_desk(repo.path, repo.ring).issue_device("renewed", keys[1], days=90, how="sign")
    past.revoke("revoked")
    found = [one for one in gather.certificates(repo.path, []) if "device " in one.name]
    assert [one.name for one in found] == ["the certificate of device ends"]
    assert round((found[0].expires_s - now.timestamp()) / DAY_S) == 10


def test_the_certificate_that_a_broker_shows_is_looked_at(tmp_path: Path) -> None:
    files = Certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.server.certificate, files.server.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError):
                context.wrap_socket(listening.accept()[0], server_side=True).close()

        thread = threading.Thread(target=answer)
        thread.start()
        port = listening.getsockname()[1]
        ca = str(files.broker_ca.certificate)
        found = list(
            gather.certificates(tmp_path, [Broker(url=f"mqtts://127.0.0.1:{port}", ca=ca)])
        )
        thread.join()
    shown = x509.load_pem_x509_certificate(files.server.certificate.read_bytes())
    assert found[-1].name == f"the certificate of 127.0.0.1:{port}"
    assert found[-1].expires_s == shown.not_valid_after_utc.timestamp()


# --- settings and rows ----------------------------------------------------------------------------


def test_a_webhook_without_a_secret_is_refused_at_the_start(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLOTCAST_WEBHOOK_SECRET", raising=False)
    change(stand.repo.path, "alarms.webhook.url", "https://h/")
    sources = Sources(Repository(stand.repo.path), (), stand.health, lambda: None)
    with pytest.raises(UsageError, match="needs a secret"):
        make_watch(stand.database, sources, stand.say)


def test_alarms_are_listed_standing_first_and_rows_of_other_versions_are_left_out(
    stand: Stand,
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
