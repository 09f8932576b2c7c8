"""Where a rollout stands, for people and programs: looked at anew, and nothing is changed.

The same engine that decides is asked what it sees, so that what is shown is what will be decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from slotcast_publisher.fleet.figures.comparison import on_all
from slotcast_publisher.fleet.rollout.group_progress import look
from slotcast_publisher.fleet.rollout.judge import FIGURE_LIMITS, LimitReading, judge
from slotcast_publisher.fleet.rollout.look_results import LookOutcome
from slotcast_publisher.fleet.rollout.observations import (
    SETTLED,
    Device,
    DeviceOutcome,
    Observations,
)
from slotcast_publisher.fleet.rollout.plan import Plan, PlanGroup
from slotcast_publisher.fleet.rollout.record import GroupRecord, RolloutRecord, way_back
from slotcast_publisher.fleet.rollout.state_table import OPENED, RolloutState
from slotcast_publisher.fleet.rollout.tally import GroupTally, age_s
from slotcast_publisher.fleet.steering.evidence import (
    FailureView,
    GroupFigures,
    failures_of_group,
    figures_of_group,
    states_of,
)
from slotcast_publisher.fleet.steering.observing import observe, time_of
from slotcast_publisher.fleet.steering.overview_types import (
    NOT_LET_IN,
    UNDRIVEN_S,
    GroupView,
    LimitView,
    OfferView,
    PauseView,
    RolloutView,
)
from slotcast_publisher.fleet.steering.rollout_files import Rollout, RolloutFiles
from slotcast_publisher.fleet.steering.taking_over import taken_over_by
from slotcast_publisher.repository import Repository
from slotcast_schemas.messages.offer import Offer


def overview(
    repo: Repository,
    files: RolloutFiles,
    name: str,
    devices: Sequence[Device],
    saved_bytes: int,
    wall_s: float,
    *,
    saved_by_group: Mapping[str, tuple[int, int]] | None = None,
) -> RolloutView:
    """Say where a rollout stands.

    Args:
        repo: the repository.
        files: its rollouts.
        name: of the rollout.
        devices: from the database.
        saved_bytes: from the database.
        wall_s: seconds since 1970.
        saved_by_group: from the database: devices of each group that took it, and what they saved.

    Raises:
        NotFound: there is no such rollout.
        RepositoryDamaged: a file of it is not what was written.
    """
    rollout = files.load(name)
    plan, now = rollout.plan, time_of(rollout.plan, wall_s)
    is_preparing = rollout.record.state is RolloutState.PREPARING
    taken_over = taken_over_by(files, rollout, repo.present_offer(plan.model))
    seen = observe(repo, rollout, devices, (), is_prepared=not is_preparing, taken_over=taken_over)
    found = look(plan, rollout.record, seen, now)
    return view_of(repo, rollout, seen, found, wall_s, saved_bytes, saved_by_group or {})


def view_of(
    repo: Repository,
    rollout: Rollout,
    seen: Observations,
    found: LookOutcome,
    wall_s: float,
    saved_bytes: int,
    saved_by_group: Mapping[str, tuple[int, int]],
) -> RolloutView:
    """Say what a look at a rollout came to.

    Args:
        repo: the repository.
        rollout: as it lay there.
        seen: what was looked at.
        found: what the look came to.
        wall_s: when, seconds since 1970.
        saved_bytes: what devices that took the release did not have to fetch.
        saved_by_group: for each group, how many devices took it, and what those saved.
    """
    plan, saved = rollout.plan, rollout.record
    record = saved if found.record.state is RolloutState.DRAFT else found.record
    looked_s = max(0, int(wall_s) - saved.looked_s) if saved.looked_s else None
    version = plan.versions[record.leg]
    release = seen.releases.get(version)
    sequence = 0 if release is None else release.sequence
    readings = found.readings or _readings(plan, record, seen, found.tallies, int(wall_s))
    groups = [
        _group(
            plan,
            saved_by_group.get(planned.name, (0, 0)),
            planned,
            group,
            tally,
            _states(plan, record, tally, sequence, int(wall_s)),
        )
        for planned, group, tally in zip(plan.groups, record.groups, found.tallies, strict=True)
    ]
    return RolloutView(
        name=plan.name,
        model=plan.model,
        version=version,
        state=record.state,
        attempt=record.attempt,
        started_by=rollout.started.who,
        started_at=iso(rollout.started.at_s),
        why=record.why,
        pause=_pause(record),
        groups=tuple(groups),
        limits=tuple(_limits(plan, record, readings, found.tallies, sequence)),
        waits_for=found.waits_for,
        offer=None if seen.offer is None else _offer(seen.offer),
        looked_s=looked_s,
        driven=looked_s is not None and looked_s <= UNDRIVEN_S,
        devices=len(seen.devices),
        saved_bytes=saved_bytes,
        requests=len(rollout.requests),
        sequence=sequence,
        before=_before(seen.devices, sequence),
        whole_bytes=_whole_bytes(repo, plan, version) if release is not None else 0,
        going_back=record.going_back,
        go_back_to=way_back(plan, record) or "",
        confidence=plan.limits.confidence,
        figures=tuple(_figures(plan, record, found.tallies, sequence)),
        failures=tuple(_failures(record, found.tallies, sequence)),
        at_s=int(wall_s),
    )


def _readings(
    plan: Plan,
    record: RolloutRecord,
    seen: Observations,
    tallies: Sequence[GroupTally],
    wall_s: int,
) -> Sequence[LimitReading]:
    """Read the limits where the look had no need to: who decides about a pause sees them."""
    if record.state not in {RolloutState.PAUSED, RolloutState.FINISHED}:
        return ()
    return judge(plan, record, seen, tallies, wall_s)


def _before(devices: Sequence[Device], sequence: int) -> str:
    """Give the version that most devices run, or ran before they took the release."""
    found: Counter[str] = Counter()
    for device in devices:
        status = device.status
        if status is None:
            continue
        slot = status.active if device.runs < sequence else status.standby
        if slot is not None and slot.sequence < sequence:
            found[slot.version] += 1
    return found.most_common(1)[0][0] if found else ""


def _whole_bytes(repo: Repository, plan: Plan, version: str) -> int:
    return repo.store.folder(plan.model, version).load().image_size_bytes


def _at_work(
    record: RolloutRecord, tallies: Sequence[GroupTally]
) -> Iterator[tuple[GroupRecord, GroupTally]]:
    """Give the groups that were let in."""
    for group, tally in zip(record.groups, tallies, strict=True):
        if group.state in OPENED:
            yield group, tally


def _figures(
    plan: Plan, record: RolloutRecord, tallies: Sequence[GroupTally], sequence: int
) -> Iterator[GroupFigures]:
    for group, tally in _at_work(record, tallies):
        found = figures_of_group(group.name, tally.let_in, sequence, plan.limits.confidence)
        if found is not None:
            yield found


def _failures(
    record: RolloutRecord, tallies: Sequence[GroupTally], sequence: int
) -> Iterator[FailureView]:
    for group, tally in _at_work(record, tallies):
        yield from failures_of_group(group.name, tally.let_in, sequence, record.deployment)


def iso(at_s: int) -> str:
    """Give a time as programs read it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def _pause(record: RolloutRecord) -> PauseView | None:
    pause = record.pause
    if pause is None:
        return None
    return PauseView(by=pause.by, who=pause.who, why=pause.why, limits=pause.limits)


