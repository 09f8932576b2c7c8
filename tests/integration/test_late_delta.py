"""A device that turns up when its group is open waits for the delta that is made for it then."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
from slotcast_publisher.fleet.fleet_service import open_fleet
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_schemas.states import State
from tests.support import models
from tests.support.brokers import Broker
from tests.support.fleet import Observer, Publisher
from tests.support.fleet_database import rows_of
from tests.support.fleet_fixtures import new_prefix
from tests.support.serving import Served, serving

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
PLAN = b"""
model = "clf"
version = "2.0"
name = "r1"
listen_s = 1
soak_s = 1
delta_wait_s = 240
[[groups]]
name = "everyone"
"""


def model_of(number: int) -> bytes:
    return models.classifier(hidden=256, drift=0.01 * number)


def test_a_late_device_is_spared_the_whole_image(broker: Broker, tmp_path: Path) -> None:
    publisher = Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())
    publisher.release("clf", "1.0", {"model.onnx": model_of(1)})
    publisher.publish("clf", "1.0")
    device = publisher.provision("cam-1", tmp_path / "device")
    assert device.run_once().state is State.COMMITTED
    with Observer(broker.url, publisher.topics, "nobody") as forgets:
        for what in ("status", "presence"):
            forgets.put(publisher.topics.device("cam-1", what), b"")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        image_bytes = publisher.release("clf", "2.0", {"model.onnx": model_of(2)}).image_size_bytes
        requests.start(RolloutFiles(publisher.path), PLAN, "plan.toml", "ada")
        served = Served()
        with (
            open_fleet(
                publisher.repo.again(), None, publisher.repo.settings.brokers, served.say
            ) as fleet,
            serving(publisher.path, companion=fleet, served=served),
        ):
            served.wait_for("signed", rollout="r1")
            offer = publisher.repo.again().present_offer("clf")
            assert offer is not None
            (whole,) = offer.payloads
            assert (offer.delta_wait_s, whole.base) == (240, None)
            with device.running():
                observer.wait_for_reason("clf", "awaits_delta")
                served.wait_for("delta_made", base="1.0")
                status = observer.wait_for_state("clf", State.COMMITTED, "2.0")
                assert status.active is not None
                assert status.active.version == "2.0"
                served.wait_for("rollout", rollout="r1", word="passed")
        with open_database(publisher.path / FILE_NAME) as database:
            (row,) = rows_of(database, tables.device_models)
    assert row.saved_bytes > image_bytes - whole.size_bytes, "it fetched less, and that is counted"
