"""Repositories as they were before each model had roles of its own, and what is signed in one."""

from __future__ import annotations

from tuf.api.metadata import DelegatedRole

from slotcast_publisher.repository import Repository
from slotcast_schemas.trust import release_paths, release_role


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
