"""Which rollout has the place of another one of its model: no two of them sign in turn.

A release may belong to several rollouts: it was rolled out by one, and is a stepping stone of the
next, or what the one before went back to. The place belongs to the one that is under way, and of
two that are, or are over, to the one that began later.
Which of several processes drives rollouts is another question: `fleet_database` holds the lease.
"""

from __future__ import annotations

from slotcast_publisher.fleet.rollout.state_table import OVER
from slotcast_publisher.fleet.steering.rollout_files import Rollout, RolloutFiles
from slotcast_schemas.messages.offer import Offer


def taken_over_by(files: RolloutFiles, rollout: Rollout, offer: Offer | None) -> str:
    """Name the rollout that the present offer is of, if it has the place of this one.

    Args:
        files: of all rollouts.
        rollout: this one.
        offer: the present one of its model.
    """
    if offer is None or _is_of(offer, rollout.plan.name):
        return ""
    name = next((name for name in files.names() if _is_of(offer, name)), None)
    other = None if name is None else files.load(name)
    if other is None or other.plan.model != rollout.plan.model:
        return ""
    return other.plan.name if _rank(other) > _rank(rollout) else ""


def _is_of(offer: Offer, name: str) -> bool:
    """Whether a rollout signed an offer: at any attempt, or going back."""
    given = offer.deployment
    return given in {name, f"{name}.back"} or given.startswith(f"{name}~")


def _rank(rollout: Rollout) -> tuple[bool, int, str]:
    return rollout.record.state not in OVER, rollout.started.at_s, rollout.plan.name
