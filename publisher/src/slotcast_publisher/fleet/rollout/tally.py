"""Counts the devices of each group: who was let in, who ended how, who is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from slotcast_publisher.fleet.figures.shares import Share
from slotcast_publisher.fleet.rollout.observations import (
    SETTLED,
    Device,
    DeviceOutcome,
    Observations,
)
from slotcast_publisher.fleet.rollout.offers import Membership, rank
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord


@dataclass(slots=True)
class GroupTally:
    """One group, counted.

    Attributes:
        members: all devices that are known to belong to it.
        let_in: those of them that may begin.
        outside: reachable ones that may not yet: their place in the group and their id, in order.
        outcomes: of the reachable ones that were let in.
        unseen: let in, not ended, and not heard of for the plan's `unseen_s`; they hold nothing up.
        reasons: of the failed ones.
    """

    members: int = 0
    let_in: list[Device] = field(default_factory=list)
    outside: list[tuple[float, str]] = field(default_factory=list)
    outcomes: Counter[DeviceOutcome] = field(default_factory=Counter)
    unseen: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def reachable(self) -> int:
        """Devices that were let in and count."""
        return self.outcomes.total()

    @property
    def succeeded(self) -> int:
        """Devices that have committed."""
        return self.outcomes[DeviceOutcome.SUCCEEDED]

    @property
    def failed(self) -> Share:
        """Failed ones, of those that ended."""
        failed = self.outcomes[DeviceOutcome.FAILED]
        return Share(failed, failed + self.succeeded)

    @property
    def under_way(self) -> int:
        """Devices that are at it, or may begin at any moment."""
        return self.outcomes[DeviceOutcome.UNDER_WAY] + self.outcomes[DeviceOutcome.EXPECTED]


def count(
    plan: Plan, record: RolloutRecord, seen: Observations, wall_s: int
) -> tuple[GroupTally, ...]:
    """Count each group of the plan, in its order.

    Args:
        plan: of the rollout.
        record: where it stands.
        seen: the devices.
        wall_s: the time, seconds since 1970.
    """
    tallies = tuple(GroupTally() for _ in plan.groups)
    release = seen.releases.get(plan.versions[record.leg])
    behind = frozenset(record.behind)
    groups = Membership(plan, record)
    for device in seen.devices:
        index = groups.index(device)
        if index is None or release is None or device.id in behind:
            continue
        tally = tallies[index]
        tally.members += 1
        outcome = device.outcome(release.sequence, record.deployment)
        is_gone = age_s(device, record, wall_s) >= plan.unseen_s and outcome not in SETTLED
        if groups.is_let_in(index, device):
            tally.let_in.append(device)
            tally.unseen += is_gone
            if not is_gone:
                tally.outcomes[outcome] += 1
            if outcome is DeviceOutcome.FAILED and device.status is not None:
                tally.reasons[device.status.reason] += 1
        elif not is_gone and outcome not in SETTLED:
            tally.outside.append((rank(plan, plan.groups[index], device), device.id))
    for tally in tallies:
        tally.outside.sort()
    return tallies


def age_s(device: Device, record: RolloutRecord, wall_s: int) -> int:
    """Give for how long a device was silent while this software listened.

    Args:
        device: any.
        record: knows since when there was no gap in listening.
        wall_s: the time, seconds since 1970.
    """
    is_of_now = device.seen_s <= wall_s  # if not, the clock was set back, and listening began anew
    seen_s = device.seen_s if is_of_now else 0
    return max(0, wall_s - max(seen_s, record.listening_since_s))


def failures(tallies: Sequence[GroupTally]) -> int:
    """Count failed devices in all groups."""
    return sum(tally.outcomes[DeviceOutcome.FAILED] for tally in tallies)
