"""Repositories with three root keys, or whose models share roles as before, and what they sign."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole

from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_schemas.trust import release_paths, release_role
from tests.support.models import classifier


def make_repository(folder: Path) -> Path:
    """Make a repository whose root two of three keys sign, with a model that is offered."""
    (folder / "model.onnx").write_bytes(classifier())
    repo = Repository.init(folder / "repo", root_keys=3, root_threshold=2)
    repo.build_release(ReleaseRequest(model="clf", version="1.0", files=(folder / "model.onnx",)))
    repo.offer("clf", "1.0")
    return repo.path


def new_key(repo: Repository) -> Callable[[str], Key]:
    """Give what makes keys without a passphrase, by their names."""
    return lambda name: repo.ring.generate(name, encrypted=False)


def signed_files(repo: Repository) -> dict[str, bytes]:
    """Give every file of signed metadata, by its path in the repository."""
    files = (path for path in (repo.path / "metadata").rglob("*") if path.is_file())
    return {str(path.relative_to(repo.path)): path.read_bytes() for path in files}


def share_roles(repo: Repository, *models: str) -> None:
    """Have models share one set of roles, as the repositories of before do for all models."""
    shared = repo.roles.shared
    top = shared.targets()
    assert top.signed.delegations is not None
    for model in models:
        name = release_role(model)
        role = DelegatedRole(name, [], 1, terminating=True, paths=list(release_paths(model)))
        top.signed.delegations.roles = {**(top.signed.delegations.roles or {}), name: role}
        top.signed.add_key(repo.ring.generate(name, encrypted=False), name)
    shared.sign_next("targets", top)


class RememberingFleet:
    """Devices that remember what they saw of each model, as TUF has them do."""

    def __init__(self, folder: Path, root: bytes) -> None:
        self._folder = folder
        self._root = root

    def hear(self, model: str, notice: bytes) -> str:
        """Give the version that a notice asks them to run, if they believe it."""
        store = self._folder / model
        store.mkdir(parents=True, exist_ok=True)
        return verify_notice(notice, self._root, store=store).release.version
