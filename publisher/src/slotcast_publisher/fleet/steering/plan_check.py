"""Whether a plan can be started as things are, and how many devices are in each of its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.rollout.observations import Device
from slotcast_publisher.fleet.rollout.offers import Membership
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import new_record
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.repository import Repository


def problems_of(repo: Repository, plan: Plan) -> Iterator[str]:
    """Say what keeps a plan from being started, but for its name.

    Args:
        repo: the repository.
        plan: that is to be started.
    """
    for version in filter(None, (*plan.versions, plan.go_back_to)):
        try:
            repo.store.folder(plan.model, version)
        except NotFound as exc:
            yield str(exc)
            continue
        if repo.roles.of(plan.model).signed_release(plan.model, version) is None:
            yield f"{plan.model} {version} is not signed: run `slotcast release` again"


def problem_of_name(repo: Repository, plan: Plan) -> str | None:
    """Say that a rollout of this name is there; None if not, or if this very plan was refused.

    Args:
        repo: the repository.
        plan: that is to be started.
    """
    files = RolloutFiles(repo.path)
    if plan.name not in files.names():
        return None
    if files.load(plan.name).plan != plan or not files.is_never_started(plan.name):
        return f"name: a rollout named {plan.name!r} was started already; choose another"
    return None


def group_sizes(plan: Plan, devices: Sequence[Device]) -> list[int]:
    """Count the devices of each group.

    Args:
        plan: whose groups.
        devices: those that are known; their figures do not matter.
    """
    groups = Membership(plan, new_record(plan))
    found = [groups.index(device) for device in devices]
    return [found.count(number) for number in range(len(plan.groups))]
