"""Alarms from what devices say through Mosquitto to log, database, webhook and command."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from slotcast_publisher import settings as settings_file
from slotcast_publisher.cli import app
from slotcast_publisher.fleet.alarms import watch as watch_module
from slotcast_publisher.fleet.alarms.kinds import FACTS, AlarmKind, KindFacts
from slotcast_publisher.notice import OfferWanted
from slotcast_schemas.messages import Status
from slotcast_schemas.messages.status import SlotStatus, Target
from slotcast_schemas.states import State
from tests.support import messages as given
from tests.support.brokers import Broker
from tests.support.cli_runner import CliRunner
from tests.support.fleet import Publisher
from tests.support.postgresql import PostgresqlUnavailable, postgresql
from tests.support.waiting import WAIT_S
from tests.support.watching import crowd, watching
from tests.support.webhook_receiver import Receiver, receiving

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

SECRET = "a secret of some length"
ROLLOUT = "clf-1.0"
FORGED = 'too slow\n{"event": "alarm_cleared"}\x1b[2J'


def say(device: str, counter: int, state: State) -> Status:
    """What a device says of version 1."""
    is_there = state is State.COMMITTED
    model = given.model_status(
        model="clf",
        state=state,
        reason="committed" if is_there else "too_slow",
        detail=FORGED,
        target=Target(version="1", sequence=1, deployment=ROLLOUT),
        active=SlotStatus(slot="a", version="1", sequence=1) if is_there else None,
        floor=1 if is_there else 0,
        progress=None,
    )
    return given.status(device=device, counter=counter, time=int(time.time()), models=(model,))


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The URL of an empty database; None for the file that is made where none is named."""
    if request.param == "SQLite":
        yield None
        return
    try:
        with postgresql() as url:
            yield url
    except PostgresqlUnavailable as exc:
        pytest.skip(str(exc))


def test_a_release_that_fails_is_one_alarm_in_log_database_webhook_and_command(
    publisher: Publisher, broker: Broker, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["alarms", str(publisher.path), *(["--database", database] if database else [])]
    monkeypatch.setattr(watch_module, "LOOK_EVERY_S", 0.2)
    monkeypatch.setitem(FACTS, AlarmKind.RELEASE_FAILING, KindFacts("model", 0.0, 0.0))
    monkeypatch.setenv("SLOTCAST_WEBHOOK_SECRET", SECRET)
    publisher.repo.offer("clf", "1", OfferWanted(deployment=ROLLOUT))
    devices = [f"cam-{number}" for number in range(4)]
    with receiving() as receiver, crowd(broker.url) as many:
        settings_file.change(publisher.path, "alarms.webhook.url", receiver.url)
        with watching(publisher.path, database) as watched:
            many.say(publisher.topics, *(say(device, 1, State.FAILED) for device in devices))
            line = watched.served.wait_for("alarm", kind="release_failing")
            receiver.wait_for(lambda: told_of(receiver))
            shown = CliRunner().invoke(app, [*command, "--json"])
            many.say(publisher.topics, *(say(device, 2, State.COMMITTED) for device in devices))
            watched.served.wait_for("alarm_cleared", kind="release_failing")
            receiver.wait_for(lambda: len(told_of(receiver)) >= 2)
    assert (line["model"], line["rollout"]) == ("clf", ROLLOUT)
    assert told_of(receiver) == ["raised", "cleared"]
    for got in receiver.got:
        stamp, signature = (got["headers"][f"Slotcast-{n}"] for n in ("Timestamp", "Signature"))
        signed = hmac.new(SECRET.encode(), f"{stamp}.".encode() + got["body"], hashlib.sha256)
        assert signature == "v1=" + signed.hexdigest()
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)["alarms"]
    (row,) = [row for row in rows if row["kind"] == "release_failing"]
    assert row["stands"]
    assert row["text"] == line["detail"]
    after = CliRunner().invoke(app, command)
    assert "until" in after.stdout
    assert SECRET not in repr(watched.served.lines)


def told_of(receiver: Receiver) -> list[str]:
    """What was posted of the release that fails, in order."""
    bodies = [json.loads(body) for body in receiver.bodies()]
    return [body["event"] for body in bodies if body["kind"] == "release_failing"]


def test_serve_says_at_once_that_a_webhook_has_no_secret(publisher: Publisher) -> None:
    settings_file.change(publisher.path, "alarms.webhook.url", "https://alarms.example/T0/token")
    done = subprocess.run(
        [sys.executable, "-m", "slotcast_publisher", "serve", str(publisher.path)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "alarms.webhook.url needs a secret" in done.stderr
    assert "token" not in done.stderr + done.stdout
