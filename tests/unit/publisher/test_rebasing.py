"""`release --rebase`: a far smaller delta, a model near enough, and never silent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slotcast_publisher.release.build import Released
from slotcast_publisher.release.rebase.search import NotRebasable
from slotcast_publisher.release.rebase.wanted import RebaseWanted
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Settings
from slotcast_schemas.errors import UsageError
from tests.support import models


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository.init(tmp_path / "repo", Settings(), encrypted=False)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npz"
    np.savez(path, x=models.inputs())
    return path


def release(
    repo: Repository,
    tmp_path: Path,
    version: str,
    data: bytes,
    samples: Path | None,
    wanted: RebaseWanted | None = None,
) -> Released:
    file = tmp_path / "model.onnx"
    file.write_bytes(data)
    return repo.build_release(
        ReleaseRequest(model="clf", version=version, files=(file,), samples=samples, rebase=wanted)
    )


def trained_on() -> bytes:
    """Give the first model with every weight moved, as by more training."""
    return models.classifier(1, hidden=1024, drift=1e-3)


def delta_bytes(done: Released) -> int:
    return min(r.payload.size_bytes for r in done.payloads if r.payload.base is not None)


def test_the_delta_is_a_fraction_and_the_release_says_what_it_is(
    repo: Repository, tmp_path: Path, samples: Path
) -> None:
    release(repo, tmp_path, "1.0", models.classifier(1, hidden=1024), samples)
    plain = release(repo, tmp_path, "2.0", trained_on(), samples)
    done = release(
        repo, tmp_path, "3.0", trained_on(), samples, RebaseWanted(at_least=0.999, base="1.0")
    )
    assert plain.release.rebased is None
    said = done.release.rebased
    assert said is not None
    assert said.measure == "mean_cosine"
    assert 0.999 <= said.distance <= 1.0
    assert done.release.files[0].sha256 != plain.release.files[0].sha256
    assert delta_bytes(done) < delta_bytes(plain) / 2


def test_the_same_request_again_changes_nothing(
    repo: Repository, tmp_path: Path, samples: Path
) -> None:
    release(repo, tmp_path, "1.0", models.classifier(1, hidden=1024), samples)
    wanted = RebaseWanted(at_least=0.999)
    first = release(repo, tmp_path, "2.0", trained_on(), samples, wanted)
    again = release(repo, tmp_path, "2.0", trained_on(), samples, wanted)
    assert not again.is_new
    assert again.release == first.release


def test_a_measure_that_no_step_keeps_is_refused(
    repo: Repository, tmp_path: Path, samples: Path
) -> None:
    release(repo, tmp_path, "1.0", models.classifier(1, hidden=1024), samples)
    with pytest.raises(NotRebasable):
        release(
            repo,
            tmp_path,
            "2.0",
            models.classifier(9, hidden=1024),
            samples,
            RebaseWanted(at_least=1.0),
        )
    assert repo.store.versions("clf") == ["1.0"]


def test_without_samples_or_a_base_it_is_refused_with_what_is_missing(
    repo: Repository, tmp_path: Path, samples: Path
) -> None:
    with pytest.raises(UsageError, match="an earlier release"):
        release(repo, tmp_path, "1.0", trained_on(), samples, RebaseWanted())
    with pytest.raises(UsageError, match="--samples"):
        release(repo, tmp_path, "1.0", trained_on(), None, RebaseWanted())
