"""Whatever is done to a repository, in any order: devices follow, and other models are left alone.

Devices are TUF's own client with what it remembers, one a model, and never miss a thing, so any
version that went back, or name that was lost, is refused.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_publisher.trust.notice_proof import verify_notice
from tests.support.many_models import not_durable
from tests.support.models import classifier
from tests.support.role_sets import share_roles

pytestmark = pytest.mark.usefixtures("quick_probes")

SHARED = ("a", "b")
OWN = ("new",)
OF_ONE = ("release", "withdraw")
OF_ALL = ("refresh", "separate", "rotate targets", "rotate online", "rotate root")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(OF_ONE), st.sampled_from(SHARED + OWN)),
        st.tuples(st.sampled_from(OF_ALL), st.just("")),
    ),
    min_size=3,
    max_size=8,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An old repository of two models that share roles, and one that has its own."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "model.onnx").write_bytes(classifier(hidden=8))
    repo = Repository.init(folder / "repo")
    share_roles(repo, *SHARED)
    for model in SHARED + OWN:
        release(repo, model, "1", folder / "model.onnx")
        repo.offer(model, "1")
    return repo.path


def release(repo: Repository, model: str, version: str, file: Path | None = None) -> None:
    files = () if file is None else (file,)
    same_as = "1" if file is None else None
    repo.build_release(
        ReleaseRequest(model=model, version=version, files=files, same_as=same_as, is_probed=False)
    )


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_devices_follow_and_other_models_are_left_alone(
    start: Path, steps: list[tuple[str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder, not_durable():
        shutil.copytree(start, Path(folder) / "repo")
        repo, root = Repository(Path(folder) / "repo"), Repository(start).roles.root_bytes(1)
        runs = dict.fromkeys(SHARED + OWN, 1)
        seen = {model: Path(folder) / "seen" / model for model in runs}
        for store in seen.values():
            store.mkdir(parents=True)
        for what, model in steps:
            before = {m: repo.build_notice(m) for m in runs}
            if what == "release":
                runs[model] += 1
            carry_out(repo, what, model, runs)
            others = set(runs) - {model} if model else set()
            for name, store in seen.items():
                notice = repo.build_notice(name)
                assert verify_notice(notice, root, store=store).release.version == str(runs[name])
                if name in others and repo.roles.of(model) is not repo.roles.of(name):
                    assert notice == before[name]


def carry_out(repo: Repository, what: str, model: str, runs: dict[str, int]) -> None:
    if what == "release":
        release(repo, model, str(runs[model]))
        repo.offer(model, str(runs[model]))
    elif what == "withdraw":
        repo.withdraw(model)
    elif what == "refresh":
        repo.refresh()
    elif what == "separate":
        repo.separate()
    elif what == "rotate root":
        rotate_keys(repo.roles, "root", lambda name: repo.ring.generate(name, encrypted=False))
    else:
        role = what.removeprefix("rotate ")
        rotate_keys(repo.roles, role, lambda name: repo.ring.generate(name, encrypted=False))
