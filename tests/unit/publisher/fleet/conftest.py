"""Fixtures of the fleet's tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_publisher.fleet.database.database import Database
from tests.support.fleet import Publisher, model_bytes
from tests.support.fleet_database import make_database
from tests.support.steering import SteeredFleet


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clf` 1 is offered to everyone, 2 is released."""
    publisher = Publisher.make(tmp_path_factory.mktemp("released") / "repo")
    for version in ("1", "2"):
        publisher.release("clf", version, {"model.onnx": model_bytes(int(version), 50_000)})
    publisher.repo.offer("clf", "1")
    return publisher.path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new database of a fleet, open."""
    with make_database(tmp_path / "fleet.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def steered_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clf` 1 is offered to everyone; 2, and 1 anew, are released."""
    publisher = Publisher.make(tmp_path_factory.mktemp("steered") / "repo")
    for version in ("1", "2"):
        publisher.release("clf", version, {"model.onnx": model_bytes(int(version), 50_000)})
    publisher.release("clf", "1.post1", same_as="1")
    publisher.repo.offer("clf", "1")
    return publisher.path


@pytest.fixture
def world(steered_repo: Path, tmp_path: Path) -> SteeredFleet:
    """A fleet that is steered, with releases to roll out."""
    shutil.copytree(steered_repo, tmp_path / "repo")
    return SteeredFleet(tmp_path / "repo")


@pytest.fixture(scope="module", autouse=True)
def _no_steps_of_databases(new_databases: None) -> None:
    """What is in a database is asked here, not how its tables are made."""
