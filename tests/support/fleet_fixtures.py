"""Fixtures for tests with a publisher and devices; import them in a folder's conftest.py."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.support.brokers import Broker
from tests.support.fleet import Publisher, model_bytes

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


def new_prefix() -> str:
    """Give topics that no other test uses."""
    return f"t{next(_NUMBERS)}"
