"""The same messages through a cluster: three NATS JetStream nodes with MQTT 3.1.1 gateways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_device.exit_codes import OK
from slotcast_publisher.settings import Settings
from slotcast_schemas.states import State
from tests.support import nats
from tests.support.engine import BrokerUnavailable
from tests.support.fleet import Publisher, answers, model_bytes
from tests.support.proxy import Plan, Proxy

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

SIZE_BYTES = 4_000_000


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[nats.Node]]:
    try:
        with nats.cluster(tmp_path_factory.mktemp("nats")) as running:
            yield running
    except BrokerUnavailable as exc:
        if nats.binary() is not None:
            raise
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def publisher(nodes: list[nats.Node], tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """A release, published once, to the first node."""
    made = Publisher.make(
        tmp_path_factory.mktemp("repo") / "repo", nodes[0].url, prefix="t/v1", settings=Settings()
    )
    made.release("clf", "1", {"model.onnx": model_bytes(1, SIZE_BYTES)})
    made.publish("clf", "1")
    return made


def test_a_device_at_another_node_gets_what_was_published_at_the_first(
    publisher: Publisher, nodes: list[nats.Node], tmp_path: Path
) -> None:
    with Proxy((nodes[2].host, nodes[2].port)) as proxy:
        device = publisher.provision("cam-1", tmp_path / "cam-1", f"mqtt://127.0.0.1:{proxy.port}")
        assert device.run_once().state is State.COMMITTED
        # Each filter costs this broker half a second or more, so few were used:
        # the notice, the map, and one for all chunks; block by block it would be 16.
        assert proxy.counters.up_packets["SUBSCRIBE"] <= 5
    assert (device.answers() == answers(model_bytes(1, SIZE_BYTES))).all()


def test_a_node_killed_in_mid_transfer_loses_nothing(
    publisher: Publisher, nodes: list[nats.Node], tmp_path: Path
) -> None:
    """Last in this file: the cluster goes on with two nodes."""
    size_bytes = publisher.repo.offered_folder("clf").payloads()[0].payload.size_bytes
    with Proxy((nodes[1].host, nodes[1].port), Plan(stall_at_bytes=size_bytes // 4)) as proxy:
        first = f"mqtt://127.0.0.1:{proxy.port}"
        device = publisher.provision("cam-2", tmp_path / "cam-2", first, nodes[2].url, nodes[0].url)
        # While it takes a subscription, this broker answers no ping: for seconds, with a node down.
        device.change("keepalive_s = 5", "keepalive_s = 30")
        process = device.spawn("--once", "--timeout", "180")
        try:
            proxy.wait_for(lambda c: c.down_bytes >= size_bytes // 4)
            nodes[1].kill()
            proxy.resume()
            assert process.wait(200) == OK, process.stderr
        finally:
            if not process.ends_within(0):
                process.kill()
        # It moved on in the middle.
        assert size_bytes // 4 <= proxy.counters.down_bytes < size_bytes
    assert (device.answers() == answers(model_bytes(1, SIZE_BYTES))).all()
