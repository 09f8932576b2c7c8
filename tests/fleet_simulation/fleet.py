"""Invented devices: they hear offers, go by the real rule of groups, and say where they stand.

A device here is as small as the engine can see: what it runs, what it is at, what it says. That
the real device's core behaves so is for `tests/simulation`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from slotcast_schemas.groups import group_of
from slotcast_schemas.messages.offer import Offer
from slotcast_schemas.messages.status import ModelStatus, SlotStatus, Target
from slotcast_schemas.states import State

UNDER_WAY = frozenset({State.DOWNLOADING, State.VERIFIED, State.TRIAL})


@dataclass(frozen=True, slots=True)
class Said:
    """A status as it travels."""

    device: str
    counter: int
    status: ModelStatus


@dataclass(slots=True)
class Fate:
    """What a release will come to on one device, by attempt; and how long it takes."""

    fails_at: State | None = None
    reason: str = "too_slow"
    recovers: bool = True
    fetch_s: float = 60.0
    trial_s: float = 60.0
    is_slow: bool = False


@dataclass(slots=True)
class SimDevice:
    """One device.

    Attributes:
        fates: by the sequence of a release.
        waits_s: how long its owner lets each update wait.
        gone_s: from when on it is offline, and until when.
    """

    id: str
    tags: dict[str, str]
    runs: int
    fates: dict[int, Fate]
    waits_s: float = 0.0
    gone_s: tuple[float, float] = (float("inf"), float("inf"))
    state: State = State.COMMITTED
    reason: str = "committed"
    floor: int = 0
    counter: int = 0
    target: Target | None = None
    benched: dict[int, int] = field(default_factory=dict)
    heard: Offer | None = None
    attempt: int = 1
    next_s: float = 0.0
    before: int = 0

    def __post_init__(self) -> None:
        self.floor = self.runs

    def is_online(self, now_s: float) -> bool:
        """Whether it can hear and say anything."""
        return not self.gone_s[0] <= now_s < self.gone_s[1]

    def status(self) -> Said:
        """What it says now; each time under the next counter."""
        self.counter += 1
        slot = SlotStatus(slot="a", version="1", sequence=self.runs) if self.runs else None
        said = ModelStatus(
            model="detector",
            state=self.state,
            reason=self.reason,
            floor=self.floor,
            target=self.target,
            active=slot,
        )
        return Said(self.id, self.counter, said)

    def hear(self, offer: Offer, now_s: float) -> bool:
        """Go by an offer; gives whether that changed what the device says."""
        if offer == self.heard:
            return False
        if self.state is State.TRIAL:
            return self._hear_on_trial(offer)
        self.heard = offer
        group = group_of(offer, self.id, self.tags)
        if self.runs == offer.sequence or offer.sequence < self.floor or group is None:
            return False
        if "canceled" in {offer.state, group.state}:
            return self._stand(State.CANCELED, "canceled", offer, group.name)
        if "paused" in {offer.state, group.state}:
            return self._stand(State.QUEUED, "paused", offer, group.name)
        if self.benched.get(offer.sequence, 0) >= offer.attempt:
            return False
        is_at_it = self.target is not None and self.target.sequence == offer.sequence
        if self.state in UNDER_WAY and is_at_it:
            return False
        if self.waits_s and not (self.state is State.QUEUED and self.reason == "consent"):
            self.next_s = now_s + self.waits_s
            return self._stand(State.QUEUED, "consent", offer, group.name)
        return self._begin(offer, group.name, now_s)

    def _hear_on_trial(self, offer: Offer) -> bool:
        is_same = self.target is not None and self.target.sequence == offer.sequence
        if is_same and offer.state == "canceled":
            self.heard, self.runs = offer, self.before
            self.state, self.reason = State.ROLLED_BACK, "canceled"
            return True
        return False  # looked at again when the trial is over

    def _begin(self, offer: Offer, group: str, now_s: float) -> bool:
        self.attempt = offer.attempt
        self.next_s = now_s + self.fates[offer.sequence].fetch_s
        return self._stand(State.DOWNLOADING, "downloading", offer, group)

    def _stand(self, state: State, reason: str, offer: Offer, group: str) -> bool:
        target = Target(
            version=offer.version,
            sequence=offer.sequence,
            deployment=offer.deployment,
            group=group,
        )
        is_new = (state, reason, target) != (self.state, self.reason, self.target)
        self.state, self.reason, self.target = state, reason, target
        return is_new

    def go_on(self, now_s: float) -> bool:
        """Take the next step of what is under way, when its time has come."""
        if now_s < self.next_s or self.target is None:
            return False
        sequence = self.target.sequence
        fate = self.fates[sequence]
        is_bad = fate.fails_at is not None and not (fate.recovers and self.attempt > 1)
        match self.state:
            case State.QUEUED if self.reason == "consent" and self.heard is not None:
                return self._begin(self.heard, self.target.group, now_s)
            case State.DOWNLOADING if is_bad and fate.fails_at is State.FAILED:
                return self._end(State.FAILED, fate.reason, sequence)
            case State.DOWNLOADING:
                self.before, self.runs = self.runs, sequence
                self.state, self.reason = State.TRIAL, "on_trial"
                self.next_s = now_s + fate.trial_s
                return True
            case State.TRIAL if is_bad:
                self.runs = self.before
                return self._end(State.ROLLED_BACK, fate.reason, sequence)
            case State.TRIAL:
                self.floor = sequence
                self.state, self.reason = State.COMMITTED, "committed"
                return True
        return False

    def _end(self, state: State, reason: str, sequence: int) -> bool:
        self.state, self.reason = state, reason
        self.benched[sequence] = self.attempt
        return True


def draw_fate(rng: random.Random, bad_share: float, slow_share: float) -> Fate:
    """Draw what a release comes to on a device."""
    is_bad = rng.random() < bad_share
    return Fate(
        fails_at=rng.choice((State.FAILED, State.ROLLED_BACK)) if is_bad else None,
        reason=rng.choice(("too_slow", "golden_mismatch", "disk_full")),
        recovers=rng.random() < 0.8,
        fetch_s=rng.choice((10.0, 60.0, 240.0)),
        trial_s=rng.choice((20.0, 60.0, 180.0)),
        is_slow=rng.random() < slow_share,
    )