def _group(
    plan: Plan,
    saved: tuple[int, int],
    planned: PlanGroup,
    group: GroupRecord,
    tally: GroupTally,
    states: dict[str, int],
) -> GroupView:
    is_at_gate = group.state == "AT_GATE"
    taken, saved_bytes = saved
    return GroupView(
        name=planned.name,
        state=group.state,
        percent=group.percent,
        step=group.step + 1,
        steps=len(planned.steps),
        members=tally.members,
        let_in=len(tally.let_in),
        committed=tally.succeeded,
        failed=tally.outcomes[DeviceOutcome.FAILED],
        under_way=tally.outcomes[DeviceOutcome.UNDER_WAY],
        held=tally.outcomes[DeviceOutcome.HELD],
        expected=tally.outcomes[DeviceOutcome.EXPECTED],
        unseen=tally.unseen,
        reasons=dict(tally.reasons.most_common()),
        soaked_s=group.soaked_s,
        soak_s=plan.soak_s if planned.soak_s is None else planned.soak_s,
        waits_for=tuple(k for k in planned.gate.kinds if is_at_gate and k not in group.agreed),
        opened_s=group.opened_s,
        states=states,
        success_share=(
            plan.success_share if planned.success_share is None else planned.success_share
        ),
        taken=taken,
        saved_bytes=saved_bytes,
    )


def _states(
    plan: Plan, record: RolloutRecord, tally: GroupTally, sequence: int, wall_s: int
) -> dict[str, int]:
    """Count the reachable devices of a group by what they say."""

    def is_reachable(device: Device) -> bool:
        is_settled = device.outcome(sequence, record.deployment) in SETTLED
        return is_settled or age_s(device, record, wall_s) < plan.unseen_s

    found = states_of(filter(is_reachable, tally.let_in), sequence)
    return found | ({NOT_LET_IN: len(tally.outside)} if tally.outside else {})


def _limits(
    plan: Plan,
    record: RolloutRecord,
    readings: Sequence[LimitReading],
    tallies: Sequence[GroupTally],
    sequence: int,
) -> Iterator[LimitView]:
    """Give each limit; of the group at work, also between what its figures lie."""
    names = [group.name for group, _ in _at_work(record, tallies)]
    let_in = [tally.let_in for _, tally in _at_work(record, tallies)]
    last = names[-1] if names else ""
    pairs = [p for d in (let_in[-1] if let_in else ()) if (p := d.pair(sequence)) is not None]
    for reading in readings:
        view = _limit(plan, record, reading)
        figure = FIGURE_LIMITS.get(reading.name)
        if reading.group == last and reading.high is None and figure is not None:
            estimate = on_all(figure, pairs, plan.limits.confidence)
            if estimate is not None:
                view = msgspec.structs.replace(view, low=estimate.low, high=estimate.high)
        yield view


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
        high=reading.high,
        devices_allowed=reading.devices_allowed,
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
