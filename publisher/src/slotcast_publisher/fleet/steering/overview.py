"""Where a rollout stands, for people and programs: looked at anew, and nothing is changed.

The same engine that decides is asked what it sees, so that what is shown is what will be decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from slotcast_publisher.fleet.figures.comparison import on_all
from slotcast_publisher.fleet.rollout.decisions import Look
from slotcast_publisher.fleet.rollout.engine import look
from slotcast_publisher.fleet.rollout.judge import FIGURE_LIMITS, LimitReading, judge
from slotcast_publisher.fleet.rollout.lifecycle import OPENED, RolloutState
from slotcast_publisher.fleet.rollout.limit_words import LimitFound
from slotcast_publisher.fleet.rollout.observations import (
    SETTLED,
    Device,
    Observations,
    Outcome,
)
from slotcast_publisher.fleet.rollout.plan import Plan, PlanGroup
from slotcast_publisher.fleet.rollout.record import GroupRecord, RolloutRecord, way_back
from slotcast_publisher.fleet.rollout.tally import Tally, age_s
from slotcast_publisher.fleet.steering.evidence import (
    FailureView,
    GroupFigures,
    failures_of_group,
    figures_of_group,
    states_of,
)
from slotcast_publisher.fleet.steering.observing import observe, time_of
from slotcast_publisher.fleet.steering.rollout_files import Rollout, RolloutFiles
from slotcast_publisher.repository import Repository
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.messages.offer import Offer

UNDRIVEN_S = 120
"""After so many seconds without a look nobody drives a rollout."""
NOT_LET_IN: Final = "not let in"
"""What counts of `GroupView.states` calls reachable devices that may not begin yet."""


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
        opened_s: when it was first let in, seconds since 1970; 0 if it was not.
        states: of those let in and reachable, or of all where none is let in: how many say what.
        success_share: of the reachable ones, those that must have committed before it passes.
        taken: that run the release.
        saved_bytes: what deltas and reused files spared those.
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
    opened_s: int = 0
    states: dict[str, int] = {}
    success_share: float = 1.0
    taken: int = 0
    saved_bytes: int = 0


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """One limit in one group, and how devices stand to it.

    Attributes:
        low: with the plan's confidence the true figure is not below this; None where the value is
            within the limit.
        observed: how many devices that is on.
        over: of those, the ones that are above the limit by themselves; None where that cannot be.
        accepted: whether a person saw it broken and let the rollout go on.
        high: with the same confidence, it is not above this; None where that was not looked at.
        devices_allowed: the share of devices that may be above the limit by themselves, where those
            broke it and all together did not.
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
    high: float | None = None
    devices_allowed: float | None = None

    @property
    def found(self) -> LimitFound:
        """What is said of it."""
        return LimitFound(
            self.limit, self.value, self.allowed, self.observed, self.over, self.devices_allowed
        )


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
        sequence: of the release; 0 where the repository has it no more.
        before: the version that the release takes the place of on most devices; empty for none.
        whole_bytes: of the release's image: what a device without anything to start from fetches.
        going_back: whether the old content is offered again.
        go_back_to: the version of it that the plan names; empty for none.
        confidence: of the plan, with which limits are judged.
        figures: of each group that reports, old beside new.
        failures: by group and reason, with one device of each.
        at_s: when this was looked at, seconds since 1970.
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
    sequence: int = 0
    before: str = ""
    whole_bytes: int = 0
    going_back: bool = False
    go_back_to: str = ""
    confidence: float = 0.95
    figures: tuple[GroupFigures, ...] = ()
    failures: tuple[FailureView, ...] = ()
    at_s: int = 0


make_decoders(RolloutView)


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
    seen = observe(repo, rollout, devices, (), is_prepared=not is_preparing)
    found = look(plan, rollout.record, seen, now)
    return view_of(repo, rollout, seen, found, wall_s, saved_bytes, saved_by_group or {})


def view_of(
    repo: Repository,
    rollout: Rollout,
    seen: Observations,
    found: Look,
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
    plan: Plan, record: RolloutRecord, seen: Observations, tallies: Sequence[Tally], wall_s: int
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
    record: RolloutRecord, tallies: Sequence[Tally]
) -> Iterator[tuple[GroupRecord, Tally]]:
    """Give the groups that were let in."""
    for group, tally in zip(record.groups, tallies, strict=True):
        if group.state in OPENED:
            yield group, tally


def _figures(
    plan: Plan, record: RolloutRecord, tallies: Sequence[Tally], sequence: int
) -> Iterator[GroupFigures]:
    for group, tally in _at_work(record, tallies):
        found = figures_of_group(group.name, tally.let_in, sequence, plan.limits.confidence)
        if found is not None:
            yield found


def _failures(
    record: RolloutRecord, tallies: Sequence[Tally], sequence: int
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
    tally: Tally,
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
        failed=tally.outcomes[Outcome.FAILED],
        under_way=tally.outcomes[Outcome.UNDER_WAY],
        held=tally.outcomes[Outcome.HELD],
        expected=tally.outcomes[Outcome.EXPECTED],
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
    plan: Plan, record: RolloutRecord, tally: Tally, sequence: int, wall_s: int
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
    tallies: Sequence[Tally],
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
