"""Links and brokers that fail in every way: progress never stops for good, traffic stays bounded.

Whole messages lost, repeated, changed and reordered are in test_update_bad_links.py; hundreds of
cuts and restarts in one update are in benchmarks/faults.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_device.core.waits import Waits
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.states import State
from tests.support.brokers import Broker, mosquitto
from tests.support.fleet import Device, Observer, Publisher, answers, model_bytes
from tests.support.fleet_fixtures import behind, new_prefix, payload_of
from tests.support.proxy import Plan, Proxy
from tests.support.serving import serving

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

SHORT = Waits(first_wait_s=0.5)
MODERATE = 4e6
"""Bits per second at which the 1 MB update takes long enough to be disturbed in its middle."""


@pytest.fixture
def short_waits(publisher: Publisher) -> None:
    """Ask again soon for what was lost: these tests lose on purpose."""
    publisher.waits = SHORT


@pytest.fixture(scope="module")
def mortal_broker() -> Iterator[Broker]:
    """A Mosquitto that these tests may kill; it persists what an orderly stop lets it save."""
    with mosquitto("development", is_persistent=True) as running:
        yield running


@pytest.fixture
def mortal(catalogue: Publisher, mortal_broker: Broker, tmp_path: Path) -> Publisher:
    """The catalogue, published at the broker that may be killed."""
    publisher = catalogue.copy(tmp_path / "repo", mortal_broker.url, prefix=new_prefix())
    publisher.publish("clf", "1")
    return publisher


def target(broker: Broker) -> tuple[str, int]:
    return broker.host, broker.port


def serves(device: Device, number: int) -> bool:
    return bool((device.answers() == answers(model_bytes(number))).all())


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rst", "fin"])
def test_a_link_cut_at_any_byte_resumes_and_fetches_hardly_more(
    publisher: Publisher, broker: Broker, tmp_path: Path, kind: str
) -> None:
    publisher.publish("clf", "1")
    rng = random.Random(kind)
    # In the CONNACK, the first SUBACK, the notice, the map, and anywhere in the chunks.
    cuts = [1, 7, 60, 3000, 9000, *sorted(rng.randrange(10_000, 1_000_000) for _ in range(12))]
    plan = Plan(cut_at_bytes=tuple(cuts), cut_kind="rst" if kind == "rst" else "fin")
    with Proxy(target(broker), plan) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        assert device.run_once().state is State.COMMITTED
        assert proxy.counters.cuts == len(cuts)
        # Of each cut: the notice again, and what lay in the sockets' buffers.
        bound = payload_of(publisher).size_bytes * 1.05 + len(cuts) * 60_000
        assert proxy.counters.down_bytes < bound
    assert serves(device, 1)


def test_a_broker_that_vanished_without_a_word_is_noticed_and_left(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with (
        Proxy(target(broker), Plan(stall_at_bytes=200_000)) as proxy,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        device = behind(proxy, publisher, tmp_path / "cam-1")
        with device.running():
            proxy.wait_for(lambda c: c.down_bytes >= 200_000)
            proxy.half_open()
            proxy.resume()
            observer.wait_for_state("clf", State.COMMITTED, "1")
        assert proxy.counters.connections == 2
        assert proxy.counters.cuts == 0


def test_a_link_that_stalls_without_closing_is_tried_again_until_it_moves(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with (
        Proxy(target(broker), Plan(stall_at_bytes=300_000)) as proxy,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        device = behind(proxy, publisher, tmp_path / "cam-1")
        device.change("[timing]", "[timing]\nconnect_timeout_s = 1.0")
        with device.running():
            proxy.wait_for(lambda c: c.connections >= 3)  # it noticed, and tries while all stalls
            proxy.resume()
            observer.wait_for_state("clf", State.COMMITTED, "1")
        bound = payload_of(publisher).size_bytes * 1.1 + proxy.counters.connections * 60_000
        assert proxy.counters.down_bytes < bound


def test_too_slow_a_transfer_is_reported_and_goes_on(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with (
        Proxy(target(broker), Plan(down_bits_per_s=2e6)) as proxy,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        device = behind(proxy, publisher, tmp_path / "cam-1")
        device.change("full_allowed = true", "full_allowed = true\nslow_bytes_per_s = 1e6")
        device.change("[timing]", "[timing]\nslow_window_s = 1.0")
        with device.running():
            status = observer.wait_for_reason("clf", "slow")
            observer.wait_for_state("clf", State.COMMITTED, "1")
    assert status.state is State.DOWNLOADING
    assert "expected at least 1e+06" in status.detail


def test_waits_between_tries_are_jittered_grow_and_are_capped(
    publisher: Publisher, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float]] = []
    draw = Backoff.next_s

    def recorded(self: Backoff) -> float:
        bound_s = min(self.cap_s, self.first_s * 2.0**self.failures)
        wait_s = draw(self)
        if self.first_s == 0.02:  # the connection's; transfers and retries have their own
            drawn.append((bound_s, wait_s))
        return wait_s

    monkeypatch.setattr(Backoff, "next_s", recorded)
    publisher.publish("clf", "1")
    with Proxy(target(broker)) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        with Observer(broker.url, publisher.topics, "cam-1") as observer:
            proxy.refuse()
            with device.running():
                proxy.wait_for(lambda c: c.refused >= 12)
                tries = list(drawn)
                proxy.accept()
                observer.wait_for_state("clf", State.COMMITTED, "1")
    assert [bound for bound, _ in tries[:6]] == [0.02, 0.04, 0.08, 0.16, 0.2, 0.2]
    assert all(0.1 * bound <= wait <= bound for bound, wait in tries)
    shares = {round(wait / bound, 6) for bound, wait in tries}
    assert len(shares) == len(tries)


# --- brokers --------------------------------------------------------------------------------------


def test_a_broker_restarted_with_its_data_costs_a_pause_and_nothing_else(
    mortal: Publisher, mortal_broker: Broker, tmp_path: Path
) -> None:
    with Proxy(target(mortal_broker), Plan(down_bits_per_s=MODERATE)) as proxy:
        device = behind(proxy, mortal, tmp_path / "cam-1")
        with device.running() as agent:
            proxy.wait_for(lambda c: c.down_bytes > 200_000)
            mortal_broker.restart(keep_data=True)
            with Observer(mortal_broker.url, mortal.topics, "cam-1") as observer:
                observer.wait_for_state("clf", State.COMMITTED, "1")
            assert agent.cores[0].state.floor == 1
        assert proxy.counters.down_bytes < 1.4 * payload_of(mortal).size_bytes
        assert proxy.counters.up_packets["PUBLISH"] < 20  # no want was needed


def test_a_broker_killed_with_all_that_it_kept_is_filled_again_by_serve(
    mortal: Publisher, mortal_broker: Broker, tmp_path: Path
) -> None:
    mortal.waits = SHORT
    with (
        serving(mortal.path) as served,
        Proxy(target(mortal_broker), Plan(stall_at_bytes=200_000)) as proxy,
    ):
        served.wait_for("connected")
        device = behind(proxy, mortal, tmp_path / "cam-1")
        with device.running():
            proxy.wait_for(lambda c: c.down_bytes >= 200_000)
            mortal_broker.kill()
            proxy.resume()
            mortal_broker.restart(keep_data=False)
            served.wait_for("announced", model="clf")
            with Observer(mortal_broker.url, mortal.topics, "cam-1") as observer:
                observer.wait_for_state("clf", State.COMMITTED, "1")
        payload = payload_of(mortal)
        assert proxy.counters.down_bytes < 1.6 * payload.size_bytes
    assert serves(device, 1)
    sent = served.of("answered")[-1]["sent"]
    assert 0 < sent <= payload.chunk_count  # each missing chunk about once
    for number, line in enumerate(served.of("disconnected")):
        assert line["again_in_s"] <= 0.5 * 2**number + 0.01


@pytest.mark.usefixtures("short_waits")
def test_retained_messages_wiped_in_mid_transfer_are_asked_for(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    payload, topics = payload_of(publisher), publisher.topics
    with (
        serving(publisher.path) as served,
        Proxy(target(broker), Plan(stall_at_bytes=200_000)) as proxy,
        Observer(broker.url, topics, "cam-1") as observer,
    ):
        served.wait_for("connected")
        device = behind(proxy, publisher, tmp_path / "cam-1")
        device.change("full_allowed = true", "full_allowed = true\ncredit_max_chunks = 48")
        with device.running():
            proxy.wait_for(lambda c: c.down_bytes >= 200_000)
            for index in range(payload.chunk_count):
                observer.put(topics.chunk(payload.sha256, index), b"")
            proxy.resume()
            observer.wait_for_state("clf", State.COMMITTED, "1")
        assert observer.wants > 0
    assert serves(device, 1)
    assert served.of("answered")[-1]["sent"] <= payload.chunk_count


@pytest.mark.usefixtures("short_waits")
def test_a_notice_that_was_wiped_is_there_again_for_the_next_device(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        with serving(publisher.path) as served:
            served.wait_for("connected")
            observer.put(publisher.topics.notice("clf"), b"")
            served.wait_for("announced", model="clf")
        device = publisher.provision("cam-1", tmp_path / "cam-1")
        with device.running():
            observer.wait_for_state("clf", State.COMMITTED, "1")


def test_with_one_of_two_brokers_dead_the_other_ends_the_update(
    mortal: Publisher, mortal_broker: Broker, broker: Broker, tmp_path: Path
) -> None:
    other = mortal.copy(tmp_path / "other", broker.url, prefix=mortal.topics.prefix)
    other.publish("clf", "1")
    with Proxy(target(mortal_broker), Plan(down_bits_per_s=MODERATE)) as proxy:
        device = mortal.provision(
            "cam-1", tmp_path / "cam-1", f"mqtt://127.0.0.1:{proxy.port}", broker.url
        )
        with (
            Observer(broker.url, mortal.topics, "cam-1") as observer,
            device.running(),
        ):
            proxy.wait_for(lambda c: c.down_bytes > 300_000)
            mortal_broker.kill()
            status = observer.wait_for_state("clf", State.COMMITTED, "1")
    mortal_broker.restart(keep_data=False)
    assert status.target is not None
    assert serves(device, 1)
