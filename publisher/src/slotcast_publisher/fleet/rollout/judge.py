"""Judges each group that was let in by the plan's limits, each figure with how sure it is.

The limits are keys of the `plan`; whether a figure is above its limit by more than chance is
decided by `fleet.figures`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from slotcast_publisher.fleet.figures.comparison import (
    Figure,
    FiguresPair,
    devices_needed,
    is_over,
    on_all,
    value_on_all,
)
from slotcast_publisher.fleet.figures.shares import (
    Share,
    chance_of_parting,
    difference,
    is_surely_above,
    tail,
)
from slotcast_publisher.fleet.rollout.limit_words import ALL_GROUPS, LimitFound
from slotcast_publisher.fleet.rollout.observations import Observations
from slotcast_publisher.fleet.rollout.plan import Limits, Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import OPENED
from slotcast_publisher.fleet.rollout.tally import GroupTally, age_s, failures

FIGURE_LIMITS: Final[Mapping[str, Figure]] = {
    "max_error_share": Figure.ERROR_SHARE,
    "max_error_share_rise": Figure.ERROR_SHARE_RISE,
    "max_nonfinite_share": Figure.NONFINITE_SHARE,
    "max_nonfinite_share_rise": Figure.NONFINITE_SHARE_RISE,
    "max_latency_p50_ratio": Figure.LATENCY_P50_RATIO,
    "max_latency_p95_ratio": Figure.LATENCY_P95_RATIO,
    "max_memory_ratio": Figure.MEMORY_RATIO,
    "max_load_time_ratio": Figure.LOAD_TIME_RATIO,
    "max_output_mean_shift": Figure.OUTPUT_MEAN_SHIFT,
    "max_output_std_ratio": Figure.OUTPUT_STD_RATIO,
}
"""The plan's limits on live figures, and what each is on."""


@dataclass(frozen=True, slots=True)
class LimitReading:
    """One limit, and how the devices stand to it.

    Attributes:
        group: that it was judged in; `ALL_GROUPS` for all together.
        name: the plan's key.
        value: what was seen.
        low: with the plan's confidence, the true figure is not below this; None where the value is
            within the limit, so that nobody need know how sure it is.
        limit: what the plan allows.
        observed: how many devices the verdict is on.
        over: devices that are above the limit by themselves, of those that can tell; None for
            limits that are not on single devices.
        is_broken: whether that is beyond chance.
        high: with the same confidence, it is not above this; None where `low` is None, or where it
            cannot be told.
        devices_allowed: the share of devices that may be above the limit by themselves, where those
            broke it and all together did not.
    """

    group: str
    name: str
    value: float
    low: float | None
    limit: float
    observed: int
    over: Share | None
    is_broken: bool
    high: float | None = None
    devices_allowed: float | None = None

    @property
    def key(self) -> str:
        """What names it in a record."""
        return f"{self.group}/{self.name}"

    def words(self, confidence: float) -> str:
        """Say it to people, with all figures.

        Args:
            confidence: of the plan.
        """
        where = "in all groups" if self.group == ALL_GROUPS else f"in {self.group}"
        return f"{self.name} {where}: {self._found.full_words(self.low, confidence)}"

    @property
    def _found(self) -> LimitFound:
        over = None if self.over is None else self.over.hits
        return LimitFound(
            self.name, self.value, self.limit, self.observed, over, self.devices_allowed
        )


def judge(
    plan: Plan,
    record: RolloutRecord,
    seen: Observations,
    tallies: Sequence[GroupTally],
    wall_s: int,
) -> list[LimitReading]:
    """Read every limit of the plan in every group that was let in.

    Args:
        plan: of the rollout.
        record: where it stands.
        seen: the devices.
        tallies: of the plan's groups.
        wall_s: the time, seconds since 1970.
    """
    readings = list(_hard_count(plan.limits, record, tallies))
    release = seen.releases.get(plan.versions[record.leg])
    for group, tally in zip(record.groups, tallies, strict=True):
        if group.state not in OPENED or release is None:
            continue
        readings += _failed(plan.limits, group.name, tally)
        readings += _silent(plan, record, seen, group.name, tally, release.sequence, wall_s)
        pairs = [pair for d in tally.let_in if (pair := d.pair(release.sequence)) is not None]
        readings += _live(plan.limits, group.name, pairs)
    return readings


