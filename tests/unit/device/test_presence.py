"""Whether another device has this id: a broker that hung up when it was asked is asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_device.config import DeviceConfig
from slotcast_device.link.presence import NOT_ASKED_S, OwnPresence


@pytest.fixture
def presence(tmp_path: Path) -> OwnPresence:
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "device.toml").write_text(
        'format = 1\ndevice = "d1"\nmodels = ["m"]\n[[brokers]]\nurl = "mqtt://127.0.0.1:1"\n'
    )
    return OwnPresence(DeviceConfig(tmp_path / "device.toml"), "run-1")


def test_a_broker_that_hung_up_is_asked_again_after_a_while(presence: OwnPresence) -> None:
    """It may have been a takeover, at that very moment, by the device that was asked about."""
    assert presence.may_ask("b", 0.0)
    presence.ask_later("b", 0.0)
    assert not presence.may_ask("b", NOT_ASKED_S[0] - 1)
    assert presence.may_ask("b", NOT_ASKED_S[0])
    assert presence.may_ask("another", 0.0)


def test_one_that_hangs_up_each_time_is_asked_less_and_less(presence: OwnPresence) -> None:
    now_s, waits_s = 0.0, []
    for _ in range(8):
        presence.ask_later("b", now_s)
        wait_s = next(s for s in range(1, 10_000) if presence.may_ask("b", now_s + s))
        waits_s.append(wait_s)
        now_s += wait_s
    assert waits_s == [60, 120, 240, 480, 960, 1920, 3600, 3600]
