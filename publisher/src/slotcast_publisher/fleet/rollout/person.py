"""What a person asks of a rollout, and whether it can be done as things stand."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.rollout.limit_words import ALL_GROUPS
from slotcast_publisher.fleet.rollout.observations import Now, Observations
from slotcast_publisher.fleet.rollout.offers import any_opened
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.reconcile import hold, is_superseded, reconcile
from slotcast_publisher.fleet.rollout.record import Pause, RolloutRecord, way_back
from slotcast_publisher.fleet.rollout.state_table import (
    ROLLOUT,
    GroupEvent,
    GroupState,
    RolloutEvent,
)
from slotcast_publisher.fleet.rollout.tally import count, failures

ANSWERED_MAX: Final = 64
"""How many requests are remembered as done."""


class Wish(StrEnum):
    """What a person can ask for."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    OPEN_GATE = "open_gate"
    CANCEL = "cancel"
    GO_BACK = "go_back"
    RETRY = "retry"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One person's request.

    Attributes:
        id: drawn where it is made; one that comes twice is carried out once.
        who: the person.
        group: whose gate to open.
        why: in the person's words.
        to: the release to go back to, where it is not the plan's.
    """

    id: str
    wish: Wish
    who: str
    group: str = ""
    why: str = ""
    to: str = ""


_EVENTS: Final = {
    Wish.START: RolloutEvent.STARTED,
    Wish.PAUSE: RolloutEvent.HELD,
    Wish.CANCEL: RolloutEvent.CANCELED,
    Wish.GO_BACK: RolloutEvent.WENT_BACK,
    Wish.RETRY: RolloutEvent.RETRIED,
}
"""The event that a wish is; resuming and gates have their own rules."""


def carry_out(
    plan: Plan, record: RolloutRecord, seen: Observations, request: Request, now: Now
) -> RolloutRecord:
    """Do what a person asks; the next look signs what follows from it.

    Args:
        plan: of the rollout.
        record: as it was made durable last.
        seen: what devices said last, and the present offer.
        request: what is asked for.
        now: the time.

    Raises:
        Conflict: it cannot be done as the rollout stands; says why.
    """
    if request.id in record.answered:
        return record
    record, _ = reconcile(plan, record, seen)
    done = _done(plan, record, seen, request, now)
    return done.changed(answered=(*record.answered, request.id)[-ANSWERED_MAX:])


def _done(
    plan: Plan, record: RolloutRecord, seen: Observations, request: Request, now: Now
) -> RolloutRecord:
    match request.wish:
        case Wish.RESUME:
            return _resumed(plan, record, seen, now)
        case Wish.OPEN_GATE:
            return _gate_opened(plan, record, request.group)
        case Wish.PAUSE if record.pause is not None:
            pause = Pause(by="person", who=request.who, why=request.why, limits=record.pause.limits)
            return record.changed(pause=pause)
        case Wish.START if is_superseded(plan, record, seen):
            raise Conflict(f"{record.name}: a newer release than {plan.version} is offered already")
        case Wish.GO_BACK if seen.taken_over_by:
            raise Conflict(f"{record.name}: {seen.taken_over_by} has taken its place: ask that one")
        case Wish.GO_BACK:
            record = record.changed(back_to=request.to or record.back_to)
            _check_way_back(plan, record, seen)
    event = _EVENTS[request.wish]
    if event not in ROLLOUT[record.state]:
        raise Conflict(
            f"{record.name} is {record.state}; {request.wish.replace('_', '-')} is possible"
            f" in {', '.join(state for state, row in ROLLOUT.items() if event in row)}"
        )
    if request.wish is Wish.PAUSE:
        return hold(record, Pause(by="person", who=request.who, why=request.why))
    if request.wish is Wish.RETRY:
        return record.moved(event, attempt=record.attempt + 1, accepted=(), accepted_failures=0)
    why = f"{request.who}: {request.why}".rstrip(": ")
    is_back = record.going_back or request.wish is Wish.GO_BACK
    return record.moved(event, why=why, pause=None, going_back=is_back)


def _resumed(plan: Plan, record: RolloutRecord, seen: Observations, now: Now) -> RolloutRecord:
    """Let it go on; the limits that paused it are accepted by whoever resumes."""
    pause = record.pause
    if pause is None:
        raise Conflict(f"{record.name} is {record.state}; only a paused rollout can be resumed")
    event = RolloutEvent.RESUMED if any_opened(record) else RolloutEvent.PREPARED_AGAIN
    accepted = tuple(dict.fromkeys([*record.accepted, *pause.limits]))
    failed = record.accepted_failures
    if f"{ALL_GROUPS}/stop_after_failures" in pause.limits:
        failed = failures(count(plan, record, seen, now.wall_s))
        accepted = tuple(key for key in accepted if not key.startswith(f"{ALL_GROUPS}/"))
    groups = (
        group.moved(GroupEvent.RELEASED) if group.state is GroupState.PAUSED else group
        for group in record.groups
    )
    return record.with_groups(groups).moved(
        event, pause=None, accepted=accepted, accepted_failures=failed
    )


def _gate_opened(plan: Plan, record: RolloutRecord, name: str) -> RolloutRecord:
    """A person's yes counts for every gate of the group."""
    group = next((group for group in record.groups if group.name == name), None)
    if group is None:
        names = ", ".join(group.name for group in record.groups)
        raise Conflict(f"{record.name} has no group {name!r}; it has {names}")
    if group.state is not GroupState.AT_GATE:
        raise Conflict(f"{name} is {group.state}; a gate is opened once its group is AT_GATE")
    kinds = next(planned.gate.kinds for planned in plan.groups if planned.name == name)
    return record.with_group(group.changed(agreed=kinds))


def _check_way_back(plan: Plan, record: RolloutRecord, seen: Observations) -> None:
    back = way_back(plan, record)
    if back is None:
        raise Conflict(
            "the plan has no go_back_to: release the old content anew, under a new version"
            f" (`slotcast release REPO {plan.model} NEW_VERSION --same-as OLD_VERSION`), and go"
            " back to that (`slotcast rollout go-back REPO NAME --to NEW_VERSION`)"
        )
    highest = max(
        (seen.releases[v].sequence for v in plan.versions if v in seen.releases), default=0
    )
    release = seen.releases.get(back)
    if release is None:
        raise Conflict(f"way back: {back} is not in the repository; sign it first")
    if release.sequence <= highest:
        raise Conflict(
            f"way back: {back} has sequence {release.sequence}, and devices refuse what is not"
            f" above {highest}; release the old content anew"
        )
