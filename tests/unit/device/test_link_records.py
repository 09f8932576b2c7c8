"""What a device keeps of its link and of its brokers, and says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_device.config import DeviceConfig
from slotcast_device.core.transfer.broker_limits import BrokerLimits
from slotcast_device.link.link_state import IN_USE_SHOWN_S, LinkState
from slotcast_device.reporting.status_message import StatusPublisher, with_link
from slotcast_device.storage.broker_book import FORGET_AFTER_S, BrokerBook
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas import wire
from slotcast_schemas.errors import BrokerRefused, IdInUse, LinkDown
from slotcast_schemas.messages import Status
from slotcast_schemas.messages.status import (
    Check,
    Evidence,
    LinkStatus,
    ModelStatus,
    SlotStatus,
    StatusFile,
)
from slotcast_schemas.states import State

BROKER = "broker.example:1883"
NOW = 1_700_000_000


@pytest.fixture
def config(tmp_path: Path) -> DeviceConfig:
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "device.toml").write_text(
        'format = 1\ndevice = "d1"\nmodels = ["m"]\n'
        '[[brokers]]\nurl = "mqtt://user:secret@broker.example"\n'
    )
    return DeviceConfig(tmp_path / "device.toml")


# --- the book ---


def test_what_was_learnt_of_a_broker_is_known_after_a_restart(config: DeviceConfig) -> None:
    learnt = BrokerLimits(protocol="3.1.1", subscriptions_max=5)
    assert BrokerBook(config, OsDisk(), NOW).note(BROKER, learnt, NOW)
    later = BrokerBook(config, OsDisk(), NOW + 60)
    assert (later.of(BROKER).protocol, later.of(BROKER).subscriptions_max) == ("3.1.1", 5)
    assert not later.note(BROKER, later.of(BROKER), NOW + 60)


def test_it_is_forgotten_after_a_week(config: DeviceConfig) -> None:
    BrokerBook(config, OsDisk(), NOW).note(BROKER, BrokerLimits(retained=False), NOW)
    assert BrokerBook(config, OsDisk(), NOW + FORGET_AFTER_S).of(BROKER) == BrokerLimits()


def test_the_book_has_no_password_and_no_broker_that_is_gone(config: DeviceConfig) -> None:
    book = BrokerBook(config, OsDisk(), NOW)
    book.note(BROKER, BrokerLimits(protocol="5"), NOW)
    book.note("gone.example:1883", BrokerLimits(protocol="5"), NOW)
    text = (config.state_dir / "brokers.json").read_text()
    assert "secret" not in text
    assert BrokerBook(config, OsDisk(), NOW).of("gone.example:1883") == BrokerLimits()


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"broker.example:1883": {"retained": 3}}'])
def test_a_book_that_cannot_be_read_costs_only_what_it_said(
    config: DeviceConfig, data: bytes
) -> None:
    config.state_dir.mkdir()
    (config.state_dir / "brokers.json").write_bytes(data)
    assert BrokerBook(config, OsDisk(), NOW).of(BROKER) == BrokerLimits()


# --- the state of the link ---


def up(state: LinkState, mono_s: float) -> None:
    state.connected(BROKER, "5", BrokerLimits(), mono_s=mono_s, wall_s=NOW + int(mono_s))


def test_a_device_that_was_pushed_off_says_so_for_a_while_though_it_is_back() -> None:
    state = LinkState()
    up(state, 0.0)
    state.lost(BROKER, IdInUse("another client"), 1.0, NOW + 1)
    up(state, 2.0)
    assert state.status.reason == "id_in_use"
    state.lost(BROKER, LinkDown("reset"), 3.0, NOW + 3)
    assert state.status.reason == "id_in_use", "one that is pushed off cannot always tell by whom"
    up(state, 2.0 + IN_USE_SHOWN_S)
    assert state.status.reason == "connected"


def test_a_trouble_on_a_connection_ends_when_what_was_asked_for_comes() -> None:
    state = LinkState()
    up(state, 0.0)
    state.trouble(BROKER, BrokerRefused("may not read"), NOW + 5)
    assert (state.status.reason, state.status.since) == ("broker_refused", NOW + 5)
    state.works(NOW + 9)
    assert (state.status.reason, state.status.detail) == ("connected", "")


def test_since_is_when_a_reason_began_not_when_it_was_said_last() -> None:
    state = LinkState()
    state.lost(BROKER, LinkDown("refused"), 1.0, NOW + 1)
    state.lost(BROKER, LinkDown("no route"), 9.0, NOW + 9)
    assert (state.status.since, state.status.detail) == (NOW + 1, "no route")


@pytest.mark.parametrize(
    ("state", "reason", "shown"),
    [
        (State.IDLE, "no_notice", "link_down"),
        (State.DOWNLOADING, "downloading", "link_down"),
        (State.DOWNLOADING, "packet_limit", "packet_limit"),
        (State.COMMITTED, "committed", "committed"),
        (State.FAILED, "golden_mismatch", "golden_mismatch"),
    ],
)
def test_a_model_that_waits_for_the_link_says_what_is_wrong_with_it(
    state: State, reason: str, shown: str
) -> None:
    model = ModelStatus(model="m", state=state, reason=reason)
    link = LinkStatus(broker=BROKER, reason="link_down", detail="no route")
    assert with_link(model, link).reason == shown
    there = with_link(model, LinkStatus(broker=BROKER, reason="connected"))
    assert there.reason == reason
    assert (f"{BROKER} has no notice" in there.detail) == (reason == "no_notice")
    assert with_link(model, None) == model


def test_where_no_notice_came_what_may_keep_it_back_is_said() -> None:
    """A broker that takes no packet as large as a notice drops it in silence."""
    state = LinkState()
    state.connected(BROKER, "5", BrokerLimits(packet_max_bytes=3000), 1.0, NOW)
    model = ModelStatus(model="m", state=State.IDLE, reason="no_notice")
    detail = with_link(model, state.status).detail
    assert "packets of at most 3000 bytes, and a notice alone has 5 to 8 KB" in detail
    state.connected(BROKER, "5", BrokerLimits(), 2.0, NOW)
    assert "known of this broker" not in with_link(model, state.status).detail


def test_a_status_is_shortened_to_what_the_broker_takes(config: DeviceConfig) -> None:
    files = tuple(StatusFile(path=f"f{n}", size_bytes=n, sha256=bytes([n]) * 32) for n in range(40))
    slot = SlotStatus(slot="a", version="1", sequence=1, files=files)
    checks = tuple(Check(name="c", passed=True, detail="x" * 100) for _ in range(40))
    model = ModelStatus(
        model="m",
        state=State.COMMITTED,
        reason="committed",
        active=slot,
        evidence=Evidence(sequence=1, checks=checks),
    )
    reporter = StatusPublisher(config, OsDisk())
    sizes = []
    for room in (2**28, 5000, 1000, 300):
        topic, data = reporter.status([model], LinkStatus(), packet_max_bytes=room, wall_s=1)
        said = wire.decode(data, Status)
        assert (topic, said.models[0].reason) == ("slotcast/v1/devices/d1/status", "committed")
        sizes.append(len(data))
        assert len(data) < room or room == 300
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < sizes[0]
    assert sizes[2] < sizes[1]
