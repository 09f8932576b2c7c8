"""An update over links that are cut, slow and disturbed, through a real Mosquitto."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from slotcast_device.core.waits import Waits
from slotcast_schemas.limits import BLOCK_CHUNKS
from slotcast_schemas.states import State
from tests.support.brokers import Broker
from tests.support.fleet import CHUNK_BYTES, Device, Observer, Publisher, model_bytes
from tests.support.fleet_fixtures import behind, serves
from tests.support.ports import free_ports
from tests.support.proxy import Act, Packet, Plan, Proxy

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path) -> Device:
    """A device that talks to the broker directly."""
    return publisher.provision("cam-1", tmp_path / "cam-1", tags={"site": "north"})


@pytest.fixture
def short_waits(publisher: Publisher) -> None:
    """Ask again soon for what was lost: these tests lose on purpose."""
    publisher.waits = Waits(first_wait_s=0.2)


def test_an_update_over_a_link_that_is_cut_again_and_again_fetches_hardly_more(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    plan = Plan(cut_every_bytes=200_000, down_bits_per_s=40e6, seed=4)
    with Proxy((broker.host, broker.port), plan) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        status = device.run_once()
        assert proxy.counters.cuts >= 3
        # A cut costs what was on its way: at most the credit, and a connection's greeting.
        assert proxy.counters.down_bytes < 2 * len(model_bytes(1))
    assert status.state is State.COMMITTED
    assert serves(device, 1)


def test_a_link_on_which_a_ping_takes_long_is_slow_and_not_dead(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    """A block of chunks takes nearly three keep-alives, and a ping's answer waits behind it."""
    publisher.publish("clf", "1")
    block_bytes = BLOCK_CHUNKS * CHUNK_BYTES
    slow = Plan(down_bits_per_s=block_bytes * 8 / 14)  # the keep-alive of these tests is 5 s
    with Proxy((broker.host, broker.port), slow) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        with device.running():
            proxy.wait_for(lambda c: c.down_bytes > 10_000 + block_bytes)
            assert proxy.counters.connections == 1


def test_a_notice_that_the_broker_dropped_in_silence_is_seen_on_the_same_connection(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    dropped: list[Packet] = []

    def decide(packet: Packet) -> Act:
        if packet.topic.endswith("/notice") and has_v1.is_set() and not dropped:
            dropped.append(packet)
            return Act.DROP
        return Act.PASS

    has_v1 = threading.Event()
    with (
        Proxy((broker.host, broker.port), Plan(decide=decide)) as proxy,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        device = behind(proxy, publisher, tmp_path / "cam-1")
        device.change("keepalive_s = 5", "keepalive_s = 5\nnotices_again_s = 1")
        with device.running():
            observer.wait_for_state("clf", State.COMMITTED, "1")
            has_v1.set()
            publisher.publish("clf", "2")
            observer.wait_for_state("clf", State.COMMITTED, "2")
        assert dropped
        assert proxy.counters.connections == 1


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize(
    "plan",
    [
        Plan(duplicate_share=0.5, seed=1),
        Plan(reorder_window=6, seed=2),
        Plan(drop_share=0.02, seed=3),
        Plan(corrupt_share=0.01, seed=5),
        Plan(duplicate_share=0.1, drop_share=0.01, corrupt_share=0.01, reorder_window=4, seed=6),
    ],
    ids=["duplicated", "reordered", "lost", "changed", "everything"],
)
def test_disturbed_messages_end_in_the_same_model(
    publisher: Publisher, broker: Broker, tmp_path: Path, plan: Plan
) -> None:
    publisher.publish("clf", "1")
    with Proxy((broker.host, broker.port), plan) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        status = device.run_once()
        counters = proxy.counters
    disturbed = counters.duplicated + counters.dropped + counters.corrupted
    assert disturbed > 0 or plan.reorder_window
    assert status.state is State.COMMITTED
    assert device.current().read_bytes() == model_bytes(1)


def test_a_device_stopped_in_mid_transfer_fetches_only_the_rest(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with Proxy((broker.host, broker.port), Plan(stall_at_bytes=600_000)) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        with device.running():
            proxy.wait_for(lambda c: c.down_bytes >= 600_000)
    with Proxy((broker.host, broker.port)) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        assert device.run_once().state is State.COMMITTED
        assert proxy.counters.down_bytes < len(model_bytes(1)) - 400_000


def test_the_second_address_serves_when_nobody_is_at_the_first(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    dead = f"mqtt://127.0.0.1:{free_ports(1)[0]}"
    device = publisher.provision("cam-1", tmp_path / "cam-1", dead, broker.url)
    assert device.run_once().state is State.COMMITTED
