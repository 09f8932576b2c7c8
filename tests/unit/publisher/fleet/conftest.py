"""Fixtures of the fleet's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fleet import Publisher, model_bytes


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clf` 1 is offered to everyone, 2 is released."""
    publisher = Publisher.make(tmp_path_factory.mktemp("released") / "repo")
    for version in ("1", "2"):
        publisher.release("clf", version, {"model.onnx": model_bytes(int(version), 50_000)})
    publisher.repo.offer("clf", "1")
    return publisher.path
