"""Makes the release that a fleet goes back to: the old content, under a sequence that devices take.

A device refuses what is below its floor, so going back is a new release with the old files. Where
the old slot still holds them, that costs no download.
"""

from __future__ import annotations

from typing import Final

from packaging.version import Version

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository

_TRIES: Final = 1000
"""The number of versions that are tried until one is free."""


def version_to_go_back_to(repo: Repository, plan: Plan) -> str:
    """Say what devices ran before a rollout: the newest release before it that was offered.

    Args:
        repo: the repository.
        plan: of the rollout.

    Raises:
        NotFound: there was none before it.
    """
    own = [repo.store.folder(plan.model, v).load().sequence for v in plan.versions]
    before = [f for f in repo.store.releases(plan.model) if f.load().sequence < min(own)]
    offered = [folder for folder in before if folder.is_held] or before
    if not offered:
        raise NotFound(f"{plan.model} has no release before {plan.versions[0]} to go back to")
    return offered[-1].load().version


def post_version(taken: set[str], old: str) -> str:
    """Give a version for old content that nobody has used: `1.0` becomes `1.0.post1`.

    Args:
        taken: the versions that there are.
        old: the version of the old content.
    """
    found = Version(old)
    epoch = f"{found.epoch}!" if found.epoch else ""
    pre = "".join(map(str, found.pre)) if found.pre else ""
    head = f"{epoch}{'.'.join(map(str, found.release))}{pre}"
    first = (found.post or 0) + 1
    names = (f"{head}.post{number}" for number in range(first, first + _TRIES))
    return next(name for name in names if name not in taken)


def release_way_back(repo: Repository, plan: Plan) -> str:
    """Release the old content anew, and give its version; needs the model's release key.

    Args:
        repo: the repository.
        plan: of the rollout.

    Raises:
        NotFound: there is nothing to go back to.
        KeyUnavailable: the release key cannot be used from here.
    """
    old = version_to_go_back_to(repo, plan)
    version = post_version(set(repo.store.versions(plan.model)), old)
    repo.build_release(ReleaseRequest(model=plan.model, version=version, same_as=old))
    return version
