"""What the engine is told at a look: devices, releases, the present offer, answers, the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from slotcast_publisher.fleet.rollout.group_progress import LOOK_MAX_S
from slotcast_publisher.fleet.rollout.observations import (
    Device,
    GateAnswer,
    HeldRelease,
    Now,
    Observations,
)
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord, way_back
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.rollout.stones import deltas_for
from slotcast_publisher.fleet.steering.local_time import offset_s
from slotcast_publisher.fleet.steering.rollout_files import Rollout
from slotcast_publisher.repository import Repository

BASES_MAX: Final = 6
"""The most releases that deltas are made from for a rollout, the most common first: an offer has
room for 16 payloads, and a base may take two."""
_TAKES_DELTAS: Final = frozenset(RolloutState) - {RolloutState.DRAFT, RolloutState.STOPPED}
"""The states in which deltas are made for what turns up."""


def time_of(plan: Plan, wall_s: float) -> Now:
    """Give the time, and what the plan's zone is ahead.

    Args:
        plan: of a rollout.
        wall_s: seconds since 1970.
    """
    return Now(int(wall_s), offset_s(plan.time_zone, wall_s))


def releases_of(repo: Repository, plan: Plan, versions: Sequence[str]) -> dict[str, HeldRelease]:
    """Give those releases that are here and signed, by version.

    Args:
        repo: the repository.
        plan: of a rollout.
        versions: that are asked for.
    """
    there = set(repo.store.versions(plan.model))
    return {
        version: HeldRelease(version, repo.store.folder(plan.model, version).load().sequence)
        for version in versions
        if version in there
        and repo.roles.of(plan.model).signed_release(plan.model, version) is not None
    }


def observe(
    repo: Repository,
    rollout: Rollout,
    devices: Sequence[Device],
    answers: Sequence[GateAnswer],
    *,
    is_prepared: bool,
    knows_since_s: int = 0,
    taken_over: str = "",
) -> Observations:
    """Put together what the engine is told.

    Args:
        repo: the repository.
        rollout: as it lies there.
        devices: from the database.
        answers: of gates.
        is_prepared: whether deltas are made.
        knows_since_s: when the database was made.
        taken_over: the rollout that has the place of this one.
    """
    plan = rollout.plan
    asked = [a.request.to for a in rollout.requests]
    back = [way_back(plan, rollout.record), *asked]
    versions = [*plan.versions, *(version for version in back if version)]
    return Observations(
        devices=devices,
        releases=releases_of(repo, plan, versions),
        offer=repo.present_offer(plan.model),
        answers=answers,
        is_prepared=is_prepared,
        knows_since_s=knows_since_s,
        taken_over_by=taken_over,
    )


def has_heard_devices(plan: Plan, record: RolloutRecord, seen: Observations, now: Now) -> bool:
    """Whether devices were listened to for long enough that what they run can be known.

    Args:
        plan: of the rollout.
        record: of the rollout.
        seen: what is known.
        now: the time.
    """
    is_watched = record.looked_s > 0 and 0 <= now.wall_s - record.looked_s <= LOOK_MAX_S
    since_s = seen.listening_since_s(record.listening_since_s, now.wall_s)
    return is_watched and now.wall_s - since_s >= plan.listen_s


def bases_of(
    repo: Repository, plan: Plan, record: RolloutRecord, seen: Observations
) -> tuple[list[str], Mapping[int, int]]:
    """Say which releases deltas should start from, the most common first, and who runs what.

    Args:
        repo: the repository.
        plan: of the rollout.
        record: where it stands.
        seen: the devices, and the release that is rolled out.

    Returns:
        Versions of this repository; and how many devices run each sequence.
    """
    version = plan.versions[record.leg]
    if record.state not in _TAKES_DELTAS or record.going_back or version not in seen.releases:
        return [], Counter()
    counts = dict(deltas_for(plan, record, seen).bases)
    folders = {f.load().sequence: f.path.name for f in repo.store.releases(plan.model)}
    return [folders[s] for s in counts if s in folders][:BASES_MAX], counts
