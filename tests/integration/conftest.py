"""Fixtures of the integration tests."""

import pytest

from tests.support.fleet_fixtures import catalogue, observer, publisher
from tests.support.installing import archive, stand

__all__ = ["archive", "catalogue", "observer", "publisher", "stand"]


@pytest.fixture(scope="module", autouse=True)
def _no_imports_in_children(quick_probes: None) -> None:
    """What a release and a probe say of a model is asked here, not how their children start."""


@pytest.fixture(scope="module", autouse=True)
def _no_steps_of_databases(new_databases: None) -> None:
    """What is in a database is asked here, not how its tables are made."""
