"""Where a rollout stands, for people and programs: looked at anew, and nothing is changed.

The same engine that decides is asked what it sees, so that what is shown is what will be decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from slotcast_publisher.fleet.rollout.engine import look
from slotcast_publisher.fleet.rollout.judge import LimitReading
from slotcast_publisher.fleet.rollout.lifecycle import RolloutState
from slotcast_publisher.fleet.rollout.observations import Device, Outcome
from slotcast_publisher.fleet.rollout.plan import Plan, PlanGroup
from slotcast_publisher.fleet.rollout.record import GroupRecord, RolloutRecord
from slotcast_publisher.fleet.rollout.tally import Tally
from slotcast_publisher.fleet.steering.observing import observe, time_of
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.repository import Repository
from slotcast_schemas.messages.offer import Offer

UNDRIVEN_S = 120
"""After so many seconds without a look nobody drives a rollout."""


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """One group, counted.

    Attributes:
        percent: how much of it is let in.
        members: devices that are known to belong to it.
        let_in: of them, those that may begin.
        committed, failed, under_way, held, expected: of those let in and reachable.
        unseen: let in, and not heard of for long.
        reasons: why devices failed, and how many.
        waits_for: whose word its gate waits for.
    """

    name: str
    state: str
    percent: float
    step: int
    steps: int
    members: int
    let_in: int
    committed: int
    failed: int
    under_way: int
    held: int
    expected: int
    unseen: int
    reasons: dict[str, int]
    soaked_s: float
    soak_s: float
    waits_for: tuple[str, ...]


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """One limit in one group, and how devices stand to it.

    Attributes:
        low: with the plan's confidence the true figure is not below this; None where the value is
            within the limit.
        observed: how many devices that is on.
        over: of those, the ones that are above the limit by themselves; None where that cannot be.
        accepted: whether a person saw it broken and let the rollout go on.
    """

    group: str
    limit: str
    value: float
    low: float | None
    allowed: float
    observed: int
    over: int | None
    broken: bool
    accepted: bool
    text: str


class PauseView(msgspec.Struct, frozen=True, kw_only=True):
    """Why it is paused."""

    by: str
    who: str
    why: str
    limits: tuple[str, ...]


class OfferView(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed now for the model."""

    version: str
    state: str
    deployment: str
    attempt: int
    payloads: int
    signed_at: str


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout.

    Attributes:
        version: that is rolled out now: a stepping stone, or the plan's own.
        waits_for: in words; empty only where it has ended.
        looked_s: seconds since it was looked at last; None for never.
        driven: whether somebody drives it: `slotcast serve`, within two minutes.
        devices: that are known to have the model.
        saved_bytes: what deltas and reused files spared the devices that took the release.
        requests: of persons that wait to be carried out.
    """

    name: str
    model: str
    version: str
    state: str
    attempt: int
    started_by: str
    started_at: str
    why: str
    pause: PauseView | None
    groups: tuple[GroupView, ...]
    limits: tuple[LimitView, ...]
    waits_for: tuple[str, ...]
    offer: OfferView | None
    looked_s: int | None
    driven: bool
    devices: int
    saved_bytes: int
    requests: int


def overview(
    repo: Repository,
    files: RolloutFiles,
    name: str,
    devices: Sequence[Device],
    saved_bytes: int,
    wall_s: float,
) -> RolloutView:
    """Say where a rollout stands.

    Args:
        repo: the repository.
        files: its rollouts.
        name: of the rollout.
        devices: from the database.
        saved_bytes: from the database.
        wall_s: seconds since 1970.

    Raises:
        NotFound: there is no such rollout.
        RepositoryDamaged: a file of it is not what was written.
    """
    rollout = files.load(name)
    plan, saved, now = rollout.plan, rollout.record, time_of(rollout.plan, wall_s)
    is_preparing = saved.state is RolloutState.PREPARING
    seen = observe(repo, rollout, devices, (), is_prepared=not is_preparing)
    found = look(plan, saved, seen, now)
    record = saved if found.record.state is RolloutState.DRAFT else found.record
    groups = zip(plan.groups, record.groups, found.tallies, strict=True)
    looked_s = max(0, now.wall_s - saved.looked_s) if saved.looked_s else None
    return RolloutView(
        name=plan.name,
        model=plan.model,
        version=plan.versions[record.leg],
        state=record.state,
        attempt=record.attempt,
        started_by=rollout.started.who,
        started_at=iso(rollout.started.at_s),
        why=record.why,
        pause=_pause(record),
        groups=tuple(_group(plan, *each) for each in groups),
        limits=tuple(_limit(plan, record, reading) for reading in found.readings),
        waits_for=found.waits_for,
        offer=None if seen.offer is None else _offer(seen.offer),
        looked_s=looked_s,
        driven=looked_s is not None and looked_s <= UNDRIVEN_S,
        devices=len(devices),
        saved_bytes=saved_bytes,
        requests=len(rollout.requests),
    )


def iso(at_s: int) -> str:
    """Give a time as programs read it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def _pause(record: RolloutRecord) -> PauseView | None:
    pause = record.pause
    if pause is None:
        return None
    return PauseView(by=pause.by, who=pause.who, why=pause.why, limits=pause.limits)


def _group(plan: Plan, planned: PlanGroup, group: GroupRecord, tally: Tally) -> GroupView:
    is_at_gate = group.state == "AT_GATE"
    return GroupView(
        name=planned.name,
        state=group.state,
        percent=group.percent,
        step=group.step + 1,
        steps=len(planned.steps),
        members=tally.members,
        let_in=len(tally.let_in),
        committed=tally.succeeded,
        failed=tally.outcomes[Outcome.FAILED],
        under_way=tally.outcomes[Outcome.UNDER_WAY],
        held=tally.outcomes[Outcome.HELD],
        expected=tally.outcomes[Outcome.EXPECTED],
        unseen=tally.unseen,
        reasons=dict(tally.reasons.most_common()),
        soaked_s=group.soaked_s,
        soak_s=plan.soak_s if planned.soak_s is None else planned.soak_s,
        waits_for=tuple(k for k in planned.gate.kinds if is_at_gate and k not in group.agreed),
    )


def _limit(plan: Plan, record: RolloutRecord, reading: LimitReading) -> LimitView:
    return LimitView(
        group=reading.group,
        limit=reading.name,
        value=reading.value,
        low=reading.low,
        allowed=reading.limit,
        observed=reading.observed,
        over=None if reading.over is None else reading.over.hits,
        broken=reading.is_broken,
        accepted=reading.key in record.accepted,
        text=reading.words(plan.limits.confidence),
    )


def _offer(offer: Offer) -> OfferView:
    return OfferView(
        version=offer.version,
        state=offer.state,
        deployment=offer.deployment,
        attempt=offer.attempt,
        payloads=len(offer.payloads),
        signed_at=iso(offer.issued),
    )
