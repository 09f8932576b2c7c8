"""A real device signs what it reports; a real broker without any rules lets everybody report."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.fleet.database import tables
from slotcast_schemas import wire
from slotcast_schemas.messages import Status
from slotcast_schemas.signed_report import encode_report
from slotcast_schemas.states import State
from tests.support import messages as given
from tests.support.brokers import Broker
from tests.support.cli_runner import CliRunner
from tests.support.fleet import Device, Publisher
from tests.support.fleet_fixtures import new_prefix
from tests.support.recorder import overhearing
from tests.support.signing_devices import new_key
from tests.support.waiting import wait_until
from tests.support.watching import Watched, crowd, watching

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


def enrol(publisher: Publisher, device: Device, file: Path) -> None:
    """Do what two persons do: write the request there, and take it here."""
    asked = device.command("enrol", "--out", str(file))
    assert asked.wait() == 0, asked.stderr
    done = CliRunner().invoke(app, ["devices", "enrol", str(publisher.path), str(file)])
    assert done.exit_code == 0, done.output


def row_of(watched: Watched, device: str) -> dict[str, Any]:
    rows = [row for row in watched.rows(tables.devices) if row["id"] == device]
    return rows[0] if rows else {"counter": 0, "signed": "", "refused_count": 0, "twins_why": ""}


def said_after(watched: Watched, counter: int) -> int:
    """Wait for a signed status with a higher counter; gives it."""

    def has_come() -> bool:
        row = row_of(watched, "cam-1")
        return bool(row["signed"] == "yes" and row["counter"] > counter)

    wait_until(has_come, "a signed status")
    found: int = row_of(watched, "cam-1")["counter"]
    return found


def believed(watched: Watched) -> list[tuple[str, str, str]]:
    rows = watched.rows(tables.device_models)
    return [(row["device"], row["model"], row["state"]) for row in rows]


def test_only_who_has_its_key_reports_for_a_device(broker: Broker, tmp_path: Path) -> None:
    publisher = Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())
    device = publisher.provision("cam-1", tmp_path / "cam-1", broker.url)
    enrol(publisher, device, tmp_path / "request")
    topic = publisher.topics.device("cam-1", "status")
    failed = (given.model_status(model="clf", state=State.FAILED, reason="errors"),)
    with (
        overhearing(broker.url, topic) as overheard,
        watching(publisher.path) as watched,
        crowd(broker.url) as attacker,
    ):
        with device.running():
            first = said_after(watched, 0)
        shutil.copytree(tmp_path / "cam-1", tmp_path / "copy", symlinks=True)
        with device.running():
            newest = said_after(watched, first)
        now_s = wire.decode(overheard.payloads[-1], Status).time
        before = believed(watched)
        assert before == [("cam-1", "clf", "IDLE")]

        forged = given.status(counter=newest + 9, time=now_s + 9, models=failed)
        attacker.put(topic, overheard.payloads[0])
        attacker.put(topic, encode_report(forged, new_key()))
        attacker.say(publisher.topics, forged)  # and has the broker keep it
        wait_until(lambda: row_of(watched, "cam-1")["refused_count"] == 3, "three refused reports")
        dropped = {row["reason"]: row["count"] for row in watched.rows(tables.dropped)}
        assert {word: dropped[word] for word in ("replayed", "bad_signature", "unsigned")} == {
            "replayed": 1,
            "bad_signature": 1,
            "unsigned": 1,
        }
        assert believed(watched) == before
        assert row_of(watched, "cam-1")["counter"] == newest

    with watching(publisher.path) as again:  # which hears first what the broker was made to keep
        wait_until(lambda: row_of(again, "cam-1")["refused_count"] == 4, "the kept one, refused")
        assert believed(again) == before
        with device.running():
            said_after(again, newest)
        assert row_of(again, "cam-1")["twins_why"] == ""
        last_s = row_of(again, "cam-1")["status_at_s"]
        wait_until(lambda: time.time() >= last_s + 1, "a second in which the device said nothing")
        with Device(tmp_path / "copy" / "device.toml").running():
            wait_until(lambda: "copy" in row_of(again, "cam-1")["twins_why"], "the copy is noticed")
