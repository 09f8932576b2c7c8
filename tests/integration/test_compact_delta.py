"""A small change comes as a compact delta, to who can read it; to others as one they know."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from slotcast_device.core import payload_choice
from slotcast_publisher.release.delta_payloads import all_builders
from slotcast_schemas.states import State
from tests.support.brokers import Broker
from tests.support.fleet import Observer, Publisher, model_bytes

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
BEFORE = model_bytes(1, 1 << 18)


def _two_rows_swapped() -> bytes:
    model = onnx.load_from_string(BEFORE)
    weights = max(model.graph.initializer, key=lambda each: each.ByteSize())
    array = numpy_helper.to_array(weights)
    order = np.arange(len(array))
    order[[2, 5]] = 5, 2
    weights.CopyFrom(numpy_helper.from_array(array[order], weights.name))
    data: bytes = model.SerializeToString()
    return data


AFTER = _two_rows_swapped()


@pytest.fixture
def sizes(publisher: Publisher) -> Mapping[str, int]:
    """Two releases, and the sizes of the deltas to the second, by their codecs."""
    for version, data in (("1", BEFORE), ("2", AFTER)):
        publisher.release("rows", version, {"model.onnx": data}, builders=all_builders())
    records = publisher.repo.store.folder("rows", "2").payloads()
    return {each.payload.codec: each.payload.size_bytes for each in records if each.payload.base}


@pytest.mark.parametrize("known", ["delta+v3", "delta+v1"])
def test_two_rows_that_changed_places_come_in_the_form_that_the_device_knows(
    publisher: Publisher,
    sizes: Mapping[str, int],
    broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: str,
) -> None:
    assert sizes["delta+v3"] < 60 < sizes["delta+v1"]
    if known == "delta+v1":  # a device of before
        monkeypatch.setattr(payload_choice, "DELTA_CODECS", frozenset({known}))
    device = publisher.provision("cam-1", tmp_path / "cam-1", models=["rows"])
    publisher.publish("rows", "1")
    assert device.run_once().state is State.COMMITTED
    publisher.publish("rows", "2")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        assert device.run_once().state is State.COMMITTED
        observer.wait_for_state("rows", State.COMMITTED, "2")
        said = [each.progress for each in observer.of("rows") if each.progress is not None]
    assert {(each.codec, each.size_bytes) for each in said} >= {(known, sizes[known])}
    assert device.current("rows").read_bytes() == AFTER
