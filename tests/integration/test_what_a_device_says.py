"""A device's log and status over a whole story, with a real broker: what a person has to go by."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from slotcast_device.core.events import Now
from slotcast_device.core.recovery import Findings
from slotcast_device.exit_codes import OK
from slotcast_device.reporting.agent_reports import AgentReports
from slotcast_device.storage.inspection import SlotInspection
from slotcast_schemas.states import State
from tests.support import models
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Publisher
from tests.support.fleet_fixtures import new_prefix
from tests.support.unchecked import STAND_IN, release_unchecked
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(400)]

PATIENCE_S = 120.0
"""Seven processes start one after another here, beside whatever else the machine does."""
NEXT = models.classifier(1, drift=1e-5)


def status_text(device: Device, *options: str) -> str:
    command = device.command("status", *options)
    assert command.wait(PATIENCE_S) == OK, command.stderr
    return command.stdout


def test_a_story_is_told_by_log_and_status(broker: Broker, tmp_path: Path) -> None:
    publisher = Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())
    release_unchecked(publisher, "1", STAND_IN)
    release_unchecked(publisher, "2", NEXT, max_latency_ratio=None)
    publisher.publish("clf", "1")
    device = publisher.provision("cam-1", tmp_path / "cam-1", broker.url)
    assert "agent     not running: nothing goes on until it is started" in status_text(device)

    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        agent = device.spawn("--log-format", "json")
        try:
            observer.wait_for("clf", lambda m: m.state is State.COMMITTED, PATIENCE_S)
            publisher.publish("clf", "2")
            observer.wait_for(
                "clf", lambda m: m.state is State.COMMITTED and has(m, "2"), PATIENCE_S
            )
            text = status_text(device, "--evidence")
            assert f"running, connected to {broker.host}:{broker.port} (MQTT 5) for" in text
            assert "active    2 (sequence 2), slot b" in text
            assert "ok   contract" in text
            told = json.loads(status_text(device, "--json"))
            assert told["agent"]["is_running"]
            assert told["agent"]["broker"] == f"{broker.host}:{broker.port}"
            assert device.command("rollback").wait(PATIENCE_S) == OK
            observer.wait_for("clf", lambda m: m.state is State.ROLLED_BACK, PATIENCE_S)
        finally:
            agent.terminate()
            assert agent.wait(PATIENCE_S) == OK
    lines: list[dict[str, Any]] = [json.loads(line) for line in agent.stderr.splitlines()]
    events = [(e["event"], e["active_version"]) for e in lines if e.get("event") in EVENTS]
    assert events == [
        ("active", None),
        ("switched", "1"),
        ("committed", "1"),
        ("switched", "2"),
        ("committed", "2"),
        ("rolled_back", "1"),
    ]
    switched = [e for e in lines if e.get("event") == "switched"]
    assert all(e["checks"]["contract"]["passed"] for e in switched)
    assert switched[1]["from_version"] == "1"
    assert switched[1]["transfer"]["received_bytes"] > 0
    assert "not running, last heard of" in status_text(device)


def test_no_status_says_that_nothing_runs_while_a_start_still_hashes_the_slots(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())
    release_unchecked(publisher, "1", STAND_IN)
    publisher.publish("clf", "1")
    device = publisher.provision("cam-1", tmp_path / "cam-1", broker.url)
    assert device.run_once().active is not None

    may_look = threading.Event()
    turns: list[Now] = []
    inspect, send = SlotInspection.inspect, AgentReports.send

    def inspect_late(files: SlotInspection) -> Findings:
        assert may_look.wait(PATIENCE_S)
        return inspect(files)

    def send_counted(reports: AgentReports, now: Now) -> None:
        send(reports, now)
        turns.append(now)

    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        wait_until(lambda: bool(observer.statuses), "what it said last, which the broker keeps")
        before = len(observer.statuses)
        monkeypatch.setattr(SlotInspection, "inspect", inspect_late)
        monkeypatch.setattr(AgentReports, "send", send_counted)
        with device.running():
            observer.wait_for_presence(online=True)
            connected = len(turns)
            wait_until(lambda: len(turns) >= connected + 2, "two turns in which it could speak")
            may_look.set()
            wait_until(lambda: len(observer.statuses) > before, "a status")
    assert all(model.active is not None for model in observer.of("clf")[before:])


EVENTS = {"active", "switched", "committed", "rolled_back"}


def has(status: Any, version: str) -> bool:
    return status.active is not None and status.active.version == version
