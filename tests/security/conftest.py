"""Fixtures of the security tests."""

from tests.support.fleet_fixtures import catalogue, observer, publisher, short_looks

__all__ = ["catalogue", "observer", "publisher", "short_looks"]
