"""Fixtures of the security tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_schemas.states import State
from tests.support.fleet import Device, Publisher
from tests.support.fleet_fixtures import catalogue, observer, publisher

__all__ = ["catalogue", "observer", "publisher"]


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path) -> Device:
    """A device that runs v1."""
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    publisher.publish("clf", "1")
    assert device.run_once().state is State.COMMITTED
    return device


@pytest.fixture(scope="module", autouse=True)
def _no_steps_of_databases(new_databases: None) -> None:
    """What is in a database is asked here, not how its tables are made."""
