"""Fixtures of the integration tests."""

from tests.support.fleet_fixtures import catalogue, observer, publisher, short_looks
from tests.support.installing import archive, stand

__all__ = ["archive", "catalogue", "observer", "publisher", "short_looks", "stand"]
