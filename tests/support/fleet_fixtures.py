"""Fixtures for tests with a publisher and devices; import them in a folder's conftest.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from slotcast_device.core.waits import Waits
from slotcast_schemas.messages.offer import Payload
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Publisher, answers, model_bytes
from tests.support.proxy import Proxy

SHORT_LOOKS: Final = Waits(watch_every_s=0.2, watch_again_s=0.1)
"""A trial is looked at often."""
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """A repository with `clf` 1, 2 and 3 (1 MB each, all different), released and not published."""
    publisher = Publisher.make(tmp_path_factory.mktemp("catalogue") / "repo")
    for number in (1, 2, 3):
        publisher.release("clf", str(number), {"model.onnx": model_bytes(number)})
    return publisher


@pytest.fixture
def publisher(catalogue: Publisher, broker: Broker, tmp_path: Path) -> Publisher:
    """A copy of the catalogue with topics of its own at the development broker."""
    return catalogue.copy(tmp_path / "repo", broker.url, prefix=new_prefix())


@pytest.fixture
def observer(publisher: Publisher, broker: Broker) -> Iterator[Observer]:
    """Reads the topics of the device `cam-1` at the broker."""
    with Observer(broker.url, publisher.topics, "cam-1") as running:
        yield running


def new_prefix() -> str:
    """Give topics that no other test uses."""
    return f"t{next(_NUMBERS)}"


def behind(proxy: Proxy, publisher: Publisher, folder: Path) -> Device:
    """Provision a device that reaches the broker only through the proxy."""
    return publisher.provision("cam-1", folder, f"mqtt://127.0.0.1:{proxy.port}")


def serves(device: Device, number: int) -> bool:
    """Whether what `current` opens answers exactly as the model of that number does."""
    return np.array_equal(device.answers(), answers(model_bytes(number)))


def payload_of(publisher: Publisher) -> Payload:
    """Give the first payload of what is offered of `clf`."""
    offer = publisher.repo.present_offer("clf")
    assert offer is not None
    return offer.payloads[0]
