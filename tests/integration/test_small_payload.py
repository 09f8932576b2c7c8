"""Two whole images in one offer: a device takes the one that is there sooner, and says which."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from slotcast_publisher.release.weights_builder import WeightsBuilder
from slotcast_schemas.states import State
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Publisher, model_bytes
from tests.support.packed_once import PackedOnce
from tests.support.proxy import Plan, Proxy

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
SIZE_BYTES = 1 << 19
LABELS = random.Random(1).randbytes(200_000)


@pytest.fixture
def both(publisher: Publisher) -> Publisher:
    """Two releases that are offered easy and small, with a file that stays."""
    for number in (1, 2):
        files = {"model.onnx": model_bytes(number, SIZE_BYTES), "labels/names.bin": LABELS}
        publisher.release("multi", str(number), files, builders=(PackedOnce(), WeightsBuilder()))
    return publisher


def test_the_small_one_comes_over_a_link_that_is_cut_and_the_device_says_so(
    both: Publisher, broker: Broker, tmp_path: Path
) -> None:
    with (
        Proxy((broker.host, broker.port), Plan(down_bits_per_s=2_000_000)) as proxy,
        Observer(broker.url, both.topics, "cam-1") as observer,
    ):
        url = f"mqtt://127.0.0.1:{proxy.port}"
        device = both.provision("cam-1", tmp_path / "cam-1", url, models=["multi"])
        both.publish("multi", "1")
        with device.running():
            proxy.wait_for(lambda c: c.down_bytes > 150_000)
            proxy.sever()
            status = observer.wait_for_state("multi", State.COMMITTED, "1")
        said = [each for each in observer.of("multi") if each.progress is not None]
    assert status.active is not None
    assert {each.progress.codec for each in said if each.progress} == {"full+weights"}
    assert any(each.detail == "full+weights: the fewest bytes" for each in said)
    assert device.current("multi").read_bytes() == model_bytes(1, SIZE_BYTES)
    assert device.current("multi", "labels/names.bin").read_bytes() == LABELS


def test_of_the_small_one_too_only_files_that_changed_are_fetched(
    both: Publisher, broker: Broker, tmp_path: Path
) -> None:
    device = both.provision("cam-1", tmp_path / "cam-1", models=["multi"])
    both.publish("multi", "1")
    assert device.run_once().state is State.COMMITTED
    assert remembered(device)["link_bytes_per_s"] > 0
    # As if the link had turned out slow: the small one is then the sooner one for certain.
    remember(device, link_bytes_per_s=20_000)
    both.publish("multi", "2")
    with Observer(broker.url, both.topics, "cam-1") as observer:
        assert device.run_once().state is State.COMMITTED
        observer.wait_for_state("multi", State.COMMITTED, "2")
        said = [
            each.progress
            for each in observer.of("multi")
            if each.progress is not None and each.target is not None and each.target.sequence > 1
        ]
    assert {each.codec for each in said} == {"full+weights"}
    assert max(each.size_bytes for each in said) < 0.9 * len(model_bytes(2, SIZE_BYTES))
    assert device.current("multi").read_bytes() == model_bytes(2, SIZE_BYTES)
    assert device.current("multi", "labels/names.bin").read_bytes() == LABELS


def state_file(device: Device) -> Path:
    (path,) = device.config.state_dir.glob("models/multi/state.json")
    return path


def remembered(device: Device) -> dict[str, int]:
    found: dict[str, int] = json.loads(state_file(device).read_bytes())
    return found


def remember(device: Device, **fields: int) -> None:
    state_file(device).write_text(json.dumps({**remembered(device), **fields}))
