"""Stepping stones: what devices run, and which of them miss a release on the way.

A notice carries one offer, so a device cannot be told "first this, then that". The rollout does it
instead: each stone is rolled out to all groups before the next release is offered, and a device
that is known to miss one is held back by its id (docs/adr/0102).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from slotcast_publisher.fleet.rollout.look_results import PrepareDeltas
from slotcast_publisher.fleet.rollout.observations import DeviceOutcome, Observations
from slotcast_publisher.fleet.rollout.offers import BEHIND_MAX, Membership
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import RolloutState

BEHIND_MAX_BYTES: Final = 16 * 1024
"""The most bytes of an offer that ids of devices held back take: a quarter of it."""
_ID_HEAD_BYTES: Final = 2
"""What msgpack puts before a text of up to 255 bytes."""


def deltas_for(plan: Plan, record: RolloutRecord, seen: Observations) -> PrepareDeltas:
    """Say from which releases deltas are needed: those that the groups' devices run.

    Args:
        plan: of the rollout.
        record: where it stands.
        seen: the devices, and the release that is rolled out.
    """
    version = plan.versions[record.leg]
    target = seen.releases[version].sequence
    groups = Membership(plan, record)
    bases = Counter(
        device.runs
        for device in seen.devices
        if 0 < device.runs < target and groups.index(device) is not None
    )
    return PrepareDeltas(version, tuple(bases.most_common()))


def behind_of(plan: Plan, record: RolloutRecord, seen: Observations, leg: int) -> set[str]:
    """Give the devices that have a release, and have not committed that of a leg.

    Args:
        plan: of the rollout.
        record: where it stands.
        seen: the devices.
        leg: which of the plan's releases.
    """
    release = seen.releases.get(plan.versions[leg])
    if release is None:
        return set()
    groups = Membership(plan, record)
    return {
        device.id
        for device in seen.devices
        if device.runs > 0
        and not device.has_committed(release.sequence)
        and groups.index(device) is not None
    }


def more_behind(plan: Plan, record: RolloutRecord, seen: Observations) -> Sequence[str]:
    """Give the devices that turned up without the stone before, unless they are at it already.

    Args:
        plan: of the rollout.
        record: where it stands; knows those that are held back.
        seen: the devices.
    """
    release = seen.releases.get(plan.versions[record.leg])
    if not record.leg or record.state is not RolloutState.RUNNING or release is None:
        return []
    missing = behind_of(plan, record, seen, record.leg - 1) - set(record.behind)
    found = [
        device.id
        for device in seen.devices
        if device.id in missing
        and device.outcome(release.sequence, record.deployment) is DeviceOutcome.EXPECTED
    ]
    return room_behind([*record.behind, *sorted(found)])[len(record.behind) :]


def room_behind(ids: Sequence[str]) -> Sequence[str]:
    """Give as many of these devices as an offer has room for, from the first on."""
    ends = accumulate(len(name) + _ID_HEAD_BYTES for name in ids)
    fits = sum(end <= BEHIND_MAX_BYTES for end in ends)
    return ids[: min(fits, BEHIND_MAX)]
