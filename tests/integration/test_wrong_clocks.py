"""A device whose clock is wrong, with a real broker and a real publisher."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from slotcast_device.core import events as ev
from slotcast_device.shell import DeviceShell
from slotcast_schemas.states import State
from tests.support.fleet import Device, Observer, Publisher

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

DAY_S = 86400


@dataclass
class Clock:
    """How far the device's clock is from the right time."""

    ahead_s: int = 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every agent in this test."""
    made = Clock()

    def now() -> ev.Now:
        return ev.Now(time.monotonic(), max(0, int(time.time()) + made.ahead_s))

    monkeypatch.setattr(DeviceShell, "now", staticmethod(now))
    return made


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path) -> Device:
    return publisher.provision("cam-1", tmp_path / "cam-1")


def test_a_release_refused_by_a_clock_that_was_ahead_is_taken_once_the_clock_is_set(
    publisher: Publisher, device: Device, observer: Observer, clock: Clock
) -> None:
    clock.ahead_s = 100 * DAY_S
    publisher.publish("clf", "1")
    with device.running():
        status = observer.wait_for_reason("clf", "expired")
        assert status.state is State.REJECTED
        assert "the clock must be set" in status.detail
        clock.ahead_s = 0
        observer.wait_for_state("clf", State.COMMITTED, "1")


def test_a_clock_that_is_behind_is_said_and_keeps_nothing_from_coming(
    publisher: Publisher, device: Device, observer: Observer, clock: Clock
) -> None:
    clock.ahead_s = -3000 * DAY_S
    publisher.publish("clf", "1")
    with device.running():
        observer.wait_for_state("clf", State.COMMITTED, "1")
        observer.wait_for_clock("behind")
        clock.ahead_s = 0
        observer.wait_for_clock("ok")


def test_a_notice_whose_time_runs_out_is_said_to_be_stale_and_serves_on(
    publisher: Publisher, device: Device, observer: Observer, clock: Clock
) -> None:
    publisher.publish("clf", "1")
    with device.running():
        assert observer.wait_for_state("clf", State.COMMITTED, "1").notice == "valid"
        clock.ahead_s = 100 * DAY_S
        status = observer.wait_for("clf", lambda m: m.notice == "stale")
        assert status.state is State.COMMITTED
        assert status.active is not None
