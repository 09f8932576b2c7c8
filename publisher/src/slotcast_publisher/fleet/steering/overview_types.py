"""What people and programs see of a rollout: types without behaviour, made by `overview`."""

from __future__ import annotations

from typing import Final

import msgspec

from slotcast_publisher.fleet.rollout.limit_words import LimitFound
from slotcast_publisher.fleet.steering.evidence import FailureView, GroupFigures
from slotcast_schemas.decoders import make_decoders

UNDRIVEN_S = 120
"""The seconds without a look after which nobody is taken to drive a rollout."""
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

    @property
    def reachable(self) -> int:
        """How many devices are let in and reachable."""
        return self.committed + self.failed + self.under_way + self.held + self.expected


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
