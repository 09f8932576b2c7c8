"""The whole story with real models of 8.6 MB (`c_v1.onnx`, `c_v2.onnx`), through Mosquitto.

They lie where SLOTCAST_MODELS says; without it, models of the same size are made, and the output
says which were used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from slotcast_device.exit_codes import ENDED_OTHERWISE, OK
from slotcast_publisher.release.delta_payloads import DeltaBuilder
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_publisher.settings import Settings
from slotcast_schemas.states import State
from tests.support import models
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Publisher
from tests.support.fleet_fixtures import new_prefix
from tests.support.proxy import Plan, Proxy

MODELS: Final = os.environ.get("SLOTCAST_MODELS")
HALF_S_OF_PAYLOAD_BITS_PER_S: Final = 80e6

pytestmark = [pytest.mark.broker]


def real_or_made() -> tuple[str, bytes, bytes]:
    """Give a pair of models, and where they come from."""
    if MODELS is not None:
        old, new = (Path(MODELS, f"c_v{number}.onnx").read_bytes() for number in (1, 2))
        return f"real ones from {MODELS}", old, new
    # Of one seed: between models of other weights no delta is worth offering.
    made = [models.large(1, size_bytes=8_600_000, drift=drift) for drift in (0.0, 1e-3)]
    return "made ones, as SLOTCAST_MODELS names none", made[0], made[1]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Publisher, bytes, bytes]:
    """A repository with both released, the second whole and as a delta."""
    which, old, new = real_or_made()
    print(f"models: {which}")
    path = tmp_path_factory.mktemp("real") / "repo"
    publisher = Publisher.make(path, settings=Settings())
    publisher.release("clf", "1", {"model.onnx": old})
    publisher.release("clf", "2", {"model.onnx": new}, builders=(FullBuilder(), DeltaBuilder()))
    return publisher, old, new


def put_on_broker(pair: tuple[Publisher, bytes, bytes], broker: Broker, path: Path) -> Publisher:
    return pair[0].copy(path, broker.url, prefix=new_prefix())


def test_v2_arrives_over_a_link_that_is_cut_at_a_device_that_is_killed(
    pair: tuple[Publisher, bytes, bytes], broker: Broker, tmp_path: Path
) -> None:
    publisher = put_on_broker(pair, broker, tmp_path / "repo")
    _, old, new = pair
    device = publisher.provision("cam-1", tmp_path / "cam-1", broker.url)
    publisher.publish("clf", "1")
    assert device.spawn("--once").wait() == OK
    assert device.current().read_bytes() == old

    publisher.publish("clf", "2")
    plan = Plan(down_bits_per_s=HALF_S_OF_PAYLOAD_BITS_PER_S, stall_at_bytes=2_000_000)
    with (
        Proxy((broker.host, broker.port), plan) as p,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        device.change(broker.url, f"mqtt://127.0.0.1:{p.port}")
        process = device.spawn()
        p.wait_for(lambda c: c.down_bytes > 1_000_000)
        p.sever()
        p.wait_for(lambda c: c.down_bytes >= 2_000_000)
        device.wait_for_received(1_000_000)
        process.kill()
        assert device.current().read_bytes() == old, "the old model serves whatever happens"

        p.resume()
        assert device.spawn("--once").wait() == OK
        status = observer.wait_for_state("clf", State.COMMITTED, "2")
        fetched = p.counters.down_bytes
    assert device.current().read_bytes() == new
    assert status.active is not None
    assert status.active.sequence == 2
    (delta,) = [
        r.payload
        for r in publisher.repo.store.folder("clf", "2").payloads()
        if r.payload.base is not None
    ]
    print(f"fetched {fetched} bytes for a delta of {delta.size_bytes}, with a cut and a kill")
    assert fetched < 1.2 * delta.size_bytes


def test_a_tampered_chunk_and_a_replayed_notice_are_refused(
    pair: tuple[Publisher, bytes, bytes], broker: Broker, tmp_path: Path
) -> None:
    publisher = put_on_broker(pair, broker, tmp_path / "repo")
    _, old, new = pair
    device: Device = publisher.provision("cam-1", tmp_path / "cam-1", broker.url)
    publisher.publish("clf", "1")
    old_notice = publisher.repo.build_notice("clf")
    assert device.spawn("--once").wait() == OK
    publisher.publish("clf", "2")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        for record in publisher.repo.store.folder("clf", "2").payloads():
            topic = publisher.topics.chunk(record.payload.sha256, 5)
            observer.put(topic, bytes(record.payload.chunk_size_bytes))
        assert device.spawn("--once").wait() == ENDED_OTHERWISE
        assert observer.wait_for_reason("clf", "chunk_corrupt").state is State.FAILED
        assert device.current().read_bytes() == old

        publisher.publish("clf", "2", send_all=True)
        assert device.spawn("--once").wait() == OK
        assert device.current().read_bytes() == new

        observer.put(publisher.topics.notice("clf"), old_notice)
        assert device.spawn("--once").wait() == ENDED_OTHERWISE
        assert observer.wait_for_reason("clf", "replayed").state is State.REJECTED
        assert device.current().read_bytes() == new
