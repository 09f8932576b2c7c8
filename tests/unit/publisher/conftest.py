"""A repository with one release, made once and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Settings
from tests.support import models


@pytest.fixture(scope="module", autouse=True)
def _no_imports_in_children(quick_probes: None) -> None:
    """What a release and a probe say of a model is asked here, not how their children start."""


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(models.classifier(hidden=512))
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    path = tmp_path_factory.mktemp("finished") / "repo"
    repo = Repository.init(path, Settings(chunk_size_bytes=4096))
    repo.build_release(ReleaseRequest(model="clf", version="1.0", files=(model_file,)))
    return path


@pytest.fixture
def repo(finished: Path, tmp_path: Path) -> Repository:
    shutil.copytree(finished, tmp_path / "repo")
    return Repository(tmp_path / "repo")