def _hard_count(
    limits: Limits, record: RolloutRecord, tallies: Sequence[GroupTally]
) -> Iterator[LimitReading]:
    if limits.stop_after_failures is None:
        return
    count = failures(tallies) - record.accepted_failures
    yield LimitReading(
        group=ALL_GROUPS,
        name="stop_after_failures",
        value=count,
        low=count,
        limit=limits.stop_after_failures,
        observed=sum(tally.failed.of for tally in tallies),
        over=None,
        is_broken=count >= limits.stop_after_failures,
    )


def _failed(limits: Limits, group: str, tally: GroupTally) -> Iterator[LimitReading]:
    if limits.max_failed_share is not None:
        limit = limits.max_failed_share
        yield _share(group, "max_failed_share", tally.failed, limit, limits.confidence)
    for reason, limit in sorted(limits.max_share_by_reason.items()):
        share = Share(tally.reasons[reason], tally.failed.of)
        yield _share(group, f"max_share_by_reason.{reason}", share, limit, limits.confidence)


def _share(group: str, name: str, share: Share, limit: float, confidence: float) -> LimitReading:
    bounds = share.bounds(confidence)
    return LimitReading(
        group=group,
        name=name,
        value=share.value,
        low=bounds.low,
        limit=limit,
        observed=share.of,
        over=None,
        is_broken=is_surely_above(share, limit, confidence),
        high=bounds.high,
    )


def _silent(
    plan: Plan,
    record: RolloutRecord,
    seen: Observations,
    group: str,
    tally: GroupTally,
    sequence: int,
    wall_s: int,
) -> Iterator[LimitReading]:
    """Devices that switched and went silent, against those that did not switch, since then."""
    limits = plan.limits
    if limits.max_silent_share_rise is None:
        return
    since_s = next(g.opened_s for g in record.groups if g.name == group)
    switched = [d for d in tally.let_in if d.has_switched_to(sequence) and d.seen_s >= since_s]
    others = [d for d in seen.devices if not d.runs >= sequence and d.seen_s >= since_s]
    new, old = (
        Share(sum(age_s(d, record, wall_s) >= limits.silent_s for d in devices), len(devices))
        for devices in (switched, others)
    )
    bounds = difference(new, old, limits.confidence)
    low = bounds.low
    # For few devices Newcombe's bound claims too much, as Wilson's does, so Fisher's exact test
    # must agree.
    chance = chance_of_parting(new.hits, new.of, new.hits + old.hits, new.of + old.of)
    yield LimitReading(
        group=group,
        name="max_silent_share_rise",
        value=new.value - old.value,
        low=low,
        limit=limits.max_silent_share_rise,
        observed=new.of,
        over=new,
        is_broken=low > limits.max_silent_share_rise and chance <= tail(limits.confidence),
        high=bounds.high,
    )


def _live(limits: Limits, group: str, pairs: Sequence[FiguresPair]) -> Iterator[LimitReading]:
    for name, figure in FIGURE_LIMITS.items():
        limit: float | None = getattr(limits, name)
        if limit is None or not pairs:
            continue
        reading = _figure(limits, group, name, figure, limit, pairs)
        if reading is not None:
            yield reading


def _figure(
    limits: Limits,
    group: str,
    name: str,
    figure: Figure,
    limit: float,
    pairs: Sequence[FiguresPair],
) -> LimitReading | None:
    """One live figure: broken where too many devices are above it, or all of them together."""
    found = [is_over(figure, pair, limit, limits.confidence) for pair in pairs]
    told = [is_above for is_above in found if is_above is not None]
    if not told:
        return None
    over = Share(sum(told), len(told))
    is_many = is_surely_above(over, limits.max_share_of_devices, limits.confidence)
    value = value_on_all(figure, pairs) or 0.0
    estimate = on_all(figure, pairs, limits.confidence) if value > limit else None
    low = None if estimate is None else estimate.low
    is_enough = len(told) >= devices_needed(limits.confidence)
    is_sum_above = is_enough and low is not None and low > limit
    return LimitReading(
        group=group,
        name=name,
        value=value,
        low=low,
        limit=limit,
        observed=len(told),
        over=over,
        is_broken=is_many or is_sum_above,
        high=None if estimate is None else estimate.high,
        devices_allowed=limits.max_share_of_devices if is_many and not is_sum_above else None,
    )
