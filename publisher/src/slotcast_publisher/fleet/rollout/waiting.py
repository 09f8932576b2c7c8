"""Says in words where a rollout stands and what it waits for: it ends, or it says."""

from __future__ import annotations

from collections.abc import Sequence

from slotcast_publisher.fleet.rollout.observations import DeviceOutcome, GateAnswer
from slotcast_publisher.fleet.rollout.plan import Plan, PlanGroup
from slotcast_publisher.fleet.rollout.record import GroupRecord, RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import GroupState, RolloutState
from slotcast_publisher.fleet.rollout.tally import GroupTally
from slotcast_schemas.plural import part_of, several, word_for


def progress(tally: GroupTally) -> str:
    """Say how far a group is."""
    has = word_for(tally.reachable, "has", "have")
    return (
        f"{part_of(tally.succeeded, tally.reachable, 'reachable device')} {has} committed,"
        f" {tally.outcomes[DeviceOutcome.FAILED]} failed, {tally.unseen} not seen"
    )


def what_it_waits_for(
    plan: Plan, record: RolloutRecord, tallies: Sequence[GroupTally], waits: Sequence[str]
) -> list[str]:
    """Give what a rollout waits for; nothing only where it has ended.

    Args:
        plan: of the rollout.
        record: where it stands.
        tallies: of its groups.
        waits: what was found at this look.
    """
    match record.state:
        case RolloutState.FINISHED | RolloutState.STOPPED:
            return []
        case RolloutState.DRAFT:
            return ["a person to start it"]
        case RolloutState.PAUSED:
            why = record.pause.why if record.pause else ""
            return [f"a person to let it go on, go back or cancel: {why}".rstrip(": ")]
        case RolloutState.RUNNING:
            groups = zip(plan.groups, record.groups, tallies, strict=True)
            at_work = (_group(plan, *each) for each in groups)
            return [*waits, *(text for text in at_work if text)] or ["the next look"]
    return [*waits] or ["the next look"]


def what_gates_said(record: RolloutRecord, answers: Sequence[GateAnswer]) -> list[str]:
    """Give why gates have not agreed yet, as their commands and addresses said last.

    Args:
        record: where the rollout stands.
        answers: of gates; those to older questions do not count.
    """
    asked = {
        record.gate_question(group): group
        for group in record.groups
        if group.state is GroupState.AT_GATE
    }
    return [
        f"{asked[each.question].name}: {each.kind} says not yet: {each.why}"
        for each in answers
        if each.question in asked and each.answer == "not_yet" and each.why
    ]


def _group(plan: Plan, planned: PlanGroup, group: GroupRecord, tally: GroupTally) -> str:
    match group.state:
        case GroupState.RUNNING:
            share = plan.success_share if planned.success_share is None else planned.success_share
            held = tally.outcomes[DeviceOutcome.HELD]
            wait = word_for(held, "waits for its owner", "wait for their owners")
            owners = f"; {held} {wait}" if held else ""
            needed = f"a share of {share:g} needed, and {several(planned.devices_min, 'device')}"
            return f"{group.name}: {progress(tally)}; {needed}{owners}"
        case GroupState.SOAKING:
            soak_s = plan.soak_s if planned.soak_s is None else planned.soak_s
            return f"{group.name}: watched for {group.soaked_s:.0f} of {soak_s:.0f} s"
        case GroupState.AT_GATE:
            missing = [kind for kind in planned.gate.kinds if kind not in group.agreed]
            return f"{group.name}: {' and '.join(missing)} to open its gate"
    return ""
