"""How much of a group is let in: by the plan's steps, and by the cap on devices under way.

There is no message for each device. A group is let in by percent, and devices have a fixed place in
it by a hash; so "so many more" is "up to the place of the n-th that waits". Each widening is a new
offer for the whole fleet, so it waits until half of the cap is free, or nothing is under way.
"""

from __future__ import annotations

from collections.abc import Sequence

from slotcast_publisher.fleet.rollout.offers import PERCENT_DIGITS
from slotcast_publisher.fleet.rollout.plan import Plan, PlanGroup
from slotcast_publisher.fleet.rollout.record import GroupRecord
from slotcast_publisher.fleet.rollout.tally import GroupTally


def next_percent(
    plan: Plan,
    planned: PlanGroup,
    group: GroupRecord,
    index: int,
    tallies: Sequence[GroupTally],
) -> float:
    """Give how much of a group may be let in now; never less than it is.

    Args:
        plan: of the rollout.
        planned: the group's part of it.
        group: where it stands.
        index: of the group.
        tallies: of all groups: the cap counts devices under way in every one.
    """
    waiting = tallies[index].outside
    step = planned.steps[min(group.step, len(planned.steps) - 1)]
    if waiting and not tallies[index].reachable:
        step = max(step, _just_above(waiting, 1, 100.0))  # a step without a device shows nothing
    if step <= group.percent or plan.max_under_way is None:
        return max(step, group.percent)
    under_way = sum(tally.under_way for tally in tallies)
    free = plan.max_under_way - under_way
    if free < max(1, plan.max_under_way // 2) and under_way:
        return group.percent
    return max(group.percent, _just_above(waiting, free, step))


def _just_above(waiting: Sequence[tuple[float, str]], count: int, limit: float) -> float:
    """The percent that lets in so many of those that wait, in their order, and no more."""
    if count <= 0:
        return 0.0
    if count >= len(waiting):
        return limit
    last, after = waiting[count - 1][0], waiting[count][0]
    return min(limit, round((last + after) / 2, PERCENT_DIGITS))
