"""Fixtures of the crash tests."""

from tests.support.fleet_fixtures import catalogue, publisher

__all__ = ["catalogue", "publisher"]
