"""Fixtures of the integration tests."""

from tests.support.fleet_fixtures import catalogue, publisher
from tests.support.installing import archive, stand

__all__ = ["archive", "catalogue", "publisher", "stand"]
