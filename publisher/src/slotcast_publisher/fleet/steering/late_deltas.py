"""What an offer says of deltas that are not there yet (docs/adr/0184). Pure.

A device whose release nobody knew of when the offer was signed waits a while for a delta. It does
not wait for one that will not come, nor where nobody makes any. And no device waits for a release
that mends a vulnerability, or that goes back to the old content.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.release import Release

NONE_FROM_MAX: Final = 32
"""The most releases that an offer names from which no delta will come, the most common first."""
_URGENT: Final = "mends_vulnerability"


@dataclass(frozen=True, slots=True)
class Bases:
    """What devices run, and from what of it deltas are made to a release.

    Attributes:
        version: of that release.
        counts: how many devices run each release, by its sequence; the most common first.
        hopeful: sequences from which a delta may still be made; None where nobody makes any.
    """

    version: str
    counts: Mapping[int, int] = field(default_factory=dict)
    hopeful: Collection[int] | None = None


@dataclass(frozen=True, slots=True)
class LateDeltas:
    """What an offer says of deltas that it does not name.

    Attributes:
        wait_s: how long a device waits for one.
        none_from: sequences from which none will come.
    """

    wait_s: int = 0
    none_from: tuple[int, ...] = ()


def late_deltas(
    plan: Plan,
    record: RolloutRecord,
    release: Release,
    bases: Bases,
    payloads: Sequence[Payload],
) -> LateDeltas:
    """Say what an offer says of deltas that it does not name.

    Args:
        plan: of the rollout.
        record: where it stands.
        release: what is offered.
        bases: what devices run.
        payloads: what the offer names.
    """
    is_urgent = record.going_back or _URGENT in release.changes
    if is_urgent or not plan.delta_wait_s or bases.hopeful is None:
        return LateDeltas()
    if release.version != bases.version:  # the next of a rollout's releases: nobody has looked yet
        return LateDeltas(plan.delta_wait_s)
    there = {payload.base.sequence for payload in payloads if payload.base is not None}
    there |= set(bases.hopeful)
    none_from = [sequence for sequence in bases.counts if sequence not in there]
    return LateDeltas(plan.delta_wait_s, tuple(none_from[:NONE_FROM_MAX]))
