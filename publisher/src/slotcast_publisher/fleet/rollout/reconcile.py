"""Brings a record in step with the signed offer, which is the truth about what devices may do.

The record is made durable before an offer is signed, so after a crash between the two the record
is ahead, and the offer is the one that it names (`seen_offer`). An offer that the record does not
know was signed after it: the record is an old copy, or was lost, or somebody signed by hand. Then
the record follows the offer: what is let in stays let in, and what is paused stays paused.
"""

from __future__ import annotations

from typing import Final

from slotcast_publisher.fleet.rollout.look_results import LogNote
from slotcast_publisher.fleet.rollout.observations import Observations
from slotcast_publisher.fleet.rollout.offers import (
    BEHIND,
    fingerprint,
    percent_in,
    says,
    wanted_offer,
)
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import GroupRecord, Pause, RolloutRecord, way_back
from slotcast_publisher.fleet.rollout.state_table import (
    OPENED,
    GroupEvent,
    GroupState,
    RolloutEvent,
    RolloutState,
)
from slotcast_schemas.messages.offer import Offer

_LIVE: Final = frozenset(RolloutState) - {RolloutState.STOPPED, RolloutState.DRAFT}
"""States in which another release's offer ends a rollout."""


def reconcile(
    plan: Plan, record: RolloutRecord, seen: Observations
) -> tuple[RolloutRecord, list[LogNote]]:
    """Give the record that follows the present offer, and what had to be changed.

    Args:
        plan: of the rollout.
        record: as it was made durable last.
        seen: with the present offer.
    """
    offer = seen.offer
    mark = fingerprint(offer)
    if offer is None or mark == record.seen_offer:
        return record.changed(seen_offer=mark), []
    wanted = wanted_offer(plan, record, seen.releases)
    if wanted is not None and says(offer, wanted):
        return record.changed(seen_offer=mark), []
    found, notes = _follow(plan, record, seen, offer)
    return found.changed(seen_offer=mark), notes


def is_superseded(plan: Plan, record: RolloutRecord, seen: Observations) -> bool:
    """Whether a newer release than any of ours is offered, or another rollout has our place.

    In the first case devices refuse ours; in the second, two rollouts would sign by turns.

    Args:
        plan: of the rollout.
        record: where it stands.
        seen: with the present offer.
    """
    if seen.taken_over_by:
        return True
    if plan.version not in seen.releases:
        return False  # it cannot be told; the engine waits for the release
    back = way_back(plan, record)
    own = [*plan.versions, *([back] if back and record.going_back else [])]
    sequences = [seen.releases[version].sequence for version in own if version in seen.releases]
    return seen.offer is not None and seen.offer.sequence > max(sequences, default=0)


def has_way_back(plan: Plan, seen: Observations) -> bool:
    """Whether the plan's old content is there under a sequence that every device takes."""
    known = [seen.releases[v].sequence for v in plan.versions if v in seen.releases]
    back = seen.releases.get(plan.go_back_to or "")
    return back is not None and back.sequence > max(known, default=0)


def _follow(
    plan: Plan, record: RolloutRecord, seen: Observations, offer: Offer
) -> tuple[RolloutRecord, list[LogNote]]:
    if is_superseded(plan, record, seen):
        if record.state not in _LIVE:
            return record, []
        by = f" by {seen.taken_over_by}" if seen.taken_over_by else ""
        why = f"{offer.version} (sequence {offer.sequence}) was offered{by}"
        return record.moved(RolloutEvent.SUPERSEDED, why=why, pause=None), [
            LogNote("superseded", "", why)
        ]
    is_ours = offer.deployment == record.name or offer.deployment.startswith(f"{record.name}~")
    leg = next((i for i, version in enumerate(plan.versions) if version == offer.version), None)
    if leg is None:
        return record, []  # what was offered before this rollout
    if not is_ours:
        return _paused(record, f"{offer.version} was offered by hand, as {offer.deployment!r}")
    if leg < record.leg:
        if offer.state == "paused":
            return _paused(record, "the signed offer is paused")
        return record, []
    return _adopt(plan, record, offer, leg)


def _adopt(
    plan: Plan, record: RolloutRecord, offer: Offer, leg: int
) -> tuple[RolloutRecord, list[LogNote]]:
    """Take over what an offer of this rollout says and the record does not."""
    notes: list[LogNote] = []
    if record.state in {RolloutState.DRAFT, RolloutState.PREPARING, RolloutState.READY}:
        record = record.moved(RolloutEvent.ADOPTED)
    if leg > record.leg:
        fresh = tuple(GroupRecord(name=group.name) for group in plan.groups)
        record = record.changed(leg=leg, groups=fresh)
    attempt = max(record.attempt, _attempt_of(offer, record.name))
    held = next((g.ids or () for g in offer.groups if g.name == BEHIND), ())
    record = record.changed(attempt=attempt, behind=tuple({*record.behind, *held}))
    percents = [percent_in(plan, planned, offer) for planned in plan.groups]
    last = max((i for i, percent in enumerate(percents) if percent is not None), default=-1)
    groups = [
        _adopted(group, percents[i], is_passed=i < last, opened_s=offer.issued)
        for i, group in enumerate(record.groups)
    ]
    if groups != list(record.groups):
        notes.append(
            LogNote("adopted", "", "the signed offer is ahead of the record; it is followed")
        )
    record = record.with_groups(groups)
    if offer.state == "canceled" and record.state is not RolloutState.STOPPED:
        why = "the signed offer is canceled"
        return record.moved(RolloutEvent.CANCELED, why=why), [*notes, LogNote("canceled", "", why)]
    if offer.state == "paused":
        record, more = _paused(record, "the signed offer is paused")
        return record, notes + more
    return record, notes


def _adopted(
    group: GroupRecord, percent: float | None, *, is_passed: bool, opened_s: int
) -> GroupRecord:
    if percent is not None and group.state is GroupState.WAITING:
        group = group.moved(GroupEvent.OPENED, opened_s=opened_s)
    if percent is not None and percent > group.percent:
        group = group.watched_anew(percent=percent)
    if is_passed and group.state is not GroupState.PASSED:
        group = group.moved(GroupEvent.FOUND_PASSED, percent=100.0)
    return group


def _paused(record: RolloutRecord, why: str) -> tuple[RolloutRecord, list[LogNote]]:
    if record.state not in {
        RolloutState.PREPARING,
        RolloutState.READY,
        RolloutState.RUNNING,
        RolloutState.FINISHED,
    }:
        return record, []
    return hold(record, Pause(by="offer", why=why)), [LogNote("paused", "", why)]


def hold(record: RolloutRecord, pause: Pause) -> RolloutRecord:
    """Pause a rollout, and the groups that were let in and have not passed."""
    groups = (
        group.moved(GroupEvent.HELD)
        if group.state in OPENED - {GroupState.PASSED, GroupState.PAUSED}
        else group
        for group in record.groups
    )
    return record.moved(RolloutEvent.HELD, pause=pause).with_groups(groups)


def _attempt_of(offer: Offer, name: str) -> int:
    text = offer.deployment.removeprefix(f"{name}~")
    return int(text) if text.isdecimal() else 1
