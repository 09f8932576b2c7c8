"""Fixtures of the security tests."""

from tests.support.fleet_fixtures import catalogue, observer, publisher

__all__ = ["catalogue", "observer", "publisher"]
