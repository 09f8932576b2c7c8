"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.brokers import Broker, mosquitto

# A busy machine is no failure: no test has a time to meet.
settings.register_profile("slotcast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slotcast")


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A Mosquitto with the development configuration, shared: use topics of your own."""
    with mosquitto("development") as running:
        yield running


@pytest.fixture(scope="session")
def production_broker() -> Iterator[Broker]:
    """A Mosquitto with the production configuration (TLS, ACL, limits), shared."""
    with mosquitto("production") as running:
        yield running
