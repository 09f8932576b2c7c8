"""In which order a broker is asked that does not even take the connection."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from slotcast_device.config import DeviceConfig
from slotcast_device.core.transfer.broker_limits import BrokerLimits
from slotcast_device.link.broker_history import BrokerHistory

NOTHING_KNOWN = BrokerLimits()


@pytest.fixture
def history(tmp_path: Path) -> BrokerHistory:
    (tmp_path / "root.json").write_text("{}")
    path = tmp_path / "device.toml"
    path.write_text(
        'format = 1\ndevice = "d1"\nmodels = ["m"]\n[[brokers]]\nurl = "mqtt://127.0.0.1:1"\n'
    )
    return BrokerHistory(DeviceConfig(path), random.Random(1))


def asked(history: BrokerHistory, times: int, unknown: str) -> list[tuple[str, bool]]:
    """Ask a broker that takes no connection, and says of one version that it does not speak it."""
    broker = history.broker
    ways: list[tuple[str, bool]] = []
    for _ in range(times):
        ways.append(history.way(broker, NOTHING_KNOWN))
        history.hung_up(broker, NOTHING_KNOWN, is_version=ways[-1][0] == unknown)
    return ways


def test_one_that_only_hangs_up_is_asked_in_every_way(history: BrokerHistory) -> None:
    ways = [("5", True), ("3.1.1", True), ("5", False), ("3.1.1", False), ("5", True)]
    assert asked(history, 5, "none") == ways


def test_a_version_that_was_refused_by_name_is_not_asked_for_again(history: BrokerHistory) -> None:
    """A broker of 3.1.1 that hangs up on a retained last will is no error, and is found soon."""
    assert asked(history, 3, "5") == [("5", True), ("3.1.1", True), ("3.1.1", False)]


def test_in_the_next_round_it_is_for_it_may_have_become_another(history: BrokerHistory) -> None:
    again = [("5", True), ("3.1.1", True), ("3.1.1", False)]
    assert asked(history, 6, "5") == again + again
    assert asked(history, 3, "none") == [("5", True), ("3.1.1", True), ("5", False)]
