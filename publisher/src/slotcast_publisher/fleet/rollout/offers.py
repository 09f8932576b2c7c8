"""From a rollout to the offer that says it, and back: who is let in, by the device's own rule.

A group of the plan is one group of the offer, or two while it is let in by steps: the part that may
begin, and behind it, paused, the whole group, which the rest of its devices match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from slotcast_publisher.fleet.rollout.observations import Device, HeldRelease
from slotcast_publisher.fleet.rollout.plan import Plan, PlanGroup
from slotcast_publisher.fleet.rollout.record import RolloutRecord, way_back
from slotcast_publisher.fleet.rollout.state_table import OPENED, RolloutState
from slotcast_schemas import wire
from slotcast_schemas.groups import matches, place
from slotcast_schemas.limits import GROUP_IDS_MAX
from slotcast_schemas.messages.offer import Group, Offer, Progress

BEHIND: Final = "behind"
"""The offer's group of devices that miss a stepping stone; no group of a plan can hide it, since
it comes first."""
BEHIND_MAX: Final = GROUP_IDS_MAX
"""How many devices can be held back by their ids."""
PERCENT_DIGITS: Final = 6
"""The decimals of a group's percent, so that it can be read back from an offer."""
_PART_DIGITS: Final = 12
"""The decimals of the offer's percent: enough to tell apart such percents of 0.001 percent."""
_SILENT: Final = frozenset({RolloutState.DRAFT, RolloutState.PREPARING, RolloutState.READY})
"""The states in which nothing of the rollout has been offered."""


class WantedOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What shall be offered; the shell adds the payloads that there are, and signs."""

    version: str
    sequence: int
    state: Progress
    groups: tuple[Group, ...]
    deployment: str
    attempt: int
    jitter_s: int


def fingerprint(offer: Offer | None) -> str:
    """Tell one signed offer from another; empty for none."""
    return "" if offer is None else hashlib.sha256(wire.encode(offer)).hexdigest()


def says(offer: Offer, wanted: WantedOffer) -> bool:
    """Whether a signed offer says what is wanted, whatever payloads it has."""
    return all(
        getattr(offer, name) == getattr(wanted, name) for name in WantedOffer.__struct_fields__
    )


def wanted_offer(
    plan: Plan, record: RolloutRecord, releases: Mapping[str, HeldRelease]
) -> WantedOffer | None:
    """Give what the record asks to be offered; None where it asks for nothing.

    Args:
        plan: of the rollout.
        record: where it stands.
        releases: what the repository holds, by version.
    """
    version = way_back(plan, record) if record.going_back else plan.versions[record.leg]
    release = releases.get(version or "")
    if release is None or record.state in _SILENT or not any_opened(record):
        return None
    deployment = f"{record.name}.back" if record.going_back else record.deployment
    return WantedOffer(
        version=release.version,
        sequence=release.sequence,
        state=_state(record),
        groups=_back_groups(plan, record) if record.going_back else _groups(plan, record),
        deployment=deployment,
        attempt=record.attempt,
        jitter_s=plan.jitter_s,
    )


def any_opened(record: RolloutRecord) -> bool:
    """Whether a device was let in."""
    return record.leg > 0 or any(group.state in OPENED for group in record.groups)


def _state(record: RolloutRecord) -> Progress:
    if record.state is RolloutState.PAUSED:
        return "paused"
    is_canceled = record.state is RolloutState.STOPPED and not record.going_back
    return "canceled" if is_canceled else "active"


def _groups(plan: Plan, record: RolloutRecord) -> tuple[Group, ...]:
    held = (Group(name=BEHIND, state="paused", ids=record.behind),) if record.behind else ()
    parts: list[Group] = [*held]
    for planned, group in zip(plan.groups, record.groups, strict=True):
        if group.state in OPENED:
            parts.append(let_in_group(plan, planned, group.percent))
        if group.state not in OPENED or group.percent < 100:
            parts.append(whole_group(plan, planned, "paused"))
    return tuple(parts)


def _back_groups(plan: Plan, record: RolloutRecord) -> tuple[Group, ...]:
    """The devices that were let in, and nobody else: the others run the old content anyway.

    From the second release of a rollout on, all of them were let in to the first.
    """
    return tuple(
        let_in_group(plan, planned, 100.0 if record.leg else group.percent)
        for planned, group in zip(plan.groups, record.groups, strict=True)
        if group.state in OPENED or record.leg
    )


def whole_group(plan: Plan, planned: PlanGroup, state: Progress = "active") -> Group:
    """Give the offer's group that a whole group of the plan matches.

    Args:
        plan: of the rollout.
        planned: one of its groups.
        state: of the offer's group.
    """
    return Group(
        name=planned.name,
        state=state,
        tags=planned.tags,
        ids=planned.ids,
        percent=planned.percent,
        salt=salt_of(plan, planned),
    )


def let_in_group(plan: Plan, planned: PlanGroup, percent: float) -> Group:
    """Give the offer's group for the part that is let in.

    Args:
        plan: of the rollout.
        planned: one of its groups.
        percent: of this group.
    """
    whole = whole_group(plan, planned)
    if percent >= 100:
        return whole
    part = round((planned.percent or 100.0) * percent / 100, _PART_DIGITS)
    return msgspec.structs.replace(whole, percent=part)


def salt_of(plan: Plan, planned: PlanGroup) -> str:
    """Give what a group's devices are chosen with: another for each group, so that `percent` is
    of the devices that are left.
    """
    return f"{plan.salt or plan.name}/{planned.name}"


class Membership:
    """Which group of a plan each device belongs to, and who of them is let in.

    Args:
        plan: of the rollout.
        record: where it stands.
    """

    def __init__(self, plan: Plan, record: RolloutRecord) -> None:
        self._wholes = [whole_group(plan, planned) for planned in plan.groups]
        self._parts = [
            let_in_group(plan, planned, group.percent) if group.state in OPENED else None
            for planned, group in zip(plan.groups, record.groups, strict=True)
        ]

    def index(self, device: Device) -> int | None:
        """Give the first group of the plan that a device matches; None for none."""
        wholes = enumerate(self._wholes)
        return next((i for i, group in wholes if matches(group, device.id, device.tags)), None)

    def is_let_in(self, index: int, device: Device) -> bool:
        """Whether a device of a group may begin, as the device itself finds.

        Args:
            index: of the device's group.
            device: of that group.
        """
        part = self._parts[index]
        if part is None:
            return False
        return part == self._wholes[index] or matches(part, device.id, device.tags)


def rank(plan: Plan, planned: PlanGroup, device: Device) -> float:
    """Give a device's place within its group, 0 to 100: let in once the group's percent is above.

    Args:
        plan: of the rollout.
        planned: the device's group.
        device: of that group.
    """
    return place(device.id, salt_of(plan, planned)) * 100 / (planned.percent or 100.0)


# --- back ---------------------------------------------------------------------------------------


def percent_in(plan: Plan, planned: PlanGroup, offer: Offer) -> float | None:
    """Give how much of a group a signed offer lets in; None if nothing.

    Args:
        plan: of the rollout.
        planned: one of its groups.
        offer: of the rollout.
    """
    active = [g for g in offer.groups if g.name == planned.name and g.state == "active"]
    if not active:
        return None
    if active[0] == whole_group(plan, planned):
        return 100.0
    given, whole = active[0].percent, planned.percent or 100.0
    return 100.0 if given is None else min(100.0, round(given * 100 / whole, PERCENT_DIGITS))
