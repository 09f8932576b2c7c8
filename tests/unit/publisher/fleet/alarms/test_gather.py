"""What a look gathers for alarms: of devices, releases, rollouts, certificates and signatures."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete

from slotcast_publisher.certificates.desk import CertificateDesk, open_desk
from slotcast_publisher.fleet.alarms import gather
from slotcast_publisher.fleet.alarms.facts import PausedRollout, ReleaseFacts
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.statement import make_statement
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker
from tests.support.alarm_stand import DAY_S, NOW_S, AlarmStand, look_again
from tests.support.certificates import Certificates


@pytest.fixture
def stand(repo: Repository, database: Database) -> AlarmStand:
    return AlarmStand(database, repo)


def models(stand: AlarmStand, *rows: dict[str, Any]) -> None:
    given = {"model": "clf", "target_version": "1.0", "target_sequence": 1, "deployment": "r-1"}
    with stand.database.transaction() as connection:
        for number, row in enumerate(rows):
            full = {"device": f"cam-{number}", "status": b"", "state": "IDLE", **given, **row}
            connection.execute(tables.device_models.insert(), [full])


def test_of_a_release_only_ends_that_are_its_own_count(stand: AlarmStand) -> None:
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
    stand: AlarmStand, model_file: Path
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
    look_again(stand.watch(off=("device_silent", "release_failing")), NOW_S, NOW_S + 30)
    (alarm,) = stand.alarms()
    assert alarm["kind"] == "support_ending"
    assert "2 devices run clf 2.0, whose support ends in 10 days" in alarm["text"]


def test_a_release_that_is_offered_no_more_fails_no_more(repo: Repository) -> None:
    repo.offer("clf", "1.0")
    now = ReleaseFacts("clf", "1.0", "", 2, (("too_slow", 2),))
    before = ReleaseFacts("clf", "0.9", "", 2, (("too_slow", 2),))
    well = ReleaseFacts("other", "3", "", 2, ())
    assert gather.still_offered([now, before, well], repo) == [now, well]


def test_a_paused_rollout_is_read_whatever_its_record_says(stand: AlarmStand) -> None:
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
    look_again(stand.watch(), NOW_S, NOW_S)
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
