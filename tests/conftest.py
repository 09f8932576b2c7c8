"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.brokers import Broker, mosquitto


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
