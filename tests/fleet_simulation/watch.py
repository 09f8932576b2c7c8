"""What must hold whatever happens, counted anew from what was said, not from the engine's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slotcast_publisher.fleet.rollout.judge import LimitReading
from slotcast_publisher.fleet.rollout.look_results import LookOutcome
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import GroupState, RolloutState
from slotcast_schemas.groups import group_of
from slotcast_schemas.messages.offer import Offer
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.states import State
from tests.support.binomial import exact_chance_of_at_least

ENDED = frozenset({RolloutState.FINISHED, RolloutState.STOPPED})


class Broken(AssertionError):
    """Something that must always hold does not."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of a device: its newest status, and when anything came.

    Attributes:
        seen_s: by true time.
        clock_s: by the publisher's clock, which jumps.
    """

    tags: Mapping[str, str]
    status: ModelStatus | None
    seen_s: float
    clock_s: float


@dataclass(slots=True)
class Count:
    """One group, counted by the watcher."""

    committed: int = 0
    failed: int = 0
    pending: int = 0

    @property
    def all(self) -> int:
        return self.committed + self.failed + self.pending


@dataclass(slots=True)
class Watch:
    """Follows one run.

    Attributes:
        passed: groups that have passed, as (leg, name).
        reached_s: since when enough of a group have committed, at every look in between.
        agreed: what gates have said yes to, as (leg, name, kind).
        is_paused: a durable pause stands, and no person has undone it.
        undone_by: the request that undid the last one.
    """

    plan: Plan
    passed: set[tuple[int, str]] = field(default_factory=set)
    reached_s: dict[tuple[int, str], float] = field(default_factory=dict)
    agreed: set[tuple[int, str, str]] = field(default_factory=set)
    is_paused: bool = False
    undone_by: str = ""
    verdicts: int = 0

    # --- looks ----------------------------------------------------------------------------------

    def looked(
        self,
        found: LookOutcome,
        offer: Offer,
        heard: Mapping[str, Heard],
        now_s: float,
        slow: set[str],
    ) -> None:
        """Hold one look to what must hold."""
        record = found.record
        if bool(found.waits_for) is (record.state in ENDED):
            raise Broken(f"{record.state}, and waits for {found.waits_for}")
        counts = self.counts(offer, heard, now_s)
        leg = self.plan.versions.index(offer.version) if counts else 0
        for index, group in enumerate(self.plan.groups):
            key = (leg, group.name)
            if group.name in counts and self._has_enough(index, counts[group.name]):
                self.reached_s.setdefault(key, now_s)
            else:
                self.reached_s.pop(key, None)
        if record.pause is not None and record.pause.by == "limit":
            broken = [r for r in found.readings if r.key in record.pause.limits]
            for reading in broken:
                self._check_verdict(reading, counts, offer, heard, slow)

    def counts(self, offer: Offer, heard: Mapping[str, Heard], now_s: float) -> dict[str, Count]:
        """Count the devices that the signed offer lets in, in each group that is open.

        Whoever was not heard of for long is not waited for, by true time.
        """
        if offer.version not in self.plan.versions:
            return {}
        planned = {group.name for group in self.plan.groups}
        counts = {
            g.name: Count() for g in offer.groups if g.state == "active" and g.name in planned
        }
        for name, known in heard.items():
            group = group_of(offer, name, known.tags)
            if group is None or group.state != "active" or group.name not in counts:
                continue
            status, count = known.status, counts[group.name]
            if _is_committed(status, offer.sequence):
                count.committed += 1
            elif _has_failed(status, offer.sequence, offer.deployment):
                count.failed += 1
            elif now_s - known.seen_s < self.plan.unseen_s:
                count.pending += 1
        return counts

    def _has_enough(self, index: int, count: Count) -> bool:
        planned, is_last = self.plan.groups[index], index == len(self.plan.groups) - 1
        if not count.all:
            return is_last or planned.devices_min == 0
        least = 1 if is_last else planned.devices_min
        share = planned.success_share or self.plan.success_share
        return count.committed >= least and count.committed >= share * count.all - 1e-9

    # --- durable records ------------------------------------------------------------------------

    def saved(self, record: RolloutRecord, now_s: float) -> None:
        """A record was made durable."""
        if record.state is RolloutState.PAUSED and not self.is_paused:
            self.is_paused, self.undone_by = True, ""
        passed = [
            (leg, index)
            for leg in range(record.leg + 1)
            for index, group in enumerate(record.groups)
            if leg < record.leg or group.state is GroupState.PASSED
        ]
        for leg, index in passed:
            if (leg, self.plan.groups[index].name) not in self.passed:
                self._check_passed(leg, index, now_s)

    def _check_passed(self, leg: int, index: int, now_s: float) -> None:
        planned = self.plan.groups[index]
        key = (leg, planned.name)
        since_s = self.reached_s.get(key)
        soak_s = self.plan.soak_s if planned.soak_s is None else planned.soak_s
        if since_s is None:
            raise Broken(f"{planned.name} passed without enough devices")
        if now_s - since_s < soak_s:
            raise Broken(f"{planned.name} passed after {now_s - since_s:.0f} of {soak_s} s")
        for kind in planned.gate.kinds:
            if (*key, kind) not in self.agreed:
                raise Broken(f"{planned.name} passed, and its {kind} has not agreed")
        self.passed.add(key)

    def undone(self, request: str) -> None:
        """A person has let it go on, gone back or canceled, by a request of this id."""
        self.is_paused, self.undone_by = False, request

    def lost(self, offer: Offer, record: RolloutRecord) -> None:
        """The durable record is gone, or an old copy: what was not signed is not known any more.

        A copy that knows of the request that undid a pause goes on by it.
        """
        is_undone = self.undone_by in record.answered
        self.is_paused = offer.state == "paused" and not is_undone

    # --- offers ---------------------------------------------------------------------------------

    def signed(
        self,
        before: Offer,
        offer: Offer,
        heard: Mapping[str, Heard],
        counted: Mapping[str, Heard],
        now_s: float,
        clock_s: float,
    ) -> None:
        """Hold an offer that was just signed to what must hold.

        Args:
            before: what was signed before.
            offer: what is signed now.
            heard: all devices.
            counted: those that were known when it was decided how much to let in: another may
                turn up between that and the signature, after a crash long after.
            now_s: the true time.
            clock_s: the publisher's clock.
        """
        if _without_time(before) == _without_time(offer):
            raise Broken("the same offer was signed twice")
        if offer.sequence < before.sequence or (
            offer.sequence == before.sequence and offer.attempt < before.attempt
        ):
            raise Broken("an older release, or attempt, was offered")
        if self.is_paused and offer.state == "active":
            raise Broken("what was paused was offered again, and no person said so")
        if offer.version not in self.plan.versions:
            return
        self._check_opened(offer)
        if before.version == offer.version:
            self._check_not_narrowed(before, offer, heard)
        by_clock = {
            name: known
            for name, known in counted.items()
            if clock_s - known.clock_s < self.plan.unseen_s
        }
        self._check_cap(before, offer, by_clock, now_s)

    def _check_opened(self, offer: Offer) -> None:
        leg = self.plan.versions.index(offer.version)
        names = [group.name for group in self.plan.groups]
        is_open = {g.name for g in offer.groups if g.state == "active"}
        for earlier in range(leg):
            if not all((earlier, name) in self.passed for name in names):
                raise Broken(f"{offer.version} was offered before the stone had passed all groups")
        for index, name in enumerate(names):
            if name in is_open:
                missing = [n for n in names[:index] if (leg, n) not in self.passed]
                if missing:
                    raise Broken(f"{name} was let in before {missing[0]} had passed")

    def _check_not_narrowed(self, before: Offer, offer: Offer, heard: Mapping[str, Heard]) -> None:
        for name, known in heard.items():
            was, now = (group_of(o, name, known.tags) for o in (before, offer))
            is_held = now is not None and now.name == "behind"
            is_in = now is not None and now.state == "active"
            if was is not None and was.state == "active" and not is_held and not is_in:
                raise Broken(f"{name} had been let in, and is not any more")

    def _check_cap(
        self, before: Offer, offer: Offer, heard: Mapping[str, Heard], now_s: float
    ) -> None:
        """Whoever widens has counted: those let in and not ended are no more than the cap.

        `heard` are those that the publisher's clock still takes for reachable: after a jump, it
        cannot tell who was heard of before from who was silent for as long.
        """
        cap = self.plan.max_under_way
        if cap is None or offer.state != "active" or before.state != "active":
            return
        was, now = (self.counts(o, heard, now_s) for o in (before, offer))
        pending = sum(c.pending for c in now.values())
        held = sum(
            1
            for known in heard.values()
            if known.status is not None and known.status.reason == "consent"
        )
        grew = pending > sum(c.pending for c in was.values())
        is_same = (before.version, before.attempt) == (offer.version, offer.attempt)
        if is_same and grew and pending - held > cap:
            raise Broken(f"{pending} devices are let in and have not ended; the cap is {cap}")

    # --- verdicts -------------------------------------------------------------------------------

    def _check_verdict(
        self,
        reading: LimitReading,
        counts: Mapping[str, Count],
        offer: Offer,
        heard: Mapping[str, Heard],
        slow: set[str],
    ) -> None:
        self.verdicts += 1
        allowed = (1 - self.plan.limits.confidence) / 2 * (1 + 1e-9)
        if reading.name == "stop_after_failures":
            if sum(c.failed for c in counts.values()) < reading.limit:
                raise Broken(f"paused after fewer failures than {reading.limit}")
        elif reading.name == "max_failed_share":
            count = counts.get(reading.group, Count())
            chance = exact_chance_of_at_least(
                count.failed, count.failed + count.committed, reading.limit
            )
            if chance > allowed:
                raise Broken(f"verdict on {count}, which chance gives in {chance:.3f} of cases")
        elif reading.name.startswith("max_latency"):
            let_in = [
                name
                for name, known in heard.items()
                if (g := group_of(offer, name, known.tags)) is not None and g.name == reading.group
            ]
            if reading.over is None or reading.over.hits > len(slow & set(let_in)):
                raise Broken(f"{reading.over} are slow, and in truth {len(slow & set(let_in))}")
            chance = exact_chance_of_at_least(
                reading.over.hits, reading.over.of, self.plan.limits.max_share_of_devices
            )
            if chance > allowed and 0.5**reading.observed > allowed:
                raise Broken(f"verdict on {reading.over} slow devices, which chance explains")


def _is_committed(status: ModelStatus | None, sequence: int) -> bool:
    active = None if status is None else status.active
    return (
        status is not None
        and active is not None
        and active.sequence >= sequence
        and (status.floor >= active.sequence)
    )


def _has_failed(status: ModelStatus | None, sequence: int, deployment: str) -> bool:
    if status is None or status.target is None:
        return False
    is_end = status.state in {State.FAILED, State.ROLLED_BACK, State.REJECTED}
    is_its = (status.target.sequence, status.target.deployment) == (sequence, deployment)
    return is_end and is_its and status.reason != "canceled"


def _without_time(offer: Offer) -> tuple[object, ...]:
    return (offer.version, offer.state, offer.groups, offer.deployment, offer.attempt)
